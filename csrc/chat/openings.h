// The openings of chats, computed once for all chats that begin alike.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <vector>

#include "decoder/kv_cache.h"

namespace g4v {

// Keys and values of the openings that were used last. For one thread.
class Openings {
 public:
  // A cache that holds the tokens `ids`, or null.
  std::unique_ptr<KvCache> Copy(std::span<const int32_t> ids);
  // Takes a copy of a cache that holds the tokens `ids` and nothing else.
  void Keep(std::span<const int32_t> ids, const KvCache& cache);

 private:
  struct Opening {
    std::vector<int32_t> ids;
    std::unique_ptr<KvCache> cache;
  };

  std::list<Opening>::iterator Find(std::span<const int32_t> ids);

  std::list<Opening> openings_;  // the one that was used last first
};

}  // namespace g4v
