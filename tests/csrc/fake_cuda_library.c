/* Stands in for libg4v_cuda in test_cuda_library.cc, on a machine that the test describes with the
   variables FAKE_CUDA_*. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static int number(const char* name) {
  const char* value = getenv(name);
  return value ? atoi(value) : 0;
}

typedef struct Device {
  char name[256];
  int32_t architecture, compiled_for, multiprocessors, shared_bytes_per_block;
} Device;

int32_t g4v_cuda_abi_version(void) { return number("FAKE_CUDA_ABI"); }
const char* g4v_cuda_architectures(void) { return "80-real 90"; }
int32_t g4v_cuda_runtime_version(void) { return 13000; }
int32_t g4v_cuda_driver_version(void) { return 13010; }
int32_t g4v_cuda_device_count(int32_t* count) {
  *count = number("FAKE_CUDA_DEVICES");
  return number("FAKE_CUDA_COUNT_CODE");
}
/* Device 0 is too old where FAKE_CUDA_OLD is 1, all are where it is 2. */
int32_t g4v_cuda_describe_device(int32_t device, Device* out) {
  const int old = number("FAKE_CUDA_OLD");
  memset(out, 0, sizeof *out);
  strcpy(out->name, "Fake GPU");
  out->architecture = old > 1 || (old == 1 && device == 0) ? 70 : 90;
  out->compiled_for = out->architecture == 90 ? 90 : 0;
  return out->architecture == 90 ? 0 : 5;
}
int32_t g4v_cuda_cross_attention_plan(void) { return 0; }
int32_t g4v_cuda_cross_attention(void) { return 0; }
const char* g4v_cuda_error_text(int32_t code) { return code == 5 ? "too old" : "some reason"; }
