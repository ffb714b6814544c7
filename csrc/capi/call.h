// What every function of the C API goes through.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <string_view>

#include "base/error.h"
#include "g4v/g4v.h"

namespace g4v::capi {

inline g4v_status Report(g4v_error* error, Code code, std::string_view message) {
  if (error) {
    error->status = static_cast<g4v_status>(code);
    size_t size = std::min(message.size(), sizeof error->message - 1);
    // Not in the middle of a character.
    while (size < message.size() && size > 0 && (message[size] & 0xC0) == 0x80) --size;
    std::copy_n(message.begin(), size, error->message);
    error->message[size] = '\0';
  }
  return static_cast<g4v_status>(code);
}

// Runs `body` and turns whatever it throws into a status: nothing passes the C boundary.
template <class Body>
g4v_status Call(g4v_error* error, Body&& body) noexcept {
  try {
    body();
    return Report(error, Code::Ok, {});
  } catch (const Error& e) {
    return Report(error, e.code(), e.what());
  } catch (const std::bad_alloc&) {
    return Report(error, Code::Internal, "there is not enough memory");
  } catch (const std::exception& e) {
    return Report(error, Code::Internal, e.what());
  } catch (...) {
    return Report(error, Code::Internal, "an unknown error");
  }
}

template <class T>
T& Need(T* pointer, const char* name) {
  if (!pointer) throw Error(Code::InvalidArgument, std::string(name) + " is NULL");
  return *pointer;
}

// The size of a struct as its first version had it; fields that were appended later may be missing.
template <class T>
constexpr size_t kLeastSize = sizeof(T);
template <>
inline constexpr size_t kLeastSize<g4v_load_options> = offsetof(g4v_load_options, frame_checker);
template <>
inline constexpr size_t kLeastSize<g4v_chat_options> = offsetof(g4v_chat_options, system);
template <>
inline constexpr size_t kLeastSize<g4v_turn_options> = offsetof(g4v_turn_options, question_frames);
template <>
inline constexpr size_t kLeastSize<g4v_video_options> = offsetof(g4v_video_options, latents);

// A copy of the caller's struct, with those of `options` where it has no such fields or is NULL. A
// newer program's struct may be longer, an older one's shorter.
template <class T>
T Read(const T* given, const T& options, const char* name) {
  if (!given) return options;
  const size_t size = given->struct_size;
  if (size < kLeastSize<T> || size > 65536) {
    throw Error(Code::InvalidArgument, std::string(name) + ".struct_size is " +
                                           std::to_string(size) + " but must be sizeof(" + name +
                                           "), " + std::to_string(sizeof(T)) + " here");
  }
  T read = options;
  std::memcpy(&read, given, std::min(size, sizeof(T)));
  return read;
}

// Fills the caller's struct as far as this library knows it.
template <class T>
void Write(const T& values, T* to, const char* name) {
  const size_t size = Need(to, name).struct_size;
  Read(to, values, name);  // checks the size
  std::memcpy(to, &values, std::min(size, sizeof(T)));
  to->struct_size = size;
}

}  // namespace g4v::capi
