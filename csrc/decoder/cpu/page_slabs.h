// Memory for pages of one size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

namespace g4v {

// Cuts pages out of larger pieces of memory ("slabs"), which the system is asked to map by huge pages:
// a step of the decoder goes through every page of a conversation once for each layer, and would
// else look up the address of each 4 KiB anew. Not safe for several threads.
class PageSlabs {
 public:
  explicit PageSlabs(size_t page_bytes);
  ~PageSlabs();
  PageSlabs(const PageSlabs&) = delete;
  PageSlabs& operator=(const PageSlabs&) = delete;

  // A page whose content is undefined, aligned to a cache line. Throws std::bad_alloc.
  char* Take();
  // Takes a page back. Of free pages some memory is kept for the next call of Take; the rest goes back
  // to the system.
  void Give(char* page) noexcept;

  size_t mapped_bytes() const { return slabs_.size() * slab_bytes_; }

 private:
  using Slabs = std::map<uintptr_t, size_t>;  // start of a slab -> pages of it that are in use

  void AddSlab();
  Slabs::iterator SlabOf(const char* page);
  void Drop(Slabs::iterator slab) noexcept;

  const size_t stride_;  // bytes from one page to the next
  size_t pages_;         // of a slab
  size_t slab_bytes_;
  Slabs slabs_;
  std::vector<char*> kept_;   // free, with their memory
  std::vector<char*> empty_;  // free, without
};

}  // namespace g4v
