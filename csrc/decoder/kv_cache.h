// Keys and values of one conversation.
#pragma once

namespace g4v {

// Made by the decoder that it is used with (Decoder::NewCache).
class KvCache {
 public:
  KvCache() = default;
  virtual ~KvCache() = default;
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  virtual int length() const = 0;  // tokens that it holds
  // Forgets every token from `length` on.
  virtual void Truncate(int length) = 0;
};

}  // namespace g4v
