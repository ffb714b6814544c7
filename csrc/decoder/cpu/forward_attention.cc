// Attention in a step of the decoder.
#include <algorithm>
#include <cmath>

#include "decoder/cpu/forward.h"
#include "decoder/cpu/forward_parts.h"

namespace g4v {

using kernels::kKeyTokens;
using kernels::kPageTokens;
using kernels::PagedHead;
using kernels::ShareOf;

const Forward::Row& Forward::FewRow(size_t head, int64_t layer) const {
  return RowsOf(layer).rows[head / static_cast<size_t>(spec_.kv_heads)];
}

PagedHead Forward::FewHead(size_t head, int64_t layer) const {
  return HeadOf(FewRow(head, layer), layer, FewKvHead(head));
}

int64_t Forward::FewKvHead(size_t head) const {
  return static_cast<int64_t>(head % static_cast<size_t>(spec_.kv_heads));
}

float* Forward::FewScores(size_t head) const {
  return work_.scores.data() + static_cast<int64_t>(head) * group_ * scores_stride_;
}

void Forward::Scores(int part, int parts, int64_t layer) {
  const float scale = 1.0f / std::sqrt(static_cast<float>(spec_.head_dim));
  const auto heads = static_cast<size_t>(RowsOf(layer).count() * spec_.kv_heads);
  const auto pages_of = [&](size_t head) { return Pages(FewRow(head, layer).position + 1); };
  int64_t pages = 0;
  for (size_t head = 0; head < heads; ++head) pages += pages_of(head);
  ForParts(ShareOf(pages, part, parts), heads, pages_of,
           [&](size_t head, int64_t first, int64_t last) {
             const float* const queries = Queries(FewRow(head, layer), FewKvHead(head));
             kernels::PagedScores(FewHead(head, layer), queries, group_, scale, first, last,
                                  FewScores(head), scores_stride_);
           });
}

void Forward::Softmax(Share queries, int64_t layer) {
  for (int64_t i = queries.first; i < queries.last; ++i) {
    const int64_t length = FewRow(static_cast<size_t>(i / group_), layer).position + 1;
    kernels::PagedSoftmax(work_.scores.data() + i * scores_stride_, length,
                          Pages(length) * kPageTokens);
  }
}

// Coordinates of values that one member takes together. Twice kKeyTokens of float16 fill a line of
// the cache, which two members would else both fetch.
int64_t Forward::FewCoordinates(int64_t layer) const {
  const int64_t twice = 2 * kKeyTokens;
  if (spec_.head_dim % twice != 0) return kKeyTokens;
  const int64_t pieces = RowsOf(layer).count() * spec_.kv_heads * spec_.head_dim / twice;
  return pieces >= 2 * team_.members() ? twice : kKeyTokens;
}

void Forward::Values(Share pieces, int64_t layer) {
  const int64_t coordinates = FewCoordinates(layer);
  const int64_t parts = spec_.head_dim / coordinates;
  const auto heads = static_cast<size_t>(RowsOf(layer).count() * spec_.kv_heads);
  ForParts(
      pieces, heads, [parts](size_t) { return parts; },
      [&](size_t head, int64_t first, int64_t last) {
        float* const out =
            work_.attended.data() + static_cast<int64_t>(head) * group_ * spec_.head_dim;
        kernels::PagedValues(FewHead(head, layer), FewScores(head), group_, scores_stride_,
                             FewRow(head, layer).position + 1, first * coordinates,
                             last * coordinates, out, spec_.head_dim);
      });
}

// item: tile and head of keys. The last tiles of a conversation take longest, and are taken first.
void Forward::AttendTile(int item, int member, int64_t layer) {
  const Rows& rows = RowsOf(layer);
  const int64_t kv_head = item % spec_.kv_heads;
  const Tile& tile = rows.tiles[static_cast<size_t>(item / spec_.kv_heads)];
  const int64_t head_dim = spec_.head_dim;
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  auto& own = work_.members[static_cast<size_t>(member)];
  const Row& longest = rows.rows[tile.last - 1];
  const int64_t count = static_cast<int64_t>(tile.last - tile.first) * group_;
  const int64_t length = longest.position + 1;
  const int64_t stride = Pages(length) * kPageTokens;
  const int64_t queries = group_ * head_dim;  // of one row
  for (size_t i = tile.first; i < tile.last; ++i) {
    std::copy_n(Queries(rows.rows[i], kv_head), queries,
                own.queries.data() + static_cast<int64_t>(i - tile.first) * queries);
  }
  const PagedHead head = HeadOf(longest, layer, kv_head);
  kernels::PagedScores(head, own.queries.data(), count, scale, 0, Pages(length), own.scores.data(),
                       stride);
  for (int64_t i = 0; i < count; ++i) {
    const Row& row = rows.rows[tile.first + static_cast<size_t>(i / group_)];
    kernels::PagedSoftmax(own.scores.data() + i * stride, row.position + 1, stride);
  }
  kernels::PagedValues(head, own.scores.data(), count, stride, length, 0, head_dim, own.out.data(),
                       head_dim);
  for (size_t i = tile.first; i < tile.last; ++i) {
    std::copy_n(own.out.data() + static_cast<int64_t>(i - tile.first) * queries, queries,
                work_.attended.data() + static_cast<int64_t>(i) * q_width_ + kv_head * queries);
  }
}

}  // namespace g4v
