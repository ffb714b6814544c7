/* g4v: talk about a video, get a new video back. A complete program:

     #include <g4v/g4v.h>
     #include <stdio.h>

     int main(int argc, char** argv) {
       g4v_assistant* assistant = NULL;
       g4v_chat* chat = NULL;
       g4v_stream* stream = NULL;
       const g4v_event* event = NULL;
       g4v_error error;
       if (argc == 3 && g4v_load(argv[1], NULL, &assistant, &error) == G4V_OK &&
           g4v_chat_open(assistant, NULL, &chat, &error) == G4V_OK &&
           g4v_chat_send(chat, argv[2], NULL, NULL, &stream, &error) == G4V_OK) {
         g4v_status status;
         while ((status = g4v_stream_next(stream, -1, &event, &error)) == G4V_OK && event) {
           if (event->kind == G4V_TEXT) printf("%s", event->text);
           if (event->kind == G4V_VIDEO_MADE)
             printf("\n[%lld frames of \"%s\"]\n", (long long)event->frames.count, event->text);
         }
         if (status != G4V_OK) fprintf(stderr, "%s\n", error.message);
       } else {
         fprintf(stderr, "%s\n", argc == 3 ? error.message : "usage: program BUNDLE QUESTION");
       }
       g4v_stream_free(stream);
       g4v_chat_free(chat);
       g4v_assistant_free(assistant);
       return 0;
     }

   Rules that hold for every function:
   - Text is UTF-8, zero-terminated. What a host passes in is copied before the call returns.
   - A function that can fail returns a status and fills `error` where it is not NULL. Nothing
     aborts, exits or prints, and no handle becomes unusable by an error.
   - Every function may be called from any thread at any time, with two exceptions: a handle must
     not be freed while another call uses it, and one stream is read by one thread at a time.
   - After a fork the parent goes on; in the child, uses of its handles fail with G4V_RUNTIME. A
     process may end while threads are inside any function.
   - Handles are freed with their own function in any order; NULL is allowed.
   - An options pointer of NULL means the bundle's defaults. An options struct is filled by its
     g4v_..._defaults function and then changed. Its first field is its size, so that a program
     goes on to work with a newer library.
   - ONNX Runtime is loaded when the first bundle is: from g4v_load_options.onnxruntime, else from
     $G4V_ONNXRUNTIME, else from the system. */
#ifndef G4V_G4V_H_
#define G4V_G4V_H_

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define G4V_API __attribute__((visibility("default")))
#else
#define G4V_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum g4v_status {
  G4V_OK = 0,
  G4V_INVALID_ARGUMENT = 1, /* a value that cannot be used: the message names it and its range */
  G4V_BUNDLE = 2,           /* the bundle is missing, damaged, newer, or lacks what was asked for */
  G4V_VIDEO = 3,            /* a video cannot be read */
  G4V_RUNTIME = 4,          /* ONNX Runtime is missing, too old, or failed; or use after a fork */
  G4V_CANCELLED = 5,        /* the turn was cancelled */
  G4V_CONTEXT_FULL = 6,     /* the prompt does not fit into what is left of the context */
  G4V_IO = 7,               /* reading or writing a file failed */
  G4V_INTERNAL = 8,         /* a fault of g4v itself, or not enough memory */
  G4V_UNSAFE_VIDEO = 9,     /* g4v_generate's video is withheld: a frame checker found it unsafe */
  G4V_DEADLINE_EXCEEDED = 10, /* the turn took longer than max_turn_ms */
  G4V_GENERATOR = 11,         /* the host's own generator made no video */
  G4V_TIMEOUT = 100           /* no event came in time; no fault */
} g4v_status;

typedef struct g4v_error {
  g4v_status status;
  char message[1020]; /* one sentence; empty after success */
} g4v_error;

typedef struct g4v_assistant g4v_assistant; /* a loaded bundle */
typedef struct g4v_chat g4v_chat;           /* questions and answers, with their history */
typedef struct g4v_stream g4v_stream;       /* the events of one turn */

/* RGB frames, uint8 [count, height, width, 3], row-major without gaps. */
typedef struct g4v_frames {
  const uint8_t* pixels;
  int64_t count;
  int64_t height;
  int64_t width;
} g4v_frames;

/* When the frames of a question's video are shown. Models such as SmolVLM2 are told the time of each,
   and see a number of frames that depends on the video's length ("frame_sampling" of
   g4v_assistant_info); others are not told. Either fps or seconds is set. Without any of this the
   frames are taken to be 24 a second, and are spread evenly where they are too many. */
typedef struct g4v_frame_times {
  size_t struct_size;
  double fps; /* 0 < .. 1000: the frames are all those of a video of so many a second, of which the
                 model sees what it would see of the file; 0 = seconds is set */
  const double* seconds; /* of frames that the host chose itself: of each, from the start of the
                            video, none before the last; NULL = fps is set */
  double duration;       /* beside seconds: of the whole video, in seconds */
} g4v_frame_times;

/* Looks at a generated video before anybody sees it: writes for each frame into `unsafe` how unsafe
   it is, 0 to 1. Too many frames of 0.5 and more, and the video is withheld. Other than 0 means
   that it failed: the turn ends with G4V_RUNTIME and the video is not shown. One call at a time,
   from a thread of g4v, until the last handle of the assistant is freed. */
typedef int (*g4v_frame_checker)(void* user, const g4v_frames* frames, float* unsafe);

typedef struct g4v_video_job g4v_video_job; /* a video that the host's own generator makes */

/* What the host's own generator is asked for. What nobody asked for is left to it: numbers are 0 then
   (guidance_scale below 0), texts NULL. It all belongs to the caller. */
typedef struct g4v_video_request {
  const char* caption;
  uint64_t seed;
  uint64_t max_pixels; /* frames x height x width that the video may have; 0 = any */
  int32_t frames;
  int32_t width; /* pixels */
  int32_t height;
  int32_t steps; /* denoising steps */
  double fps;
  double guidance_scale;
  const char* negative_prompt;
} g4v_video_request;

/* The host's own generator, such as another server's: makes a video and hands it over with
   g4v_video_job_finish, then returns 0. Other than 0 means that it made none: g4v_video_job_fail says
   why. Of a chat that is the event G4V_VIDEO_FAILED and the turn goes on; of g4v_generate it is the
   status G4V_GENERATOR. Called on threads of g4v, for as many as 16 videos at once, until the last
   handle of the assistant is freed. A turn that is cancelled does not wait for it; freeing the last
   handle does. */
typedef int (*g4v_generator)(void* user, const g4v_video_request* request, g4v_video_job* job);

typedef struct g4v_load_options {
  size_t struct_size;
  const char* device;              /* "auto", "cpu" or "cuda" */
  int32_t threads;                 /* threads of one operator; 0 = one for each core */
  const char* onnxruntime;         /* file of ONNX Runtime's library; NULL = search */
  const char* verify;              /* "auto", "full" or "size": how thoroughly files are checked */
  g4v_frame_checker frame_checker; /* beside the bundle's own; NULL = none */
  void* frame_checker_user;        /* passed to it */
  int32_t cuda_graphs; /* not 0: the abstractor runs as CUDA graphs; refused without a GPU */
  /* Four options of decoders that g4v runs itself (provider "g4v" of g4v_assistant_info). Others refuse
     the first two, where they are set, and do without the rest. */
  uint64_t kv_memory;    /* bytes of keys and values of all chats; 0 = no limit */
  const char* kv_dtype;  /* of keys and values: "auto", "float32", "float16" or "int8" */
  int32_t spin_us;       /* 0 .. 1000000: how long threads wait awake for the next step */
  int32_t prompt_lookup; /* 0 .. 15: most tokens that are guessed from the conversation */
  int32_t turns;         /* 1 .. 1024: answered at once; others wait, the first first */
  /* Limits, each of which is 0 for none. */
  uint64_t max_decoded_bytes; /* of the frames of a question's video that are looked at; else the
                                 turn is refused with G4V_VIDEO. 1 GiB by default */
  int32_t max_prompt_tokens;  /* 0 .. 16777216: that an answer follows, those of the chat so far
                                 too; else G4V_CONTEXT_FULL. 0 by default: the context is a limit */
  uint64_t max_chat_kv_bytes; /* of keys and values of one chat; a question that needs more is
                                 refused with G4V_CONTEXT_FULL, an answer ends there. 0 by default */
  int32_t max_turn_ms;       /* 0 .. 1073741824: milliseconds from g4v_chat_send to the end, waiting
                                 and videos too; then G4V_DEADLINE_EXCEEDED. 0 by default */
  int32_t max_videos;        /* 0 .. 16777216: made of one answer; further captions are told alone.
                                 8 by default */
  uint64_t max_video_pixels; /* frames x height x width of a video that is made; else
                                 G4V_INVALID_ARGUMENT. 2^28 by default */
  g4v_generator generator;   /* in place of the bundle's components for videos; NULL = none */
  void* generator_user;      /* passed to it */
} g4v_load_options;

typedef struct g4v_text_options {
  size_t struct_size;
  int32_t max_new_tokens;    /* 1 .. */
  int32_t top_k;             /* 0 ..; 0 = off */
  double temperature;        /* 0 .. 100; 0 = greedy */
  double top_p;              /* 0 < .. 1; 1 = off */
  double repetition_penalty; /* 0 < .. 10; 1 = off */
} g4v_text_options;

/* With a generator of the host, of whose defaults nothing is known, g4v_video_defaults fills in zeros,
   NULL, and a guidance_scale of -1: what stays so is left to the generator. scheduler, latents, video,
   strength, preview_every, stream_frames and prompt_weighting are refused then. */
typedef struct g4v_video_options {
  size_t struct_size;
  int32_t frames; /* 1 .. 1024 */
  int32_t width;  /* pixels */
  int32_t height;
  int32_t steps; /* denoising steps */
  double fps;
  double guidance_scale;       /* 0 .. 100; 1 = no guidance, half the work */
  const char* negative_prompt; /* steers away from this text */
  /* A sampler that the bundle lists, "schedulers" of "video" in g4v_assistant_info: some of "ddim",
     "dpmsolver++", "sde-dpmsolver++", "euler", "euler_ancestral", "unipc", "lcm" and
     "flow_match_euler". */
  const char* scheduler;
  /* Of g4v_generate alone: what the video starts from, float32 [channels, frames, height, width] of
     the latents, row by row; NULL = noise of the seed. */
  const float* latents;
  const int64_t* latents_shape; /* its 4 sizes; needed with latents */
  /* Of g4v_generate alone: the video is made from this one, or from a picture, a single frame; both of
     the size that is made, and a video of as many frames. Needs a bundle with a VAE encoder. NULL =
     from noise alone. */
  const g4v_frames* video;
  double strength; /* 0 < .. 1: the share of the steps that is done, and so of the noise that is
                      added to the video; 0 = 0.6, without a video it must be 0 */
  int32_t
      preview_every; /* 0 .. 1048576: G4V_PROGRESS has frames, one small picture, after each step
                            whose number is a multiple of it; 0 = never */
  int32_t stream_frames; /* not 0: frames come as G4V_VIDEO_FRAMES as they are decoded */
  /* Of g4v_generate alone, not 0: caption and negative prompt have weights, as in "a (red)1.3 ball++",
     which docs/python.md describes. */
  int32_t prompt_weighting;
} g4v_video_options;

typedef struct g4v_chat_options {
  size_t struct_size;
  uint64_t seed; /* the k-th video, from 0, has the seed `seed * 1000003 + k` modulo 2^64 */
  const g4v_text_options* text;
  const g4v_video_options* video;
  const char* system; /* opens the chat; NULL = the bundle's, "" = none. Plain text */
} g4v_chat_options;

typedef struct g4v_turn_options {
  size_t struct_size;
  const g4v_text_options* text; /* NULL = the chat's */
  const g4v_video_options* video;
  int32_t question_frames; /* of the question's video are looked at; 0 = the bundle's number */
  const uint64_t* seed;    /* of the answer and its videos; NULL = the chat's */
  const char* const* stop; /* the answer ends before the first of these texts, at most 16 */
  size_t stop_count;
  int32_t logprobs;     /* not 0: tokens come with the logarithms of their probabilities */
  int32_t top_logprobs; /* 0 .. 20: of as many of the likeliest tokens too; needs logprobs */
  int32_t no_videos;    /* not 0: captions are told, and no videos are made of them */
  int32_t max_turn_ms;  /* 0 .. 1073741824: as in g4v_load_options; the tighter of both holds */
  int32_t max_videos;   /* 0 .. 16777216: likewise */
  const g4v_frame_times* frame_times; /* of the question's frames; NULL = not known */
} g4v_turn_options;

typedef enum g4v_event_kind {
  G4V_TEXT = 1,         /* text: a piece of the answer; tokens */
  G4V_VIDEO_PROMPT = 2, /* text: the caption of a video to come; index */
  G4V_PROGRESS = 3,     /* step of steps denoising steps are done; index. A generator of the host
                           counts as it likes. frames: one, the longest edge at most 128 pixels, of
                           what the video is becoming, where preview_every asks for it; else NULL */
  G4V_VIDEO_MADE = 4,   /* text: the caption; frames, fps, seed, index */
  G4V_REFUSAL = 5,      /* text: the whole answer, which came as text before */
  G4V_WARNING = 6,      /* text: what the host should know; the turn goes on */
  G4V_DONE = 7,         /* the last event: prompt_tokens, new_tokens, text = why, timings;
                           encoded_frames of the turn's video_frames, the chat knew the others;
                           tokens, cached_tokens, drafted_tokens, accepted_tokens, queue_ms */
  G4V_WITHHELD = 8,     /* in place of G4V_VIDEO_MADE: a frame checker found the video unsafe.
                           text: the caption; index; unsafe_frames of its video_frames, or of those that
                           were looked at together: a preview, or frames as they are decoded */
  G4V_VIDEO_FAILED = 9, /* in place of G4V_VIDEO_MADE: the host's own generator made none.
                           text: the caption; index; status and message: why */
  G4V_VIDEO_FRAMES = 10 /* with stream_frames, before G4V_VIDEO_MADE, which has all of them again:
                           frames, from first_frame on, of the video's video_frames; fps; index */
} g4v_event_kind;

/* A token and the natural logarithm of its probability by the softmax of the decoder's logits as they
   are: before temperature, penalty, top_k and top_p. */
typedef struct g4v_top_token {
  int32_t id;
  double logprob;
} g4v_top_token;

/* A token of the answer, as it was sampled. */
typedef struct g4v_token {
  int32_t id;
  double logprob;           /* 0 where the turn did not ask for it */
  const g4v_top_token* top; /* the likeliest ones here, the best first */
  size_t top_count;
} g4v_token;

/* Milliseconds, wall clock. */
typedef struct g4v_timings {
  double encode_ms;      /* video encoder and abstractor */
  double prefill_ms;     /* prompt through the decoder */
  double first_token_ms; /* from g4v_chat_send to the first token */
  double decode_ms;      /* from the first token to the last */
  double video_ms;       /* making videos, summed */
  double total_ms;       /* from g4v_chat_send to G4V_DONE */
} g4v_timings;

/* Fields that a kind does not name are 0. Text may hold zero bytes: text_size counts them.
   G4V_DONE's text is "stop", "length" (max_new_tokens was reached), "context" (the context is full)
   or "memory" (kv_memory or max_chat_kv_bytes is used up). */
typedef struct g4v_event {
  g4v_event_kind kind;
  int32_t index;
  const char* text;
  size_t text_size;
  int32_t step;
  int32_t steps;
  g4v_frames frames;
  double fps;
  uint64_t seed;
  int32_t prompt_tokens;
  int32_t new_tokens;
  int32_t video_frames;   /* of the videos that were looked at, or of the one withheld */
  int32_t encoded_frames; /* of these: were not known to the chat from an earlier video */
  int32_t unsafe_frames;  /* of these: have a score of 0.5 or more */
  g4v_timings timings;
  /* G4V_TEXT: sampled since the one before, those of captions too; G4V_DONE: since the last one. */
  const g4v_token* tokens;
  size_t token_count;
  int32_t cached_tokens;   /* of the prompt, before its prompt_tokens: were computed before */
  int32_t drafted_tokens;  /* were guessed from the conversation */
  int32_t accepted_tokens; /* and were right */
  double queue_ms;         /* from g4v_chat_send until the turn was begun; a part of the timings */
  g4v_status status;       /* of G4V_VIDEO_FAILED */
  const char* message;     /* likewise: one sentence */
  int32_t first_frame;     /* of G4V_VIDEO_FRAMES: the place of its first frame in the video */
} g4v_event;

/* The library's version, such as "0.1.0". */
G4V_API const char* g4v_version(void);

/* For the end of a program whose threads may still be inside: no work begins any more, what runs is
   stopped, and what loads is waited for, a minute at most. `exit` does it too, but not before the
   first load of the process is done. Nothing but freeing handles works afterwards. */
G4V_API void g4v_shutdown(void);

/* Fill structs whose struct_size is set: g4v_load_options options = {sizeof options}. Text and
   video defaults are the bundle's; their texts belong to the assistant. */
G4V_API g4v_status g4v_load_defaults(g4v_load_options* options, g4v_error* error);
G4V_API g4v_status g4v_text_defaults(const g4v_assistant* assistant, g4v_text_options* options,
                                     g4v_error* error);
G4V_API g4v_status g4v_video_defaults(const g4v_assistant* assistant, g4v_video_options* options,
                                      g4v_error* error);

/* Loads a bundle directory. The video generator loads in the background: g4v_assistant_wait waits
   for it and says what went wrong, and so does the first video. */
G4V_API g4v_status g4v_load(const char* directory, const g4v_load_options* options,
                            g4v_assistant** assistant, g4v_error* error);
G4V_API g4v_status g4v_assistant_wait(g4v_assistant* assistant, g4v_error* error);
/* What was loaded, as JSON; belongs to the assistant. */
G4V_API const char* g4v_assistant_info(const g4v_assistant* assistant);
/* Bytes of the keys and values of all chats, what they share counted once; 0 where ONNX Runtime runs
   the decoder. */
G4V_API uint64_t g4v_assistant_kv_bytes(const g4v_assistant* assistant);
/* The bytes of a token within a text, maybe a part of a character; of a special token its name. They
   belong to the assistant; *size receives their number, 0 for an id without a token. */
G4V_API const char* g4v_assistant_token(const g4v_assistant* assistant, int32_t id, size_t* size);
G4V_API void g4v_assistant_free(g4v_assistant* assistant);

/* A new chat; it keeps what it needs of the assistant. Without options its seed is random. */
G4V_API g4v_status g4v_chat_open(g4v_assistant* assistant, const g4v_chat_options* options,
                                 g4v_chat** chat, g4v_error* error);
/* Starts a turn; frames of NULL means no video. One turn is under way at a time. A turn that fails
   or is cancelled leaves the chat as it was before. */
G4V_API g4v_status g4v_chat_send(g4v_chat* chat, const char* text, const g4v_frames* frames,
                                 const g4v_turn_options* options, g4v_stream** stream,
                                 g4v_error* error);
/* Appends a turn that was not generated here: what the user said, with a video or NULL, and the answer,
   which may hold captions between video tags; no videos are made of them. question_frames: as in
   g4v_turn_options. Quick: the tokens are computed with the next turn. */
G4V_API g4v_status g4v_chat_append(g4v_chat* chat, const char* text, const g4v_frames* frames,
                                   int32_t question_frames, const char* answer, g4v_error* error);
/* The same with the times of the frames, as in g4v_turn_options; NULL = not known. */
G4V_API g4v_status g4v_chat_append_timed(g4v_chat* chat, const char* text, const g4v_frames* frames,
                                         const g4v_frame_times* times, int32_t question_frames,
                                         const char* answer, g4v_error* error);
/* A chat with the same history and options, which goes on for itself; seed of NULL is this chat's.
   Where g4v runs the decoder itself the two share the memory of the history. */
G4V_API g4v_status g4v_chat_fork(g4v_chat* chat, const uint64_t* seed, g4v_chat** fork,
                                 g4v_error* error);
/* Forgets all turns but the first ones. This, g4v_chat_append and g4v_chat_fork are refused while a
   turn is under way. */
G4V_API g4v_status g4v_chat_truncate(g4v_chat* chat, int32_t turns, g4v_error* error);
G4V_API int32_t g4v_chat_turns(const g4v_chat* chat); /* finished ones */
/* Bytes that the chat holds between its turns, those that it shares with forks too. */
G4V_API uint64_t g4v_chat_bytes(const g4v_chat* chat);
/* Cancels the turn under way, if there is one. */
G4V_API void g4v_chat_cancel(g4v_chat* chat);
G4V_API int32_t g4v_chat_context_used(const g4v_chat* chat);   /* tokens */
G4V_API int32_t g4v_chat_context_length(const g4v_chat* chat); /* tokens */
G4V_API void g4v_chat_free(g4v_chat* chat);

/* Makes a video of a caption: G4V_PROGRESS events, one G4V_VIDEO_MADE, G4V_DONE. Where a frame
   checker finds it unsafe: G4V_WITHHELD instead, and the stream ends with G4V_UNSAFE_VIDEO. */
G4V_API g4v_status g4v_generate(g4v_assistant* assistant, const char* caption, uint64_t seed,
                                const g4v_video_options* options, g4v_stream** stream,
                                g4v_error* error);

/* For the host's own generator, from any thread, until it returns. Progress makes an event
   G4V_PROGRESS: 0 <= step <= steps. */
G4V_API g4v_status g4v_video_job_progress(g4v_video_job* job, int32_t step, int32_t steps,
                                          g4v_error* error);
/* Waits at most timeout_ms until nobody wants the video any more; 1 where that is so, else 0. */
G4V_API int32_t g4v_video_job_wait(g4v_video_job* job, int64_t timeout_ms);
/* Hands the video over; the frames are copied. fps: above 0 and at most 1000. */
G4V_API g4v_status g4v_video_job_finish(g4v_video_job* job, const g4v_frames* frames, double fps,
                                        g4v_error* error);
/* Says in one sentence why there is no video, for the people who wait for it. */
G4V_API void g4v_video_job_fail(g4v_video_job* job, const char* message);

/* Waits at most timeout_ms (below 0: for ever) for the next event. G4V_OK with *event NULL is the
   end. The event belongs to the stream and lives until the next call. An error ends the stream and
   is returned once. */
G4V_API g4v_status g4v_stream_next(g4v_stream* stream, int64_t timeout_ms, const g4v_event** event,
                                   g4v_error* error);
/* Stops the turn within one denoising step; g4v_stream_next then returns G4V_CANCELLED once.
   Harmless when repeated, and after the end. */
G4V_API void g4v_stream_cancel(g4v_stream* stream);
/* Cancels and waits for the turn to stop. */
G4V_API void g4v_stream_free(g4v_stream* stream);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* G4V_G4V_H_ */
