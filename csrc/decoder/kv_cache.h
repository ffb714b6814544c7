// Keys and values of one conversation.
#pragma once

#include <cstdint>
#include <memory>

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
  // Makes room for `tokens` more. Throws Error(ContextFull) where all caches together would be
  // larger than they may be, and Error(Runtime) or bad_alloc where there is no memory.
  virtual void Reserve(int tokens) = 0;
  // Another conversation with the same history. Throws as Reserve.
  virtual std::unique_ptr<KvCache> Copy() const = 0;
  virtual uint64_t bytes() const = 0;  // of memory; what is shared with copies counts whole
  // The same after Reserve(tokens).
  virtual uint64_t BytesWith(int tokens) const = 0;
};

}  // namespace g4v
