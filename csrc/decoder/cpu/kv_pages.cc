#include "decoder/cpu/kv_pages.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "base/error.h"

namespace g4v {

using kernels::kPageTokens;

KvPagePool::KvPagePool(const DecoderSpec& spec, kernels::KvType type, uint64_t budget)
    : type_(type),
      budget_(budget),
      kv_heads_(spec.kv_heads),
      head_dim_(spec.head_dim),
      page_bytes_(static_cast<size_t>(spec.layers) * static_cast<size_t>(kv_heads_) * 2 *
                  static_cast<size_t>(kernels::PagePartBytes(type, head_dim_))),
      slabs_(page_bytes_) {}

uint64_t KvPagePool::bytes_in_use() const {
  const std::lock_guard lock(mutex_);
  return in_use_;
}

KvPagePool::Page KvPagePool::Acquire() {
  return Page(Take(), [pool = shared_from_this()](char* page) { pool->Release(page); });
}

char* KvPagePool::Take() {
  const std::lock_guard lock(mutex_);
  if (budget_ > 0 && in_use_ + page_bytes_ > budget_) {
    throw Error(Code::ContextFull, "keys and values of all chats take " + std::to_string(in_use_) +
                                       " bytes, the next page " + std::to_string(page_bytes_) +
                                       ", and kv_memory is " + std::to_string(budget_) +
                                       "; close a chat or load the bundle with a larger kv_memory");
  }
  char* const page = slabs_.Take();
  in_use_ += page_bytes_;
  return page;
}

void KvPagePool::Release(char* page) noexcept {
  const std::lock_guard lock(mutex_);
  in_use_ -= page_bytes_;
  slabs_.Give(page);
}

kernels::PagedHead KvPagePool::HeadOf(int64_t layer, int64_t kv_head) const {
  const int64_t bytes = kernels::PagePartBytes(type_, head_dim_);
  const int64_t keys = (layer * kv_heads_ + kv_head) * 2 * bytes;
  return {nullptr, keys, keys + bytes, head_dim_, type_};
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
