// Memory for pages of keys and values: no two pages overlap, and what is not needed goes back.
#include <fstream>
#include <set>
#include <vector>

#include "check.h"
#include "decoder/cpu/page_slabs.h"

namespace {

using g4v::PageSlabs;

constexpr size_t kMebibyte = 1u << 20;

size_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  size_t size = 0, resident = 0;
  file >> size >> resident;
  return resident * 4096;
}

void Fill(char* page, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 4096) page[i] = 1;
}

// Each page keeps what was written to it while others are taken and given back.
void PagesAreApart(size_t bytes) {
  PageSlabs slabs(bytes);
  std::vector<char*> pages;
  for (int i = 0; i < 40; ++i) {
    pages.push_back(slabs.Take());
    CHECK(reinterpret_cast<uintptr_t>(pages.back()) % 64 == 0);
    pages.back()[0] = static_cast<char>(i);
    pages.back()[bytes - 1] = static_cast<char>(i + 1);
  }
  CHECK(std::set<char*>(pages.begin(), pages.end()).size() == pages.size());
  const size_t most = slabs.mapped_bytes();
  for (size_t i = 0; i < pages.size(); i += 2) slabs.Give(pages[i]);
  for (size_t i = 1; i < pages.size(); i += 2) {
    CHECK(pages[i][0] == static_cast<char>(i) && pages[i][bytes - 1] == static_cast<char>(i + 1));
  }
  for (size_t i = 0; i < pages.size(); i += 2) pages[i] = slabs.Take();
  CHECK(slabs.mapped_bytes() == most);  // free pages are taken first
  CHECK(std::set<char*>(pages.begin(), pages.end()).size() == pages.size());
  for (char* const page : pages) slabs.Give(page);
}

void MemoryGoesBack() {
  constexpr size_t kPage = 720u << 10;
  PageSlabs slabs(kPage);
  const size_t before = ResidentBytes();
  std::vector<char*> pages;
  for (int i = 0; i < 400; ++i) {
    pages.push_back(slabs.Take());
    Fill(pages.back(), kPage);
  }
  CHECK(ResidentBytes() > before + 250 * kMebibyte);
  CHECK(slabs.mapped_bytes() < 400 * kPage * 11 / 10);
  // One page in 20 stays in use, and keeps its slab, but not the memory of its neighbours.
  for (size_t i = 0; i < pages.size(); ++i) {
    if (i % 20 != 0) slabs.Give(pages[i]);
  }
  CHECK(ResidentBytes() < before + 150 * kMebibyte);
  for (size_t i = 0; i < pages.size(); i += 20) slabs.Give(pages[i]);
  CHECK(ResidentBytes() < before + 80 * kMebibyte);
  CHECK(slabs.mapped_bytes() < 150 * kMebibyte);
  for (int i = 0; i < 400; ++i) {  // and may be had again
    char* const page = slabs.Take();
    Fill(page, kPage);
  }
}

}  // namespace

int main() {
  for (const size_t bytes :
       {size_t{48} << 10, size_t{720} << 10, 5 * kMebibyte + 64, size_t{100}}) {
    PagesAreApart(bytes);
  }
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  MemoryGoesBack();
#endif
  return g4v::test::Finish();
}
