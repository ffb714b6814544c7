/* The C API from C, on the synthetic bundle of tests/python/synthetic_bundle.py ($G4V_TEST_BUNDLE).
 */
#include <g4v/g4v.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures = 0;

#define CHECK(condition)                                                      \
  do {                                                                        \
    if (!(condition)) {                                                       \
      fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
      ++failures;                                                             \
    }                                                                         \
  } while (0)

/* Reads a stream to its end; the text and the number of events of each kind go to the caller. */
static g4v_status drain(g4v_stream* stream, char* text, size_t size, int kinds[10],
                        g4v_error* error) {
  const g4v_event* event = NULL;
  g4v_status status;
  text[0] = '\0';
  memset(kinds, 0, 10 * sizeof kinds[0]);
  while ((status = g4v_stream_next(stream, -1, &event, error)) == G4V_OK && event) {
    ++kinds[event->kind];
    if (event->kind == G4V_TEXT && strlen(text) + event->text_size < size)
      strcat(text, event->text);
    if (event->kind == G4V_VIDEO_MADE) {
      CHECK(event->frames.count == 3 && event->frames.height == 6 && event->frames.width == 8);
      CHECK(event->frames.pixels && event->fps == 8.0);
    }
    if (event->kind == G4V_WITHHELD) {
      CHECK(event->unsafe_frames == 3 && event->video_frames == 3);
      CHECK(event->step == 0 && event->steps == 0 && strcmp(event->text, "blue") == 0);
    }
    if (event->kind == G4V_DONE) CHECK(event->text_size > 0 && event->timings.total_ms > 0);
  }
  return status;
}

static void test_errors(g4v_assistant* assistant) {
  g4v_error error;
  g4v_assistant* none = (g4v_assistant*)assistant;
  g4v_chat* chat = NULL;
  g4v_stream* stream = NULL;
  g4v_load_options load = {0};
  g4v_text_options text = {0};
  const g4v_event* event = NULL;
  CHECK(g4v_load("/nonexistent", NULL, &none, &error) == G4V_BUNDLE && none == NULL);
  CHECK(error.status == G4V_BUNDLE && strstr(error.message, "/nonexistent"));
  CHECK(g4v_load("/nonexistent", NULL, &none, NULL) == G4V_BUNDLE);
  CHECK(g4v_load(NULL, NULL, &none, &error) == G4V_INVALID_ARGUMENT);
  CHECK(g4v_load("x", NULL, NULL, &error) == G4V_INVALID_ARGUMENT);
  CHECK(g4v_load_defaults(&load, &error) == G4V_INVALID_ARGUMENT);
  CHECK(strstr(error.message, "struct_size is 0") != NULL);
  load.struct_size = sizeof load;
  CHECK(g4v_load_defaults(&load, &error) == G4V_OK && error.message[0] == '\0');
  load.device = "abacus";
  CHECK(g4v_load(getenv("G4V_TEST_BUNDLE"), &load, &none, &error) == G4V_INVALID_ARGUMENT);
  load.device = "cpu";
  load.cuda_graphs = 1;
  CHECK(g4v_load(getenv("G4V_TEST_BUNDLE"), &load, &none, &error) == G4V_INVALID_ARGUMENT);
  CHECK(strstr(error.message, "cuda_graphs needs a GPU, and device is \"cpu\"") != NULL);
  CHECK(g4v_chat_open(NULL, NULL, &chat, &error) == G4V_INVALID_ARGUMENT && chat == NULL);
  CHECK(g4v_chat_open(assistant, NULL, &chat, &error) == G4V_OK);
  CHECK(g4v_chat_send(chat, "", NULL, NULL, &stream, &error) == G4V_INVALID_ARGUMENT &&
        stream == NULL);
  CHECK(strcmp(error.message, "the prompt is empty") == 0);
  CHECK(g4v_chat_send(chat, "\xff", NULL, NULL, &stream, &error) == G4V_INVALID_ARGUMENT);
  CHECK(g4v_chat_send(chat, NULL, NULL, NULL, &stream, &error) == G4V_INVALID_ARGUMENT);
  text.struct_size = sizeof text;
  CHECK(g4v_text_defaults(assistant, &text, &error) == G4V_OK && text.max_new_tokens == 256);
  text.temperature = -1.0;
  {
    g4v_turn_options turn = {0};
    turn.struct_size = sizeof turn;
    turn.text = &text;
    CHECK(g4v_chat_send(chat, "say a", NULL, &turn, &stream, &error) == G4V_INVALID_ARGUMENT);
    CHECK(strstr(error.message, "temperature is -1") != NULL);
  }
  {
    g4v_frames frames = {0};
    CHECK(g4v_chat_send(chat, "say a", &frames, NULL, &stream, &error) == G4V_INVALID_ARGUMENT);
  }
  CHECK(g4v_stream_next(NULL, -1, &event, &error) == G4V_INVALID_ARGUMENT);
  CHECK(g4v_chat_context_length(NULL) == 0 && g4v_chat_context_used(NULL) == 0);
  g4v_chat_cancel(NULL);
  g4v_stream_cancel(NULL);
  g4v_stream_free(NULL);
  g4v_assistant_free(NULL);
  g4v_chat_free(chat);
}

/* A turn about one of two frames; more than the engine takes; and frames without a video. */
static void test_question_frames(g4v_chat* chat, const g4v_frames* frames, int used) {
  g4v_error error;
  g4v_stream* stream = NULL;
  const g4v_event* event = NULL;
  g4v_turn_options turn = {0};
  turn.struct_size = sizeof turn;
  turn.question_frames = 5000;
  CHECK(g4v_chat_send(chat, "say a", frames, &turn, &stream, &error) == G4V_INVALID_ARGUMENT);
  CHECK(strcmp(error.message, "frames is 5000 but must be 1 to 1024") == 0);
  turn.question_frames = 1;
  CHECK(g4v_chat_send(chat, "say a", NULL, &turn, &stream, &error) == G4V_INVALID_ARGUMENT);
  CHECK(g4v_chat_send(chat, "say a", frames, &turn, &stream, &error) == G4V_OK);
  while (g4v_stream_next(stream, -1, &event, &error) == G4V_OK && event)
    if (event->kind == G4V_DONE) CHECK(event->video_frames == 1);
  g4v_stream_free(stream);
  CHECK(g4v_chat_context_used(chat) > used);
}

/* The system text of a chat; a program that was built before there was one has the bundle's. */
static void test_system(g4v_assistant* assistant) {
  static const char* const texts[] = {NULL, "", "Be kind.", "\xff"};
  g4v_error error;
  int used[3];
  int i;
  for (i = 0; i < 4; ++i) {
    g4v_chat* chat = NULL;
    g4v_chat_options options = {0};
    options.struct_size = i == 0 ? offsetof(g4v_chat_options, system) : sizeof options;
    options.system = i == 0 ? "not read" : texts[i];
    if (i == 3) {
      CHECK(g4v_chat_open(assistant, &options, &chat, &error) == G4V_INVALID_ARGUMENT);
      CHECK(strcmp(error.message, "system is not valid UTF-8 text") == 0 && chat == NULL);
      continue;
    }
    CHECK(g4v_chat_open(assistant, &options, &chat, &error) == G4V_OK);
    used[i] = g4v_chat_context_used(chat);
    g4v_chat_free(chat);
  }
  CHECK(used[0] == used[1] + 7 && used[2] == used[1] + 8); /* "System." and "Be kind." */
}

/* Reads a turn to its end. Returns how many tokens it had; checks those with logarithms. */
static size_t count_tokens(g4v_chat* chat, const g4v_turn_options* turn, g4v_assistant* assistant) {
  g4v_error error;
  g4v_stream* stream = NULL;
  const g4v_event* event = NULL;
  size_t count = 0, i;
  CHECK(g4v_chat_send(chat, "say a", NULL, turn, &stream, &error) == G4V_OK);
  while (g4v_stream_next(stream, -1, &event, &error) == G4V_OK && event) {
    for (i = 0; i < event->token_count; ++i) {
      const g4v_token* token = &event->tokens[i];
      size_t size = 0;
      CHECK(g4v_assistant_token(assistant, token->id, &size) && size > 0);
      CHECK(token->top_count == (turn ? 3 : 0));
      if (turn) {
        CHECK(token->top[0].id == token->id && token->top[0].logprob == token->logprob);
        CHECK(token->logprob < 0 && token->top[2].logprob <= token->top[1].logprob);
      }
    }
    count += event->token_count;
    if (event->kind == G4V_DONE) {
      CHECK(event->new_tokens == (int)count && event->queue_ms >= 0);
      CHECK(event->cached_tokens + event->prompt_tokens + event->new_tokens ==
            g4v_chat_context_used(chat));
    }
  }
  g4v_stream_free(stream);
  return count;
}

/* Turns that were not generated here, forks, fewer turns, and options of a turn. */
static void test_history(g4v_assistant* assistant) {
  static const uint64_t seed = 9;
  static const char* const stops[] = {"never", ", w", NULL};
  g4v_error error;
  g4v_chat* chat = NULL;
  g4v_chat* fork = NULL;
  g4v_stream* stream = NULL;
  g4v_turn_options turn = {0};
  char text[256];
  int kinds[10];
  int used;
  size_t size = 1;
  turn.struct_size = sizeof turn;
  CHECK(g4v_chat_open(assistant, NULL, &chat, &error) == G4V_OK);
  used = g4v_chat_context_used(chat);
  CHECK(g4v_chat_append(chat, "say b", NULL, 0, "<video>a ball</video> There.", &error) == G4V_OK);
  CHECK(g4v_chat_append(chat, "say b", NULL, 0, "\xff", &error) == G4V_INVALID_ARGUMENT);
  CHECK(strcmp(error.message, "the answer is not valid UTF-8 text") == 0);
  CHECK(g4v_chat_append(chat, "say b", NULL, 0, NULL, &error) == G4V_INVALID_ARGUMENT);
  CHECK(g4v_chat_turns(chat) == 1 && g4v_chat_context_used(chat) > used);
  CHECK(count_tokens(chat, NULL, assistant) > 5);
  CHECK(g4v_chat_turns(chat) == 2 && g4v_chat_bytes(chat) > 0);

  CHECK(g4v_chat_fork(chat, &seed, &fork, &error) == G4V_OK);
  CHECK(g4v_chat_turns(fork) == 2);
  CHECK(g4v_chat_context_used(fork) == g4v_chat_context_used(chat));
  CHECK(g4v_chat_truncate(fork, 3, &error) == G4V_INVALID_ARGUMENT);
  CHECK(strcmp(error.message, "turns is 3 but the chat has 2; it must be 0 to that") == 0);
  CHECK(g4v_chat_truncate(fork, 0, &error) == G4V_OK);
  CHECK(g4v_chat_turns(fork) == 0 && g4v_chat_context_used(fork) == used);
  CHECK(g4v_chat_turns(chat) == 2);

  turn.top_logprobs = 3;
  CHECK(g4v_chat_send(fork, "say a", NULL, &turn, &stream, &error) == G4V_INVALID_ARGUMENT);
  CHECK(strstr(error.message, "needs logprobs") != NULL);
  turn.logprobs = 1;
  CHECK(count_tokens(fork, &turn, assistant) > 5);
  turn.stop = stops;
  turn.stop_count = 3;
  CHECK(g4v_chat_send(fork, "say a", NULL, &turn, &stream, &error) == G4V_INVALID_ARGUMENT);
  turn.stop_count = 2;
  turn.seed = &seed;
  CHECK(g4v_chat_send(fork, "say a", NULL, &turn, &stream, &error) == G4V_OK);
  CHECK(drain(stream, text, sizeof text, kinds, &error) == G4V_OK);
  CHECK(strcmp(text, "Hello") == 0 && kinds[G4V_DONE] == 1);
  g4v_stream_free(stream);
  turn.stop_count = 0;
  turn.no_videos = 1;
  CHECK(g4v_chat_send(fork, "say b", NULL, &turn, &stream, &error) == G4V_OK);
  CHECK(drain(stream, text, sizeof text, kinds, &error) == G4V_OK);
  CHECK(kinds[G4V_VIDEO_PROMPT] == 2 && kinds[G4V_VIDEO_MADE] == 0 && kinds[G4V_WARNING] == 0);
  g4v_stream_free(stream);

  g4v_chat_free(fork);
  CHECK(g4v_chat_fork(NULL, NULL, &fork, &error) == G4V_INVALID_ARGUMENT && fork == NULL);
  CHECK(g4v_chat_truncate(NULL, 0, &error) == G4V_INVALID_ARGUMENT);
  CHECK(g4v_chat_turns(NULL) == 0 && g4v_chat_bytes(NULL) == 0);
  CHECK(g4v_assistant_kv_bytes(NULL) == 0 && g4v_assistant_kv_bytes(assistant) == 0);
  CHECK(strcmp(g4v_assistant_token(assistant, -1, &size), "") == 0 && size == 0);
  CHECK(strcmp(g4v_assistant_token(NULL, 0, NULL), "") == 0);
  g4v_chat_free(chat);
}

/* Options that a decoder which is a graph cannot obey, and a turn at a time. */
static void test_decoder_options(const char* bundle) {
  g4v_error error;
  g4v_assistant* assistant = NULL;
  g4v_load_options load = {0};
  load.struct_size = sizeof load;
  CHECK(g4v_load_defaults(&load, &error) == G4V_OK && load.turns == 16);
  CHECK(strcmp(load.kv_dtype, "auto") == 0 && load.kv_memory == 0 && load.spin_us == 200);
  load.kv_memory = 1 << 20;
  CHECK(g4v_load(bundle, &load, &assistant, &error) == G4V_INVALID_ARGUMENT && !assistant);
  CHECK(strstr(error.message, "kv_memory is for decoders that g4v runs itself") != NULL);
  load.kv_memory = 0;
  load.turns = 0;
  CHECK(g4v_load(bundle, &load, &assistant, &error) == G4V_INVALID_ARGUMENT && !assistant);
  load.turns = 1;
  CHECK(g4v_load(bundle, &load, &assistant, &error) == G4V_OK);
  g4v_assistant_free(assistant);
}

/* Each limit refuses what is above it, and the chat goes on. */
static void test_limits(const char* bundle) {
  g4v_error error;
  g4v_assistant* assistant = NULL;
  g4v_chat* chat = NULL;
  g4v_stream* stream = NULL;
  const g4v_event* event = NULL;
  g4v_status status = G4V_OK;
  uint8_t pixels[2 * 4 * 4 * 3] = {0};
  const g4v_frames frames = {pixels, 2, 4, 4};
  g4v_load_options load = {0};
  g4v_turn_options turn = {0};
  int videos = 0;
  load.struct_size = sizeof load;
  turn.struct_size = sizeof turn;
  CHECK(g4v_load_defaults(&load, &error) == G4V_OK);
  CHECK(load.max_decoded_bytes == 1 << 30 && load.max_prompt_tokens == 0);
  CHECK(load.max_chat_kv_bytes == 0 && load.max_turn_ms == 0);
  CHECK(load.max_videos == 8 && load.max_video_pixels == 1 << 28);
  load.max_videos = -1;
  CHECK(g4v_load(bundle, &load, &assistant, &error) == G4V_INVALID_ARGUMENT);
  CHECK(strstr(error.message, "max_videos is -1 but must be 0 to 16777216") != NULL);
  load.max_videos = 2;
  load.max_decoded_bytes = sizeof pixels - 1;
  load.max_prompt_tokens = 100;
  load.max_video_pixels = 3 * 8 * 6;
  CHECK(g4v_load(bundle, &load, &assistant, &error) == G4V_OK);
  CHECK(strstr(g4v_assistant_info(assistant), "\"max_video_pixels\":144") != NULL);
  CHECK(g4v_chat_open(assistant, NULL, &chat, &error) == G4V_OK);
  CHECK(g4v_chat_send(chat, "say a", &frames, NULL, &stream, &error) == G4V_VIDEO);
  CHECK(strstr(error.message, "max_decoded_bytes is 95") != NULL);
  CHECK(
      g4v_chat_send(chat,
                    "far too long, far too long, far too long, far too long, far too long, far too "
                    "long, far too long",
                    NULL, NULL, &stream, &error) == G4V_CONTEXT_FULL);
  CHECK(strstr(error.message, "max_prompt_tokens is 100") != NULL);
  turn.max_turn_ms = 100;
  CHECK(g4v_chat_send(chat, "decode m", NULL, &turn, &stream, &error) == G4V_OK);
  while ((status = g4v_stream_next(stream, -1, &event, &error)) == G4V_OK && event) {
  }
  CHECK(status == G4V_DEADLINE_EXCEEDED && strstr(error.message, "max_turn_ms, 100") != NULL);
  CHECK(g4v_stream_next(stream, -1, &event, &error) == G4V_OK && !event);
  g4v_stream_free(stream);
  CHECK(g4v_chat_turns(chat) == 0);
  turn.max_turn_ms = 0;
  turn.max_videos = 1;
  CHECK(g4v_chat_send(chat, "say b", NULL, &turn, &stream, &error) == G4V_OK);
  while ((status = g4v_stream_next(stream, -1, &event, &error)) == G4V_OK && event) {
    videos += event->kind == G4V_VIDEO_MADE;
  }
  CHECK(status == G4V_OK && videos == 1 && g4v_chat_turns(chat) == 1);
  g4v_stream_free(stream);
  g4v_chat_free(chat);
  g4v_assistant_free(assistant);
}

static void test_chat(g4v_assistant* assistant) {
  g4v_error error;
  g4v_chat* chat = NULL;
  g4v_stream* stream = NULL;
  const g4v_event* event = NULL;
  uint8_t pixels[2 * 4 * 4 * 3];
  g4v_frames frames = {0};
  g4v_chat_options options = {0};
  g4v_video_options video = {0};
  char text[256];
  int kinds[10];
  int used;
  memset(pixels, 40, sizeof pixels);
  frames.pixels = pixels;
  frames.count = 2;
  frames.height = frames.width = 4;

  options.struct_size = sizeof options;
  options.seed = 5;
  video.struct_size = sizeof video;
  CHECK(g4v_video_defaults(assistant, &video, &error) == G4V_OK);
  CHECK(video.steps == 5 && strcmp(video.scheduler, "ddim") == 0);
  video.steps = 2;
  video.scheduler = "dpmsolver++";
  options.video = &video;
  CHECK(g4v_chat_open(assistant, &options, &chat, &error) == G4V_OK);
  CHECK(g4v_chat_context_length(chat) == 640);

  CHECK(g4v_chat_send(chat, "say a", &frames, NULL, &stream, &error) == G4V_OK);
  CHECK(drain(stream, text, sizeof text, kinds, &error) == G4V_OK);
  CHECK(strcmp(text, "Hello, world.") == 0 && kinds[G4V_DONE] == 1);
  CHECK(g4v_stream_next(stream, -1, &event, &error) == G4V_OK && event == NULL);
  g4v_stream_free(stream);
  used = g4v_chat_context_used(chat);
  CHECK(used > 20);

  test_question_frames(chat, &frames, used);
  CHECK(g4v_chat_send(chat, "say b", NULL, NULL, &stream, &error) == G4V_OK);
  CHECK(drain(stream, text, sizeof text, kinds, &error) == G4V_OK);
  CHECK(kinds[G4V_VIDEO_PROMPT] == 2 && kinds[G4V_PROGRESS] == 4 && kinds[G4V_VIDEO_MADE] == 2);
  g4v_stream_free(stream);

  CHECK(g4v_chat_send(chat, "say d", NULL, NULL, &stream, &error) == G4V_OK);
  CHECK(drain(stream, text, sizeof text, kinds, &error) == G4V_OK && kinds[G4V_REFUSAL] == 1);
  g4v_stream_free(stream);

  used = g4v_chat_context_used(chat);
  CHECK(g4v_chat_send(chat, "slow ~", NULL, NULL, &stream, &error) == G4V_OK);
  CHECK(g4v_stream_next(stream, 20, &event, &error) == G4V_TIMEOUT && event == NULL);
  {
    g4v_stream* second = NULL;
    CHECK(g4v_chat_send(chat, "say a", NULL, NULL, &second, &error) == G4V_INVALID_ARGUMENT);
  }
  g4v_chat_cancel(chat);
  g4v_stream_cancel(stream);
  CHECK(g4v_stream_next(stream, -1, &event, &error) == G4V_CANCELLED && event == NULL);
  CHECK(g4v_stream_next(stream, -1, &event, &error) == G4V_OK && event == NULL);
  g4v_stream_free(stream);
  CHECK(g4v_chat_context_used(chat) == used);

  CHECK(g4v_chat_send(chat, "slow ~", NULL, NULL, &stream, &error) == G4V_OK);
  g4v_stream_free(stream); /* cancels */
  CHECK(g4v_chat_send(chat, "say a", NULL, NULL, &stream, &error) == G4V_OK);
  g4v_chat_free(chat); /* the stream goes on */
  CHECK(drain(stream, text, sizeof text, kinds, &error) == G4V_OK);
  CHECK(strcmp(text, "Hello, world.") == 0);
  g4v_stream_free(stream);
}

static void test_generate(g4v_assistant* assistant) {
  g4v_error error;
  g4v_stream* stream = NULL;
  char text[256];
  int kinds[10];
  CHECK(g4v_generate(assistant, "blue", 3, NULL, &stream, &error) == G4V_OK);
  CHECK(drain(stream, text, sizeof text, kinds, &error) == G4V_OK);
  CHECK(kinds[G4V_PROGRESS] == 5 && kinds[G4V_VIDEO_MADE] == 1);
  g4v_stream_free(stream);
}

/* What a video starts from; a program of before these fields; and what is refused. */
static void test_latents(g4v_assistant* assistant) {
  static float latents[4 * 3 * 3 * 4];
  int64_t shape[4] = {4, 3, 3, 4};
  g4v_error error;
  g4v_stream* stream = NULL;
  g4v_chat* chat = NULL;
  g4v_chat_options options = {0};
  g4v_video_options video = {0};
  char text[256];
  int kinds[10];
  options.struct_size = sizeof options;
  options.video = &video;
  video.struct_size = sizeof video;
  CHECK(g4v_video_defaults(assistant, &video, &error) == G4V_OK);
  CHECK(video.latents == NULL && video.latents_shape == NULL);
  CHECK(video.frames == 3 && video.width == 8 && video.height == 6);
  video.latents = latents;
  CHECK(g4v_generate(assistant, "blue", 3, &video, &stream, &error) == G4V_INVALID_ARGUMENT);
  CHECK(strcmp(error.message, "latents_shape is NULL") == 0);
  video.latents_shape = shape;
  CHECK(g4v_generate(assistant, "blue", 3, &video, &stream, &error) == G4V_OK);
  CHECK(drain(stream, text, sizeof text, kinds, &error) == G4V_OK && kinds[G4V_VIDEO_MADE] == 1);
  g4v_stream_free(stream);
  CHECK(g4v_chat_open(assistant, &options, &chat, &error) == G4V_INVALID_ARGUMENT);
  CHECK(strstr(error.message, "latents is no option of a chat's videos") != NULL);
  shape[3] = 2;
  CHECK(g4v_generate(assistant, "blue", 3, &video, &stream, &error) == G4V_INVALID_ARGUMENT);
  CHECK(strstr(error.message, "has the shape [4, 3, 3, 2] but must be [4, 3, 3, 4]") != NULL);
  shape[0] = (int64_t)1 << 40;
  CHECK(g4v_generate(assistant, "blue", 3, &video, &stream, &error) == G4V_INVALID_ARGUMENT);
  CHECK(strstr(error.message, "latents_shape has the size 1099511627776") != NULL);
  video.struct_size = offsetof(g4v_video_options, latents);
  CHECK(g4v_generate(assistant, "blue", 3, &video, &stream, &error) == G4V_OK);
  CHECK(drain(stream, text, sizeof text, kinds, &error) == G4V_OK);
  g4v_stream_free(stream);
  video.struct_size -= 1;
  CHECK(g4v_generate(assistant, "blue", 3, &video, &stream, &error) == G4V_INVALID_ARGUMENT);
}

/* Pictures on the way, frames as they are decoded, weights; a program of before these fields. */
static void test_watching(g4v_assistant* assistant) {
  g4v_error error;
  g4v_stream* stream = NULL;
  g4v_chat* chat = NULL;
  const g4v_event* event = NULL;
  g4v_chat_options options = {0};
  g4v_video_options video = {0};
  g4v_status status;
  static uint8_t early[3 * 6 * 8 * 3];
  int pictures = 0, frames = 0, made = 0;
  size_t frame_size = 6 * 8 * 3;
  options.struct_size = sizeof options;
  options.video = &video;
  video.struct_size = sizeof video;
  CHECK(g4v_video_defaults(assistant, &video, &error) == G4V_OK);
  CHECK(video.preview_every == 0 && video.stream_frames == 0 && video.prompt_weighting == 0);
  video.preview_every = 2;
  video.stream_frames = 1;
  CHECK(g4v_generate(assistant, "blue", 3, &video, &stream, &error) == G4V_OK);
  while ((status = g4v_stream_next(stream, -1, &event, &error)) == G4V_OK && event) {
    if (event->kind == G4V_PROGRESS) {
      CHECK((event->frames.pixels != NULL) == (event->step % 2 == 0));
      if (!event->frames.pixels) continue;
      CHECK(event->frames.count == 1 && event->frames.height == 6 && event->frames.width == 8);
      ++pictures;
    } else if (event->kind == G4V_VIDEO_FRAMES) {
      CHECK(made == 0 && event->video_frames == 3 && event->fps == 8.0 && event->index == 0);
      CHECK(event->first_frame == frames && event->frames.count <= 3 - frames);
      memcpy(early + (size_t)frames * frame_size, event->frames.pixels,
             (size_t)event->frames.count * frame_size);
      frames += (int)event->frames.count;
    } else if (event->kind == G4V_VIDEO_MADE) {
      ++made;
      CHECK(memcmp(early, event->frames.pixels, sizeof early) == 0);
    }
  }
  CHECK(status == G4V_OK && pictures == 2 && frames == 3 && made == 1);
  g4v_stream_free(stream);

  video.prompt_weighting = 1;
  CHECK(g4v_generate(assistant, "(blue", 3, &video, &stream, &error) == G4V_INVALID_ARGUMENT);
  CHECK(strstr(error.message, "the prompt has a ( that nothing closes") != NULL);
  CHECK(g4v_chat_open(assistant, &options, &chat, &error) == G4V_INVALID_ARGUMENT);
  CHECK(strstr(error.message, "prompt_weighting is no option of a chat's videos") != NULL);
  CHECK(g4v_generate(assistant, "(blue)1.2", 3, &video, &stream, &error) == G4V_OK);
  g4v_stream_free(stream);
  video.preview_every = -1;
  CHECK(g4v_generate(assistant, "blue", 3, &video, &stream, &error) == G4V_INVALID_ARGUMENT);
  CHECK(strstr(error.message, "preview_every is -1 but must be 0 to 1048576") != NULL);
  video.struct_size = offsetof(g4v_video_options, preview_every);
  CHECK(g4v_generate(assistant, "(blue", 3, &video, &stream, &error) == G4V_OK);
  while ((status = g4v_stream_next(stream, -1, &event, &error)) == G4V_OK && event) {
    CHECK(event->kind != G4V_VIDEO_FRAMES);
    if (event->kind == G4V_PROGRESS) CHECK(event->frames.pixels == NULL);
  }
  CHECK(status == G4V_OK);
  g4v_stream_free(stream);
}

/* Times of frames: what is refused; a bundle whose prompt does not tell them answers as without. */
static void test_frame_times(g4v_assistant* assistant) {
  static uint8_t pixels[3 * 6 * 8 * 3];
  const double seconds[3] = {0, 0.5, 2};
  const double wrong[3] = {0, 2, 1};
  g4v_frames frames = {pixels, 3, 6, 8};
  g4v_error error;
  g4v_stream* stream = NULL;
  g4v_chat* chat = NULL;
  g4v_turn_options turn = {0};
  g4v_frame_times times = {0};
  char text[256];
  int kinds[10];
  turn.struct_size = sizeof turn;
  turn.frame_times = &times;
  CHECK(g4v_chat_open(assistant, NULL, &chat, &error) == G4V_OK);
  CHECK(g4v_chat_send(chat, "say a", &frames, &turn, &stream, &error) == G4V_INVALID_ARGUMENT);
  CHECK(strstr(error.message, "g4v_frame_times.struct_size is 0") != NULL);
  times.struct_size = sizeof times;
  CHECK(g4v_chat_send(chat, "say a", &frames, &turn, &stream, &error) == G4V_INVALID_ARGUMENT);
  CHECK(strcmp(error.message, "frame_times needs either fps or seconds") == 0);
  times.fps = 1001;
  CHECK(g4v_chat_send(chat, "say a", &frames, &turn, &stream, &error) == G4V_INVALID_ARGUMENT);
  CHECK(strstr(error.message, "must be above 0 and at most 1000") != NULL);
  times.fps = 1e-9;
  CHECK(g4v_chat_send(chat, "say a", &frames, &turn, &stream, &error) == G4V_INVALID_ARGUMENT);
  CHECK(strstr(error.message, "no longer than a year") != NULL);
  times.fps = -1;
  CHECK(g4v_chat_append_timed(chat, "say a", &frames, &times, 0, "a", &error) ==
        G4V_INVALID_ARGUMENT);
  times.fps = 5;
  times.duration = 1;
  CHECK(g4v_chat_send(chat, "say a", &frames, &turn, &stream, &error) == G4V_INVALID_ARGUMENT);
  CHECK(strstr(error.message, "duration of frame_times is beside seconds") != NULL);
  times.duration = 0;
  CHECK(g4v_chat_send(chat, "say a", NULL, &turn, &stream, &error) == G4V_INVALID_ARGUMENT);
  CHECK(strcmp(error.message, "frame_times is of frames, and there are none") == 0);
  CHECK(g4v_chat_send(chat, "say a", &frames, &turn, &stream, &error) == G4V_OK);
  CHECK(drain(stream, text, sizeof text, kinds, &error) == G4V_OK);
  CHECK(strcmp(text, "Hello, world.") == 0);
  g4v_stream_free(stream);
  times.seconds = seconds;
  CHECK(g4v_chat_send(chat, "say a", &frames, &turn, &stream, &error) == G4V_INVALID_ARGUMENT);
  CHECK(strcmp(error.message, "frame_times needs either fps or seconds") == 0);
  times.fps = 0;
  times.duration = 3;
  CHECK(g4v_chat_append_timed(chat, "say a", &frames, &times, 0, "a", &error) == G4V_OK);
  CHECK(g4v_chat_turns(chat) == 2);
  times.seconds = wrong;
  CHECK(g4v_chat_send(chat, "say a", &frames, &turn, &stream, &error) == G4V_INVALID_ARGUMENT);
  CHECK(strstr(error.message, "none before the last") != NULL);
  frames.count = 0;
  CHECK(g4v_chat_send(chat, "say a", &frames, &turn, &stream, &error) == G4V_INVALID_ARGUMENT);
  CHECK(strstr(error.message, "frames must be uint8 [T, H, W, 3]") != NULL);
  frames.count = 3;
  turn.struct_size =
      offsetof(g4v_turn_options, frame_times); /* an older host: the field is not read */
  CHECK(g4v_chat_send(chat, "say a", &frames, &turn, &stream, &error) == G4V_OK);
  CHECK(drain(stream, text, sizeof text, kinds, &error) == G4V_OK);
  g4v_stream_free(stream);
  g4v_chat_free(chat);
}

/* A video from a video, from a picture, and what is refused. */
static void test_source(g4v_assistant* assistant) {
  static uint8_t pixels[3 * 6 * 8 * 3];
  g4v_frames frames = {pixels, 3, 6, 8};
  g4v_error error;
  g4v_stream* stream = NULL;
  g4v_chat* chat = NULL;
  g4v_chat_options options = {0};
  g4v_video_options video = {0};
  char text[256];
  int kinds[10];
  options.struct_size = sizeof options;
  options.video = &video;
  video.struct_size = sizeof video;
  CHECK(g4v_video_defaults(assistant, &video, &error) == G4V_OK);
  CHECK(video.video == NULL && video.strength == 0);
  video.video = &frames;
  CHECK(g4v_generate(assistant, "blue", 3, &video, &stream, &error) == G4V_OK);
  CHECK(drain(stream, text, sizeof text, kinds, &error) == G4V_OK && kinds[G4V_VIDEO_MADE] == 1);
  CHECK(kinds[G4V_PROGRESS] == 3); /* 0.6 of 5 steps */
  g4v_stream_free(stream);
  frames.count = 1;
  video.strength = 1;
  CHECK(g4v_generate(assistant, "blue", 3, &video, &stream, &error) == G4V_OK);
  CHECK(drain(stream, text, sizeof text, kinds, &error) == G4V_OK && kinds[G4V_PROGRESS] == 5);
  g4v_stream_free(stream);
  CHECK(g4v_chat_open(assistant, &options, &chat, &error) == G4V_INVALID_ARGUMENT);
  CHECK(strstr(error.message, "video is no option of a chat's videos") != NULL);
  frames.count = 2;
  CHECK(g4v_generate(assistant, "blue", 3, &video, &stream, &error) == G4V_INVALID_ARGUMENT);
  CHECK(strstr(error.message, "video has 2 frames of 8x6 pixels but must have 3 frames") != NULL);
  frames.pixels = NULL;
  CHECK(g4v_generate(assistant, "blue", 3, &video, &stream, &error) == G4V_INVALID_ARGUMENT);
  video.video = NULL;
  CHECK(g4v_generate(assistant, "blue", 3, &video, &stream, &error) == G4V_INVALID_ARGUMENT);
  CHECK(strstr(error.message, "strength is of a video that is made from another one") != NULL);
  video.strength = -0.5;
  CHECK(g4v_generate(assistant, "blue", 3, &video, &stream, &error) == G4V_INVALID_ARGUMENT);
  CHECK(strstr(error.message, "strength is -0.5 but must be above 0 and at most 1") != NULL);
}

/* Finds every frame unsafe, or fails, as `user` says. */
static int check_frames(void* user, const g4v_frames* frames, float* unsafe) {
  int64_t i;
  if (!frames->pixels || frames->count != 3) return 2;
  for (i = 0; i < frames->count; ++i) unsafe[i] = 0.75f;
  return *(const int*)user;
}

static void test_frame_checker(const char* bundle) {
  g4v_error error;
  g4v_assistant* assistant = NULL;
  g4v_stream* stream = NULL;
  g4v_load_options load = {0};
  char text[256];
  int kinds[10];
  int result = 0;
  /* A program of before frame checkers: its struct ends earlier, and nothing is written behind. */
  load.struct_size = offsetof(g4v_load_options, frame_checker);
  load.frame_checker = check_frames;
  CHECK(g4v_load_defaults(&load, &error) == G4V_OK && load.frame_checker == check_frames);
  CHECK(load.struct_size == offsetof(g4v_load_options, frame_checker));
  CHECK(g4v_load(bundle, &load, &assistant, &error) == G4V_OK);
  CHECK(g4v_generate(assistant, "blue", 3, NULL, &stream, &error) == G4V_OK);
  CHECK(drain(stream, text, sizeof text, kinds, &error) == G4V_OK && kinds[G4V_VIDEO_MADE] == 1);
  g4v_stream_free(stream);
  g4v_assistant_free(assistant);
  load.struct_size -= 1;
  CHECK(g4v_load(bundle, &load, &assistant, &error) == G4V_INVALID_ARGUMENT);

  load.struct_size = sizeof load;
  CHECK(g4v_load_defaults(&load, &error) == G4V_OK && load.frame_checker == NULL);
  load.frame_checker = check_frames;
  load.frame_checker_user = &result;
  CHECK(g4v_load(bundle, &load, &assistant, &error) == G4V_OK);
  CHECK(g4v_generate(assistant, "blue", 3, NULL, &stream, &error) == G4V_OK);
  CHECK(drain(stream, text, sizeof text, kinds, &error) == G4V_UNSAFE_VIDEO);
  CHECK(strcmp(error.message, "the video is withheld: 3 of its 3 frames look unsafe") == 0);
  CHECK(kinds[G4V_VIDEO_MADE] == 0 && kinds[G4V_WITHHELD] == 1 && kinds[G4V_DONE] == 0);
  g4v_stream_free(stream);
  result = 7;
  CHECK(g4v_generate(assistant, "blue", 3, NULL, &stream, &error) == G4V_OK);
  CHECK(drain(stream, text, sizeof text, kinds, &error) == G4V_RUNTIME);
  CHECK(strcmp(error.message, "the host's frame checker failed with 7") == 0);
  CHECK(kinds[G4V_VIDEO_MADE] == 0 && kinds[G4V_WITHHELD] == 0);
  g4v_stream_free(stream);
  g4v_assistant_free(assistant);
}

/* What a generator of the host is asked for, and how it answers. */
struct generator {
  int calls;
  int mode; /* 0: makes a video; 1: says why not; 2: says nothing; 3: hands nothing over; 4: waits */
  int cancelled;
};

static int generate(void* user, const g4v_video_request* request, g4v_video_job* job) {
  static const uint8_t pixels[2 * 2 * 4 * 3] = {9};
  const g4v_frames frames = {pixels, 2, 2, 4};
  const g4v_frames none = {pixels, 0, 2, 4};
  struct generator* const self = user;
  g4v_error error;
  ++self->calls;
  CHECK(strcmp(request->caption, "blue") == 0 && request->seed == 7 && request->frames == 0);
  CHECK(request->max_pixels == 1 << 28 && request->fps == 0 && request->width == 0);
  CHECK(request->steps == 3 && request->guidance_scale == -1 && !request->negative_prompt);
  CHECK(g4v_video_job_progress(job, 1, 2, &error) == G4V_OK);
  CHECK(g4v_video_job_progress(job, 3, 2, &error) == G4V_INVALID_ARGUMENT);
  CHECK(g4v_video_job_progress(NULL, 1, 2, &error) == G4V_INVALID_ARGUMENT);
  CHECK(self->mode == 4 || g4v_video_job_wait(job, 0) == 0); /* 4: may be cancelled by now */
  CHECK(g4v_video_job_wait(NULL, 0) == 1);
  CHECK(g4v_video_job_finish(job, &none, 8, &error) == G4V_INVALID_ARGUMENT);
  CHECK(g4v_video_job_finish(job, &frames, 0, &error) == G4V_INVALID_ARGUMENT);
  CHECK(g4v_video_job_finish(job, NULL, 8, &error) == G4V_INVALID_ARGUMENT);
  if (self->mode == 1) g4v_video_job_fail(job, "nobody\nis there");
  if (self->mode == 1 || self->mode == 2) return 5;
  if (self->mode == 3) return 0;
  if (self->mode == 4) self->cancelled = g4v_video_job_wait(job, 60000);
  return g4v_video_job_finish(job, &frames, 12.5, &error) == G4V_OK ? 0 : 1;
}

/* In place of the bundle's: what it makes, why it makes none, and a cancel. */
static void test_generator(const char* bundle) {
  static const char* const messages[] = {"", "is there", "failed with 5", "without a video"};
  g4v_error error;
  g4v_assistant* assistant = NULL;
  g4v_chat* chat = NULL;
  g4v_chat* fork = NULL;
  g4v_stream* stream = NULL;
  const g4v_event* event = NULL;
  g4v_load_options load = {0};
  g4v_video_options video = {0};
  g4v_chat_options options = {0};
  struct generator host = {0, 0, 0};
  g4v_status status;
  load.struct_size = sizeof load;
  video.struct_size = sizeof video;
  options.struct_size = sizeof options;
  CHECK(g4v_load_defaults(&load, &error) == G4V_OK && !load.generator);
  load.generator = generate;
  load.generator_user = &host;
  CHECK(g4v_load(bundle, &load, &assistant, &error) == G4V_OK);
  CHECK(g4v_assistant_wait(assistant, &error) == G4V_OK);
  CHECK(strstr(g4v_assistant_info(assistant), "\"generator\":\"host\"") != NULL);
  CHECK(g4v_video_defaults(assistant, &video, &error) == G4V_OK);
  CHECK(video.frames == 0 && video.steps == 0 && video.guidance_scale == -1 && !video.scheduler);
  video.scheduler = "ddim";
  CHECK(g4v_generate(assistant, "blue", 7, &video, &stream, &error) == G4V_INVALID_ARGUMENT);
  CHECK(strstr(error.message, "scheduler is an option of the bundle's own generator") != NULL);
  video.scheduler = NULL;
  video.strength = 0.5;
  CHECK(g4v_generate(assistant, "a", 7, &video, &stream, &error) == G4V_INVALID_ARGUMENT);
  CHECK(strstr(error.message, "strength is an option of the bundle's own generator") != NULL);
  video.strength = 0;
  video.frames = -1;
  options.video = &video;
  CHECK(g4v_chat_open(assistant, &options, &chat, &error) == G4V_INVALID_ARGUMENT);
  video.frames = 0;
  video.steps = 3;
  CHECK(g4v_chat_open(assistant, &options, &chat, &error) == G4V_OK);
  CHECK(g4v_chat_fork(chat, NULL, &fork, &error) == G4V_OK);
  g4v_chat_free(fork);
  g4v_chat_free(chat);
  for (host.mode = 0; host.mode < 4; ++host.mode) {
    int made = 0, progress = 0;
    CHECK(g4v_generate(assistant, "blue", 7, &video, &stream, &error) == G4V_OK);
    while ((status = g4v_stream_next(stream, -1, &event, &error)) == G4V_OK && event) {
      progress += event->kind == G4V_PROGRESS && event->step == 1 && event->steps == 2;
      if (event->kind != G4V_VIDEO_MADE) continue;
      ++made;
      CHECK(event->frames.count == 2 && event->frames.height == 2 && event->frames.width == 4);
      CHECK(event->frames.pixels[0] == 9 && event->fps == 12.5 && event->seed == 7);
    }
    CHECK(progress == 1 && made == (host.mode == 0));
    CHECK(status == (host.mode == 0 ? G4V_OK : G4V_GENERATOR));
    if (host.mode > 0) CHECK(strstr(error.message, messages[host.mode]) != NULL);
    g4v_stream_free(stream);
  }
  CHECK(host.calls == 4);
  host.mode = 4;
  CHECK(g4v_generate(assistant, "blue", 7, &video, &stream, &error) == G4V_OK);
  CHECK(g4v_stream_next(stream, -1, &event, &error) == G4V_OK && event->kind == G4V_PROGRESS);
  g4v_stream_cancel(stream);
  CHECK(g4v_stream_next(stream, -1, &event, &error) == G4V_CANCELLED);
  g4v_stream_free(stream);
  g4v_assistant_free(assistant); /* waits for the generator */
  CHECK(host.calls == 5 && host.cancelled == 1);
}

static int refuse(void* user, const g4v_video_request* request, g4v_video_job* job) {
  (void)user;
  (void)request;
  g4v_video_job_fail(job, "no GPU is free");
  return 1;
}

/* A video of a chat that the host's generator does not make: an event, and the turn goes on. */
static void test_failed_videos(const char* bundle) {
  g4v_error error;
  g4v_assistant* assistant = NULL;
  g4v_chat* chat = NULL;
  g4v_stream* stream = NULL;
  const g4v_event* event = NULL;
  g4v_load_options load = {0};
  g4v_status status;
  int failed = 0, done = 0;
  load.struct_size = sizeof load;
  CHECK(g4v_load_defaults(&load, &error) == G4V_OK);
  load.generator = refuse;
  CHECK(g4v_load(bundle, &load, &assistant, &error) == G4V_OK);
  CHECK(g4v_chat_open(assistant, NULL, &chat, &error) == G4V_OK);
  CHECK(g4v_chat_send(chat, "say b", NULL, NULL, &stream, &error) == G4V_OK);
  while ((status = g4v_stream_next(stream, -1, &event, &error)) == G4V_OK && event) {
    done += event->kind == G4V_DONE;
    CHECK((event->kind == G4V_VIDEO_FAILED) == (event->message != NULL));
    if (event->kind != G4V_VIDEO_FAILED) continue;
    ++failed;
    CHECK(event->status == G4V_GENERATOR && strcmp(event->message, "no GPU is free") == 0);
    CHECK(strcmp(event->text, event->index == 0 ? "a red circle" : "blue") == 0);
  }
  CHECK(status == G4V_OK && failed == 2 && done == 1 && g4v_chat_turns(chat) == 1);
  g4v_stream_free(stream);
  g4v_chat_free(chat);
  g4v_assistant_free(assistant);
}

int main(void) {
  g4v_error error;
  g4v_assistant* assistant = NULL;
  const char* bundle = getenv("G4V_TEST_BUNDLE");
  if (!bundle) {
    fprintf(stderr, "G4V_TEST_BUNDLE is not set\n");
    return 77;
  }
  CHECK(strlen(g4v_version()) >= 5);
  if (g4v_load(bundle, NULL, &assistant, &error) != G4V_OK) {
    fprintf(stderr, "%s\n", error.message);
    return 1;
  }
  CHECK(g4v_assistant_wait(assistant, &error) == G4V_OK);
  CHECK(strstr(g4v_assistant_info(assistant), "\"synthetic\"") != NULL);
  test_errors(assistant);
  test_system(assistant);
  test_chat(assistant);
  test_history(assistant);
  test_decoder_options(bundle);
  test_limits(bundle);
  test_generate(assistant);
  test_latents(assistant);
  test_source(assistant);
  test_watching(assistant);
  test_frame_times(assistant);
  test_frame_checker(bundle);
  test_generator(bundle);
  test_failed_videos(bundle);
  g4v_assistant_free(assistant);
  fprintf(stderr, "%d failures\n", failures);
  return failures != 0;
}
