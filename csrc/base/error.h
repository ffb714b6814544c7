// The errors of the core. A function throws g4v::Error; the C API returns its code as a status of
// the same number, the Python module raises the class that has it in python/g4v/errors.py. The
// message is one sentence for the person who reads it; what it quotes of files and names is made
// printable.
#pragma once

#include <array>
#include <stdexcept>
#include <string>

#include "base/utf8.h"

namespace g4v {

enum class Code {
  Ok = 0,
  InvalidArgument = 1,
  Bundle = 2,
  Video = 3,
  Runtime = 4,  // ONNX Runtime is missing, too old, or failed
  Cancelled = 5,
  ContextFull = 6,
  Io = 7,
  Internal = 8,
  UnsafeVideo = 9,        // a frame checker found the video that was asked for unsafe
  DeadlineExceeded = 10,  // a turn took longer than it may
  Generator = 11,         // a host's own generator made no video
};

// The name of each code, as the C header has it after "G4V_".
struct CodeName {
  Code code;
  const char* name;
};
inline constexpr std::array kCodes = {
    CodeName{Code::Ok, "OK"},
    CodeName{Code::InvalidArgument, "INVALID_ARGUMENT"},
    CodeName{Code::Bundle, "BUNDLE"},
    CodeName{Code::Video, "VIDEO"},
    CodeName{Code::Runtime, "RUNTIME"},
    CodeName{Code::Cancelled, "CANCELLED"},
    CodeName{Code::ContextFull, "CONTEXT_FULL"},
    CodeName{Code::Io, "IO"},
    CodeName{Code::Internal, "INTERNAL"},
    CodeName{Code::UnsafeVideo, "UNSAFE_VIDEO"},
    CodeName{Code::DeadlineExceeded, "DEADLINE_EXCEEDED"},
    CodeName{Code::Generator, "GENERATOR"},
};

class Error : public std::runtime_error {
 public:
  Error(Code code, const std::string& message)
      : std::runtime_error(Printable(message)), code_(code) {}
  Code code() const noexcept { return code_; }

 private:
  Code code_;
};

}  // namespace g4v
