// g4v for C++ (17 and later): g4v.h with handles that free themselves and errors as exceptions.
//
//   #include <g4v/g4v.hpp>
//   #include <iostream>
//
//   int main(int argc, char** argv) try {
//     g4v::Assistant assistant(argv[1]);
//     g4v::Chat chat = assistant.Chat();
//     for (const g4v_event& event : chat.Send(argv[2])) {
//       if (event.kind == G4V_TEXT) std::cout << event.text << std::flush;
//     }
//   } catch (const g4v::Error& error) {
//     std::cerr << error.what() << "\n";
//     return 1;
//   }
//
// Every rule of g4v.h holds here too.
#ifndef G4V_G4V_HPP_
#define G4V_G4V_HPP_

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>

#include "g4v/g4v.h"

namespace g4v {

class Error : public std::runtime_error {
 public:
  explicit Error(const g4v_error& error)
      : std::runtime_error(error.message), status_(error.status) {}
  g4v_status status() const noexcept { return status_; }

 private:
  g4v_status status_;
};

namespace detail {

template <auto Free>
struct Freer {
  template <class T>
  void operator()(T* handle) const {
    Free(handle);
  }
};

inline void Check(g4v_status status, const g4v_error& error) {
  if (status != G4V_OK) throw Error(error);
}

}  // namespace detail

// The events of a turn. An event lives until the next one is read.
class Stream {
 public:
  explicit Stream(g4v_stream* handle) : handle_(handle) {}

  // Waits for the next event; nullptr after the last one. Throws the turn's error once.
  const g4v_event* Next() {
    g4v_error error;
    const g4v_event* event = nullptr;
    detail::Check(g4v_stream_next(handle_.get(), -1, &event, &error), error);
    return event;
  }
  void Cancel() { g4v_stream_cancel(handle_.get()); }

  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = g4v_event;
    using difference_type = std::ptrdiff_t;
    using pointer = const g4v_event*;
    using reference = const g4v_event&;

    explicit Iterator(Stream* stream) : stream_(stream) {
      if (stream_) ++*this;
    }
    reference operator*() const { return *event_; }
    pointer operator->() const { return event_; }
    Iterator& operator++() {
      event_ = stream_->Next();
      if (!event_) stream_ = nullptr;
      return *this;
    }
    bool operator!=(const Iterator& other) const { return stream_ != other.stream_; }
    bool operator==(const Iterator& other) const { return stream_ == other.stream_; }

   private:
    Stream* stream_;
    const g4v_event* event_ = nullptr;
  };
  Iterator begin() { return Iterator(this); }
  Iterator end() { return Iterator(nullptr); }

 private:
  std::unique_ptr<g4v_stream, detail::Freer<g4v_stream_free>> handle_;
};

class Chat {
 public:
  explicit Chat(g4v_chat* handle) : handle_(handle) {}

  Stream Send(const std::string& text, const g4v_frames* frames = nullptr,
              const g4v_turn_options* options = nullptr) {
    g4v_error error;
    g4v_stream* stream = nullptr;
    detail::Check(g4v_chat_send(handle_.get(), text.c_str(), frames, options, &stream, &error),
                  error);
    return Stream(stream);
  }
  // Appends a turn that was not generated here; times of nullptr: not known.
  void Append(const std::string& text, const std::string& answer,
              const g4v_frames* frames = nullptr, const g4v_frame_times* times = nullptr,
              int32_t question_frames = 0) {
    g4v_error error;
    detail::Check(g4v_chat_append_timed(handle_.get(), text.c_str(), frames, times, question_frames,
                                        answer.c_str(), &error),
                  error);
  }
  void Cancel() { g4v_chat_cancel(handle_.get()); }
  int32_t ContextUsed() const { return g4v_chat_context_used(handle_.get()); }
  int32_t ContextLength() const { return g4v_chat_context_length(handle_.get()); }

 private:
  std::unique_ptr<g4v_chat, detail::Freer<g4v_chat_free>> handle_;
};

class Assistant {
 public:
  explicit Assistant(const std::string& directory, const g4v_load_options* options = nullptr) {
    g4v_error error;
    g4v_assistant* handle = nullptr;
    detail::Check(g4v_load(directory.c_str(), options, &handle, &error), error);
    handle_.reset(handle);
  }

  g4v::Chat Chat(const g4v_chat_options* options = nullptr) {
    g4v_error error;
    g4v_chat* chat = nullptr;
    detail::Check(g4v_chat_open(handle_.get(), options, &chat, &error), error);
    return g4v::Chat(chat);
  }
  Stream Generate(const std::string& caption, uint64_t seed,
                  const g4v_video_options* options = nullptr) {
    g4v_error error;
    g4v_stream* stream = nullptr;
    detail::Check(g4v_generate(handle_.get(), caption.c_str(), seed, options, &stream, &error),
                  error);
    return Stream(stream);
  }
  // The bundle's defaults, to be changed and passed on.
  g4v_text_options TextDefaults() const {
    g4v_error error;
    g4v_text_options options = {};
    options.struct_size = sizeof options;
    detail::Check(g4v_text_defaults(handle_.get(), &options, &error), error);
    return options;
  }
  g4v_video_options VideoDefaults() const {
    g4v_error error;
    g4v_video_options options = {};
    options.struct_size = sizeof options;
    detail::Check(g4v_video_defaults(handle_.get(), &options, &error), error);
    return options;
  }
  std::string Info() const { return g4v_assistant_info(handle_.get()); }
  void WaitUntilReady() {
    g4v_error error;
    detail::Check(g4v_assistant_wait(handle_.get(), &error), error);
  }
  g4v_assistant* get() const { return handle_.get(); }

 private:
  std::unique_ptr<g4v_assistant, detail::Freer<g4v_assistant_free>> handle_;
};

}  // namespace g4v

#endif  // G4V_G4V_HPP_
