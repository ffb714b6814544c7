// What the opaque handles of g4v.h are.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "chat/assistant.h"
#include "chat/host_generator.h"
#include "g4v/g4v.h"

struct g4v_assistant {
  std::shared_ptr<g4v::Assistant> assistant;
  std::string info;
  std::string negative_prompt;
  std::string scheduler;
  g4v_text_options text{};    // the bundle's defaults
  g4v_video_options video{};  // likewise; the texts are the ones above
  bool host_generator = false;
};

struct g4v_chat {
  std::shared_ptr<g4v::Chat> chat;
  bool host_generator = false;
};

namespace g4v::capi {

// The generator of a C host; empty for NULL.
HostGenerator GeneratorOf(g4v_generator generator, void* user);

// An event as the C API has it. It points into the event that it was made of, and into itself.
class DescribedEvent {
 public:
  DescribedEvent() = default;
  DescribedEvent(const DescribedEvent&) = delete;
  DescribedEvent& operator=(const DescribedEvent&) = delete;

  const g4v_event* Set(const Event& event);

 private:
  void SetTokens(const std::vector<SampledToken>& tokens);

  g4v_event event_{};
  std::vector<g4v_token> tokens_;
  std::vector<g4v_top_token> top_;
};

}  // namespace g4v::capi

struct g4v_stream {
  std::shared_ptr<g4v::Stream> stream;
  std::optional<g4v::Event> current;  // what `described` points into
  g4v::capi::DescribedEvent described;
};
