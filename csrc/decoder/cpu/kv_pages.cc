#include "decoder/cpu/kv_pages.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include "base/error.h"

namespace g4v {

using kernels::kPageTokens;
using kernels::PageElements;

namespace {

constexpr size_t kAlignment = 64;    // a cache line; a page is a multiple of it
constexpr size_t kKept = 64u << 20;  // bytes of pages that wait for the next conversation, about
// Pages from this size on are mapped by themselves: between other memory the heap would keep them
// when they are freed.
constexpr size_t kMapped = 128u << 10;

}  // namespace

KvPagePool::KvPagePool(const DecoderSpec& spec, kernels::DType dtype, uint64_t budget)
    : dtype_(dtype), budget_(budget), kv_heads_(spec.kv_heads), head_dim_(spec.head_dim) {
  page_bytes_ = static_cast<size_t>(spec.layers) * static_cast<size_t>(kv_heads_) * 2 *
                static_cast<size_t>(PageElements(head_dim_)) * kernels::SizeOf(dtype);
}

void KvPagePool::Free::operator()(char* page) const {
  if (bytes >= kMapped) {
    munmap(page, bytes);
  } else {
    std::free(page);
  }
}

KvPagePool::Memory KvPagePool::Allocate(size_t bytes) {
  void* page = nullptr;
  if (bytes >= kMapped) {
    page = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) throw std::bad_alloc();
  } else {
    page = std::aligned_alloc(kAlignment, bytes);
    if (!page) throw std::bad_alloc();
  }
  return Memory(static_cast<char*>(page), Free{bytes});
}

uint64_t KvPagePool::bytes_in_use() const {
  const std::lock_guard lock(mutex_);
  return in_use_;
}

KvPagePool::Page KvPagePool::Acquire() {
  return Page(Take().release(), [pool = shared_from_this()](char* page) { pool->Release(page); });
}

KvPagePool::Memory KvPagePool::Take() {
  const std::lock_guard lock(mutex_);
  if (budget_ > 0 && in_use_ + page_bytes_ > budget_) {
    throw Error(Code::ContextFull, "keys and values of all chats take " + std::to_string(in_use_) +
                                       " bytes, the next page " + std::to_string(page_bytes_) +
                                       ", and kv_memory is " + std::to_string(budget_) +
                                       "; close a chat or load the bundle with a larger kv_memory");
  }
  Memory memory;
  if (free_.empty()) {
    memory = Allocate(page_bytes_);
  } else {
    memory = std::move(free_.back());
    free_.pop_back();
  }
  in_use_ += page_bytes_;
  return memory;
}

void KvPagePool::Release(char* page) noexcept {
  Memory memory(page, Free{page_bytes_});
  const std::lock_guard lock(mutex_);
  in_use_ -= page_bytes_;
  if (free_.size() * page_bytes_ >= kKept) return;
  try {
    free_.push_back(std::move(memory));
  } catch (const std::bad_alloc&) {
    // The page goes back to the system.
  }
}

kernels::PagedHead KvPagePool::HeadOf(int64_t layer, int64_t kv_head) const {
  const int64_t bytes = PageElements(head_dim_) * static_cast<int64_t>(kernels::SizeOf(dtype_));
  const int64_t keys = (layer * kv_heads_ + kv_head) * 2 * bytes;
  return {nullptr, keys, keys + bytes, head_dim_, dtype_};
}

uint64_t KvPages::BytesWith(int64_t length) const {
  const auto count = static_cast<size_t>((length + kPageTokens - 1) / kPageTokens);
  return std::max(count, pages_.size()) * pool_->page_bytes();
}

void KvPages::Reserve(int64_t first, int64_t last) {
  const auto written = static_cast<size_t>(first / kPageTokens);
  const auto count = static_cast<size_t>((last + kPageTokens - 1) / kPageTokens);
  for (size_t i = written; i < count; ++i) {
    if (i < pages_.size() && pages_[i].use_count() == 1) continue;
    KvPagePool::Page page = pool_->Acquire();
    if (i < pages_.size()) {
      std::memcpy(page.get(), pages_[i].get(), pool_->page_bytes());
      pages_[i] = std::move(page);
    } else {
      pages_.push_back(std::move(page));
      addresses_.push_back(nullptr);
    }
    addresses_[i] = pages_[i].get();
  }
}

void KvPages::Truncate(int64_t length) {
  const auto count = static_cast<size_t>((length + kPageTokens - 1) / kPageTokens);
  if (count >= pages_.size()) return;
  pages_.resize(count);
  addresses_.resize(count);
}

}  // namespace g4v
