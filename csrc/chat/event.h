// What a stream delivers. Plain structs; the C API and the Python module mirror them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/error.h"
#include "video/frames.h"

namespace g4v {

// A token and the logarithm of its probability, by the softmax of the decoder's logits as they are:
// without temperature, penalty and the like.
struct TopToken {
  int32_t id = 0;
  double logprob = 0;
};

// A token of the answer as it was sampled.
struct SampledToken {
  int32_t id = 0;
  std::optional<double> logprob;  // as in TopToken; where the turn asked for it
  std::vector<TopToken> top;      // the best first; as many as the turn asked for
};

// A piece of the answer, valid UTF-8, never empty; the pieces in order are the whole text. Tags and
// captions are not part of it.
struct TextEvent {
  std::string text;
  std::vector<SampledToken> tokens = {};  // since the TextEvent before: also those of captions
};

// The assistant decided to show a video. `index` counts the videos of this stream from 0.
struct VideoPromptEvent {
  int index = 0;
  std::string caption;
};

// `step` of `steps` denoising steps of a video is done. A host's own generator counts as it likes.
struct ProgressEvent {
  int index = 0;
  int step = 0;
  int steps = 0;
  // uint8 [1, H, W, 3], the longest edge at most kPreviewEdge: a frame from the middle of what the
  // video is becoming, where VideoOptions::preview_every asks for one after this step.
  std::optional<Frames> preview = {};
};

// Frames of a video that is being decoded, with VideoOptions::stream_frames: those from `first` on,
// of `total`. A frame checker has passed them. The VideoEvent that follows has all of them again, or
// the whole is withheld after all.
struct VideoFramesEvent {
  int index = 0;
  int first = 0;
  int total = 0;
  Frames frames;
  double fps = 0.0;
};

struct VideoEvent {
  int index = 0;
  std::string caption;
  Frames frames;
  double fps = 0.0;
  uint64_t seed = 0;  // Assistant::Generate with this seed makes the same video
};

// A generated video is not shown, because `unsafe` of its `frames` frames look unsafe. It stands in
// the place of its VideoEvent; the turn goes on. `frames` is 1 where it is a preview that looks unsafe,
// and where frames are handed on as they are decoded it is the number of those that were looked at
// together.
struct WithheldEvent {
  int index = 0;
  std::string caption;
  int unsafe = 0;
  int frames = 0;
};

// The host's own generator made no video of this caption. It stands in the place of the VideoEvent;
// the turn goes on. A fault of the bundle's generator ends the turn.
struct VideoFailedEvent {
  int index = 0;
  std::string caption;
  Code code = Code::Generator;
  std::string message;  // one sentence
};

// The answer was a refusal; its text was delivered as TextEvents too. A refused turn has no videos.
struct RefusalEvent {
  std::string text;
};

// Something the caller should know although the turn goes on, such as a caption without its end.
struct WarningEvent {
  std::string text;
};

// Milliseconds, wall clock. Phases that did not take place are 0.
struct Timings {
  double queue_ms = 0;        // from Send to the first work on the turn
  double encode_ms = 0;       // video encoder and abstractor
  double prefill_ms = 0;      // prompt through the decoder
  double first_token_ms = 0;  // from Send to the first sampled token
  double decode_ms = 0;       // from the first token to the last
  double video_ms = 0;        // making videos, summed
  double total_ms = 0;        // from Send to Done
};

// Always the last event of a stream that neither failed nor was cancelled. The counts of video
// frames are of all videos whose tokens were prefilled in this turn.
struct DoneEvent {
  int prompt_tokens = 0;    // prefilled in this turn, video tokens included
  int cached_tokens = 0;    // of the prompt, before those: their keys and values were there
  int new_tokens = 0;       // sampled, the end of the turn included
  int video_frames = 0;     // frames of the turn's video that the assistant looked at
  int encoded_frames = 0;   // and those of them that it had to encode: the chat knew the others
  int drafted_tokens = 0;   // looked up in the conversation and put to the decoder as drafts
  int accepted_tokens = 0;  // and those of them that are what was sampled
  // "stop": the assistant ended its turn, or wrote a stop string; "length": max_new_tokens was
  // reached; "context": the model's context is full; "memory": LoadOptions::kv_memory or
  // Limits::max_chat_kv_bytes is used up.
  // "stop" for Assistant::Generate.
  std::string finish_reason;
  std::vector<SampledToken> tokens = {};  // since the last TextEvent, the end of the turn included
  Timings timings;
};

using Event = std::variant<TextEvent, VideoPromptEvent, ProgressEvent, VideoFramesEvent, VideoEvent,
                           WithheldEvent, VideoFailedEvent, RefusalEvent, WarningEvent, DoneEvent>;

}  // namespace g4v
