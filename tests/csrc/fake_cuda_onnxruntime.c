/* ONNX Runtime with a CUDA provider whose GPU is the processor: the library that
   $G4V_REAL_ONNXRUNTIME names, with some functions in front of it. "Device" memory is the host's,
   so that everything is computed; what the real provider asks for around CUDA graphs is checked,
   and breaking it is an error of the run, as it would be there:

     * the runs of a session with enable_cuda_graph come from one thread, one after the other;
     * a captured graph is replayed with the addresses and shapes of its capture;
     * nothing else runs, is made or dropped while a graph is captured.

   $G4V_FAKE_CUDA_LOG: a file that gets a line for each provider option and each run of such a
   session: "capture 1 [2,2,4]", "replay 1 [2,2,4]", "single [2,2,4]" with the shape of the input.
   $G4V_FAKE_CUDA_FAULT: "load" or "capture", which then fails. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef void (*Function)(void);
typedef struct Status Status;
typedef struct Value Value;

enum { kEntries = 313, kMost = 64, kRank = 8 };

static Function real[kEntries];
static Function table[kEntries];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards all below */
static pthread_t capturer;
static int capturing = 0;
static int busy = 0; /* calls under way, those of a capture too */

struct Graph {
  int captured;
  void* data[2];
  int64_t shape[2][kRank];
};
static struct {
  const void* session;
  pthread_t thread;
  int started, running;
  struct Graph graphs[kMost];
} sessions[kMost];
static struct {
  const void* options;
  int number;
} numbers[kMost];                 /* of run options */
static const void* marked[kMost]; /* session options with enable_cuda_graph */

static Status* Fail(const char* message) {
  return ((Status * (*)(int, const char*)) real[0])(1, message);
}

static void Log(const char* line) {
  const char* path = getenv("G4V_FAKE_CUDA_LOG");
  FILE* file = path ? fopen(path, "a") : NULL;
  if (!file) return;
  fprintf(file, "%s\n", line);
  fclose(file);
}

static int Fault(const char* name) {
  const char* fault = getenv("G4V_FAKE_CUDA_FAULT");
  return fault && strcmp(fault, name) == 0;
}

/* Null, or the refusal where another thread captures. */
static Status* Begin(void) {
  Status* status = NULL;
  pthread_mutex_lock(&mutex);
  if (capturing && !pthread_equal(capturer, pthread_self())) {
    status = Fail("CUDA failure 900: operation not permitted when stream is capturing");
  } else {
    ++busy;
  }
  pthread_mutex_unlock(&mutex);
  return status;
}

static void End(void) {
  pthread_mutex_lock(&mutex);
  --busy;
  pthread_mutex_unlock(&mutex);
}

static Status* GetAvailableProviders(char*** names, int* count) {
  *names = malloc(2 * sizeof **names);
  (*names)[0] = strdup("CUDAExecutionProvider");
  (*names)[1] = strdup("CPUExecutionProvider");
  *count = 2;
  return NULL;
}

static Status* ReleaseAvailableProviders(char** names, int count) {
  while (count > 0) free(names[--count]);
  free(names);
  return NULL;
}

static Status* CreateMemoryInfo(const char* name, int allocator, int id, int type, void** out) {
  if (strcmp(name, "Cuda") == 0) {
    return ((Status * (*)(int, int, void**)) real[69])(allocator, type, out);
  }
  return ((Status * (*)(const char*, int, int, int, void**)) real[68])(name, allocator, id, type,
                                                                       out);
}

static Status* CreateProvider(int** options) {
  *options = calloc(1, sizeof **options); /* whether graphs are asked for */
  return NULL;
}

static Status* UpdateProvider(int* options, const char* const* keys, const char* const* values,
                              size_t count) {
  for (size_t i = 0; i < count; ++i) {
    char line[256];
    snprintf(line, sizeof line, "option %s=%s", keys[i], values[i]);
    if (strcmp(keys[i], "enable_cuda_graph") == 0) {
      *options = strcmp(values[i], "1") == 0;
      Log(line);
    }
  }
  return NULL;
}

static void ReleaseProvider(int* options) { free(options); }

static void Mark(const void* options, int on) {
  for (int i = 0; i < kMost; ++i) {
    if (marked[i] == options) marked[i] = NULL;
  }
  for (int i = 0; on && i < kMost; ++i) {
    if (marked[i]) continue;
    marked[i] = options;
    return;
  }
}

static Status* AppendProvider(void* options, const int* provider) {
  pthread_mutex_lock(&mutex);
  Mark(options, *provider);
  pthread_mutex_unlock(&mutex);
  return NULL;
}

static Status* Made(Status* status, const void* options, const void* session) {
  pthread_mutex_lock(&mutex);
  int graphs = 0;
  for (int i = 0; i < kMost; ++i) graphs |= marked[i] == options;
  Mark(options, 0);
  for (int i = 0; !status && graphs && i < kMost; ++i) {
    if (sessions[i].session) continue;
    memset(&sessions[i], 0, sizeof sessions[i]);
    sessions[i].session = session;
    break;
  }
  pthread_mutex_unlock(&mutex);
  if (!status && graphs && Fault("load")) {
    return Fail(
        "This session cannot use the graph capture feature as requested by the user  as all "
        "compute graph nodes have not been partitioned to the CUDAExecutionProvider");
  }
  return status;
}

static Status* CreateSession(const void* environment, const char* path, const void* options,
                             void** out) {
  Status* status = Begin();
  if (status) return status;
  status = ((Status * (*)(const void*, const char*, const void*, void**)) real[7])(
      environment, path, options, out);
  status = Made(status, options, *out);
  End();
  return status;
}

static Status* CreateSessionFromArray(const void* environment, const void* model, size_t size,
                                      const void* options, void** out) {
  Status* status = Begin();
  if (status) return status;
  status = ((Status * (*)(const void*, const void*, size_t, const void*, void**)) real[8])(
      environment, model, size, options, out);
  status = Made(status, options, *out);
  End();
  return status;
}

static void ReleaseSession(void* session) {
  Status* status = Begin();
  if (status) abort(); /* the real library would, too: cudaFree fails in a destructor */
  pthread_mutex_lock(&mutex);
  for (int i = 0; i < kMost; ++i) {
    if (sessions[i].session == session) sessions[i].session = NULL;
  }
  pthread_mutex_unlock(&mutex);
  ((void (*)(void*))real[95])(session);
  End();
}

static void SetNumber(const void* options, int number, int keep) {
  pthread_mutex_lock(&mutex);
  for (int i = 0; i < kMost; ++i) {
    if (numbers[i].options == options) numbers[i].options = NULL;
  }
  for (int i = 0; keep && i < kMost; ++i) {
    if (numbers[i].options) continue;
    numbers[i].options = options;
    numbers[i].number = number;
    break;
  }
  pthread_mutex_unlock(&mutex);
}

static Status* AddRunConfigEntry(void* options, const char* key, const char* value) {
  if (strcmp(key, "gpu_graph_id") == 0) SetNumber(options, atoi(value), 1);
  return ((Status * (*)(void*, const char*, const char*)) real[165])(options, key, value);
}

static void ReleaseRunOptions(void* options) {
  SetNumber(options, 0, 0);
  ((void (*)(void*))real[97])(options);
}

static void Look(const Value* value, void** data, int64_t* shape) {
  void* info = NULL;
  size_t rank = 0;
  ((Status * (*)(const Value*, void**)) real[51])(value, data);
  ((Status * (*)(const Value*, void**)) real[65])(value, &info);
  ((Status * (*)(const void*, size_t*)) real[61])(info, &rank);
  memset(shape, 0, kRank * sizeof *shape);
  if (rank <= kRank) ((Status * (*)(const void*, int64_t*, size_t)) real[62])(info, shape, rank);
  ((void (*)(void*))real[99])(info);
}

typedef Status* (*RunFunction)(void*, const void*, const char* const*, const Value* const*, size_t,
                               const char* const*, size_t, Value**);

static Status* Run(void* session, const void* options, const char* const* input_names,
                   const Value* const* inputs, size_t input_count, const char* const* output_names,
                   size_t output_count, Value** outputs) {
  Status* status = Begin();
  if (status) return status;
  const RunFunction run = (RunFunction)real[9];
  int slot = 0, number = 0, capture = 0;
  struct Graph graph = {0};
  char line[256] = "";
  pthread_mutex_lock(&mutex);
  while (slot < kMost && sessions[slot].session != session) ++slot;
  for (int i = 0; i < kMost; ++i) {
    if (options && numbers[i].options == options) number = numbers[i].number;
  }
  if (slot < kMost) {
    if (!sessions[slot].started) sessions[slot].thread = pthread_self();
    sessions[slot].started = 1;
    Look(inputs[0], &graph.data[0], graph.shape[0]);
    Look(outputs[0], &graph.data[1], graph.shape[1]);
    const int known = number >= 0 && number < kMost && sessions[slot].graphs[number].captured;
    graph.captured = 1;
    if (!pthread_equal(sessions[slot].thread, pthread_self())) {
      status = Fail("a session with CUDA graphs was run by two threads");
    } else if (sessions[slot].running++) {
      status = Fail("a session with CUDA graphs was run twice at once");
    } else if (number >= kMost) {
      status = Fail("that many graphs");
    } else if (known && memcmp(&graph, &sessions[slot].graphs[number], sizeof graph) != 0) {
      status = Fail("a CUDA graph was replayed with other addresses or shapes");
    } else if (!known && number >= 0 && busy > 1) {
      status = Fail("CUDA failure 900: a graph was captured beside other work");
    } else if (!known && number >= 0) {
      capture = 1;
      capturing = 1;
      capturer = pthread_self();
    }
    const char* kind = capture ? "capture" : number < 0 ? "single" : "replay";
    snprintf(line, sizeof line, number < 0 ? "%s" : "%s %d", kind, number);
    const size_t used = strlen(line);
    snprintf(line + used, sizeof line - used, " [%d,%d,%d]", (int)graph.shape[0][0],
             (int)graph.shape[0][1], (int)graph.shape[0][2]);
  }
  pthread_mutex_unlock(&mutex);
  if (capture) {
    usleep(20000); /* time for others to come between */
    if (Fault("capture"))
      status = Fail("CUDA failure 901: operation failed due to a previous error");
  }
  for (int again = capture ? 3 : 1; !status && again > 0; --again) {
    status = run(session, options, input_names, inputs, input_count, output_names, output_count,
                 outputs);
  }
  pthread_mutex_lock(&mutex);
  if (capture) {
    capturing = 0;
    if (!status) sessions[slot].graphs[number] = graph;
  }
  if (slot < kMost) --sessions[slot].running;
  pthread_mutex_unlock(&mutex);
  if (*line && !status) Log(line);
  End();
  return status;
}

struct ApiBase {
  const void* (*get_api)(uint32_t version);
  const char* (*get_version)(void);
};

static const struct ApiBase* Real(void) {
  static const struct ApiBase* base;
  if (base) return base;
  void* library = dlopen(getenv("G4V_REAL_ONNXRUNTIME"), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    fprintf(stderr, "G4V_REAL_ONNXRUNTIME: %s\n", dlerror());
    abort();
  }
  base = ((const struct ApiBase* (*)(void))dlsym(library, "OrtGetApiBase"))();
  return base;
}

static const void* GetApi(uint32_t version) {
  const void* found = Real()->get_api(version);
  if (!found) return NULL;
  memcpy(real, found, sizeof real);
  memcpy(table, found, sizeof table);
  table[7] = (Function)CreateSession;
  table[8] = (Function)CreateSessionFromArray;
  table[9] = (Function)Run;
  table[68] = (Function)CreateMemoryInfo;
  table[95] = (Function)ReleaseSession;
  table[97] = (Function)ReleaseRunOptions;
  table[125] = (Function)GetAvailableProviders;
  table[126] = (Function)ReleaseAvailableProviders;
  table[165] = (Function)AddRunConfigEntry;
  table[204] = (Function)AppendProvider;
  table[205] = (Function)CreateProvider;
  table[206] = (Function)UpdateProvider;
  table[208] = (Function)ReleaseProvider;
  return table;
}

static const char* GetVersion(void) { return Real()->get_version(); }

const struct ApiBase* OrtGetApiBase(void);

const struct ApiBase* OrtGetApiBase(void) {
  static const struct ApiBase base = {GetApi, GetVersion};
  return &base;
}
