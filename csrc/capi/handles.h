// What the opaque handles of g4v.h are.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "chat/assistant.h"
#include "g4v/g4v.h"

struct g4v_assistant {
  std::shared_ptr<g4v::Assistant> assistant;
  std::string info;
  std::string negative_prompt;
  std::string scheduler;
  g4v_text_options text{};    // the bundle's defaults
  g4v_video_options video{};  // likewise; the texts are the ones above
};

struct g4v_chat {
  std::shared_ptr<g4v::Chat> chat;
};

struct g4v_stream {
  std::shared_ptr<g4v::Stream> stream;
  std::optional<g4v::Event> current;  // what `event` points into
  g4v_event event{};
};

namespace g4v::capi {

g4v_event Describe(const Event& event);

}  // namespace g4v::capi
