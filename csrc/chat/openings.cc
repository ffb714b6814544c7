#include "chat/openings.h"

#include <algorithm>

namespace g4v {
namespace {

constexpr size_t kMost = 8;  // hosts have few system texts, and each is a few pages

}  // namespace

std::list<Openings::Opening>::iterator Openings::Find(std::span<const int32_t> ids) {
  const auto found = std::find_if(openings_.begin(), openings_.end(), [&](const Opening& opening) {
    return std::equal(ids.begin(), ids.end(), opening.ids.begin(), opening.ids.end());
  });
  if (found != openings_.end()) openings_.splice(openings_.begin(), openings_, found);
  return found;
}

std::unique_ptr<KvCache> Openings::Copy(std::span<const int32_t> ids) {
  const auto found = Find(ids);
  return found == openings_.end() ? nullptr : found->cache->Copy();
}

void Openings::Keep(std::span<const int32_t> ids, const KvCache& cache) {
  if (Find(ids) != openings_.end()) return;
  openings_.push_front({{ids.begin(), ids.end()}, cache.Copy()});
  if (openings_.size() > kMost) openings_.pop_back();
}

}  // namespace g4v
