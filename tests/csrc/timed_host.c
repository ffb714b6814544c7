/* A host that asks about raw frames and says when they are shown; test_ctest.py compares its greedy answers with
   Python's, which reads the same frames from a file.

     timed_host BUNDLE FRAMES COUNT HEIGHT WIDTH TOKENS fps RATE [append]
     timed_host BUNDLE FRAMES COUNT HEIGHT WIDTH TOKENS seconds DURATION SECOND...

   With `append` the question comes second, after an appended turn about the same frames. Prints the ids of the
   answer's tokens, one a line. */
#include <g4v/g4v.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(const char* message) {
  fprintf(stderr, "%s\n", message);
  return 1;
}

int main(int argc, char** argv) {
  g4v_assistant* assistant = NULL;
  g4v_chat* chat = NULL;
  g4v_stream* stream = NULL;
  const g4v_event* event = NULL;
  g4v_error error;
  g4v_status status;
  g4v_load_options load = {0};
  g4v_text_options text = {0};
  g4v_turn_options turn = {0};
  g4v_frame_times times = {0};
  g4v_frames frames = {0};
  uint8_t* pixels = NULL;
  double* seconds = NULL;
  FILE* file = NULL;
  size_t bytes, i;
  int j;
  if (argc < 9) return fail("too few arguments");
  frames.count = atoll(argv[3]);
  frames.height = atoll(argv[4]);
  frames.width = atoll(argv[5]);
  bytes = (size_t)(frames.count * frames.height * frames.width * 3);
  pixels = malloc(bytes);
  file = fopen(argv[2], "rb");
  if (!pixels || !file || fread(pixels, 1, bytes, file) != bytes)
    return fail("the frames cannot be read");
  fclose(file);
  frames.pixels = pixels;
  times.struct_size = sizeof times;
  if (strcmp(argv[7], "fps") == 0) {
    times.fps = atof(argv[8]);
  } else {
    times.duration = atof(argv[8]);
    seconds = malloc((size_t)(argc - 9) * sizeof *seconds);
    if (!seconds || argc - 9 != frames.count) return fail("one second for each frame is needed");
    for (j = 9; j < argc; ++j) seconds[j - 9] = atof(argv[j]);
    times.seconds = seconds;
  }
  load.struct_size = sizeof load;
  text.struct_size = sizeof text;
  turn.struct_size = sizeof turn;
  turn.text = &text;
  turn.frame_times = &times;
  if (g4v_load_defaults(&load, &error) != G4V_OK) return fail(error.message);
  load.device = "cpu";
  if (g4v_load(argv[1], &load, &assistant, &error) != G4V_OK) return fail(error.message);
  if (g4v_text_defaults(assistant, &text, &error) != G4V_OK) return fail(error.message);
  text.temperature = 0;
  text.max_new_tokens = atoi(argv[6]);
  if (g4v_chat_open(assistant, NULL, &chat, &error) != G4V_OK) return fail(error.message);
  if (argc > 9 && strcmp(argv[9], "append") == 0) {
    status = g4v_chat_append_timed(chat, "What is it?", &frames, &times, 0, "A ball.", &error);
    if (status != G4V_OK) return fail(error.message);
  }
  status = g4v_chat_send(chat, "What moves here?", &frames, &turn, &stream, &error);
  if (status != G4V_OK) return fail(error.message);
  while ((status = g4v_stream_next(stream, -1, &event, &error)) == G4V_OK && event) {
    for (i = 0; i < event->token_count; ++i) printf("%d\n", (int)event->tokens[i].id);
  }
  if (status != G4V_OK) return fail(error.message);
  g4v_stream_free(stream);
  g4v_chat_free(chat);
  g4v_assistant_free(assistant);
  free(pixels);
  free(seconds);
  return 0;
}
