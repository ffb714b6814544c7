#include "decoder/cpu/page_slabs.h"

#include <sys/mman.h>

#include <algorithm>
#include <iterator>
#include <new>
#include <utility>

namespace g4v {
namespace {

constexpr size_t kSystemPage = 4096;
constexpr size_t kHugePage = 2u << 20;
constexpr size_t kSlab = 8u << 20;   // about; larger pages have a slab each
constexpr size_t kKept = 64u << 20;  // bytes of free pages that keep their memory, about

constexpr size_t RoundUp(size_t size, size_t unit) { return (size + unit - 1) / unit * unit; }

// Memory that begins at a multiple of kHugePage, or null.
char* MapAligned(size_t bytes) {
  const size_t all = bytes + kHugePage;
  void* const raw = mmap(nullptr, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) return nullptr;
  char* const start = static_cast<char*>(raw);
  const size_t before =
      RoundUp(reinterpret_cast<uintptr_t>(start), kHugePage) - reinterpret_cast<uintptr_t>(start);
  if (before > 0) munmap(start, before);
  munmap(start + before + bytes, all - before - bytes);
  return start + before;
}

}  // namespace

PageSlabs::PageSlabs(size_t page_bytes)
    : stride_(RoundUp(page_bytes, kSystemPage)),
      pages_(std::max<size_t>(kSlab / stride_, 1)),
      slab_bytes_(RoundUp(pages_ * stride_, kHugePage)) {
  pages_ = slab_bytes_ / stride_;
}

PageSlabs::~PageSlabs() {
  for (const auto& [start, used] : slabs_) munmap(reinterpret_cast<void*>(start), slab_bytes_);
}

char* PageSlabs::Take() {
  if (kept_.empty() && empty_.empty()) AddSlab();
  auto& from = kept_.empty() ? empty_ : kept_;
  char* const page = from.back();
  from.pop_back();
  ++SlabOf(page)->second;
  return page;
}

void PageSlabs::AddSlab() {
  // With room for every page, so that Give need not allocate.
  const size_t all = (slabs_.size() + 1) * pages_;
  kept_.reserve(all);
  empty_.reserve(all);
  const auto slab = slabs_.emplace(0, 0).first;  // before the memory, which nobody would free
  char* const start = MapAligned(slab_bytes_);
  if (!start) {
    slabs_.erase(slab);
    throw std::bad_alloc();
  }
  auto node = slabs_.extract(slab);
  node.key() = reinterpret_cast<uintptr_t>(start);
  slabs_.insert(std::move(node));
  // What is behind the last whole huge page shall not take more memory than it needs. A system
  // without huge pages refuses, and that changes nothing but the speed.
  madvise(start, pages_ * stride_ / kHugePage * kHugePage, MADV_HUGEPAGE);
  for (size_t i = pages_; i > 0; --i) empty_.push_back(start + (i - 1) * stride_);
}

PageSlabs::Slabs::iterator PageSlabs::SlabOf(const char* page) {
  return std::prev(slabs_.upper_bound(reinterpret_cast<uintptr_t>(page)));
}

void PageSlabs::Give(char* page) noexcept {
  const auto slab = SlabOf(page);
  --slab->second;
  if ((kept_.size() + 1) * stride_ <= kKept) {
    kept_.push_back(page);
    return;
  }
  madvise(page, stride_, MADV_DONTNEED);
  empty_.push_back(page);
  if (slab->second == 0) Drop(slab);
}

void PageSlabs::Drop(Slabs::iterator slab) noexcept {
  char* const start = reinterpret_cast<char*>(slab->first);
  const auto is_here = [&](const char* page) {
    return page >= start && page < start + slab_bytes_;
  };
  std::erase_if(kept_, is_here);
  std::erase_if(empty_, is_here);
  munmap(start, slab_bytes_);
  slabs_.erase(slab);
}

}  // namespace g4v
