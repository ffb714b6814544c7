// Keys and values of conversations in pages of one size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "bundle/manifest.h"
#include "decoder/cpu/page_slabs.h"
#include "kernels/cpu/llama/paged_attention.h"

namespace g4v {

// Gives out pages of kPageTokens tokens of all layers, and keeps those that come back for the next
// conversation. Any number of threads may use one pool.
class KvPagePool : public std::enable_shared_from_this<KvPagePool> {
 public:
  using Page = std::shared_ptr<char>;

  // type: of keys and values. budget: bytes of all pages that are in use at once; 0: no limit.
  KvPagePool(const DecoderSpec& spec, kernels::KvType type, uint64_t budget);

  size_t page_bytes() const { return page_bytes_; }
  uint64_t bytes_in_use() const;

  // A page whose content is undefined; it comes back when its last owner lets go of it. Throws
  // Error(ContextFull) above the budget.
  Page Acquire();

  // Where a head of a layer has its keys and values in a page; `pages` is not set.
  kernels::PagedHead HeadOf(int64_t layer, int64_t kv_head) const;

 private:
  char* Take();
  void Release(char* page) noexcept;

  const kernels::KvType type_;
  const uint64_t budget_;
  const int64_t kv_heads_;
  const int64_t head_dim_;
  const size_t page_bytes_;
  mutable std::mutex mutex_;
  uint64_t in_use_ = 0;
  PageSlabs slabs_;
};

// The pages of one conversation. Copies share pages: one that is written to is copied first.
class KvPages {
 public:
  explicit KvPages(std::shared_ptr<KvPagePool> pool) : pool_(std::move(pool)) {}

  const KvPagePool& pool() const { return *pool_; }
  uint64_t bytes() const { return pages_.size() * pool_->page_bytes(); }
  uint64_t BytesWith(int64_t length) const;  // with room for so many tokens

  // Makes room for the tokens `first` ... `last` - 1, which will be written. Throws as Acquire.
  void Reserve(int64_t first, int64_t last);
  // Lets go of the pages that hold nothing below `length`.
  void Truncate(int64_t length);

  const char* const* data() const { return addresses_.data(); }

 private:
  std::shared_ptr<KvPagePool> pool_;
  std::vector<KvPagePool::Page> pages_;
  std::vector<const char*> addresses_;
};

}  // namespace g4v
