#include "decoder/cpu/forward.h"

#include <algorithm>

#include "base/error.h"
#include "decoder/cpu/cpu_model.h"
#include "decoder/cpu/forward_parts.h"
#include "kernels/cpu/llama/rms_norm.h"
#include "kernels/cpu/llama/rotary.h"

namespace g4v {
namespace {

using kernels::kPageTokens;
using kernels::LinearInput;
using kernels::LinearOutput;
using kernels::PackedMatrix;
using kernels::PagedHead;
using kernels::Share;
using kernels::ShareOf;

constexpr int64_t kFewRows = 2;     // up to which each member prepares all rows for itself
constexpr int64_t kFewQueries = 8;  // rows up to which heads, tokens and coordinates are shared out
constexpr int64_t kTileQueries = 16;  // of a tile of attention, about
constexpr int64_t kParts = 4;         // of a phase, for each member
constexpr int64_t kPanelsAtOnce = 8;  // between two looks at whether the step is cancelled

int64_t TileRows(int64_t group) { return std::max<int64_t>(1, kTileQueries / group); }

}  // namespace

Forward::Forward(const DecoderSpec& spec, const PackedWeights& weights, kernels::Team& team,
                 Workspace& workspace, std::span<const Sequence> sequences)
    : spec_(spec),
      weights_(weights),
      team_(team),
      work_(workspace),
      sequences_(sequences),
      width_(spec.hidden_size),
      group_(spec.heads / spec.kv_heads),
      q_width_(int64_t{spec.heads} * spec.head_dim),
      kv_width_(int64_t{spec.kv_heads} * spec.head_dim),
      qkv_width_(q_width_ + 2 * kv_width_),
      mlp_width_(weights.mlp_width()) {
  for (const Sequence& sequence : sequences) AddRows(sequence);
  MakeRoom();
  ListPhases();
}

void Forward::AddRows(const Sequence& sequence) {
  const auto count = static_cast<int64_t>(sequence.rows.size()) / width_;
  const int64_t before = sequence.cache->length();
  const int64_t tile = TileRows(group_);
  for (int64_t i = 0; i < count; ++i) {
    if (i % tile == 0) all_.tiles.push_back({all_.rows.size(), all_.rows.size()});
    all_.rows.push_back({&sequence.cache->pages(), before + i, all_.count()});
    all_.tiles.back().last = all_.rows.size();
  }
  const size_t wanted = sequence.logits.size() / static_cast<size_t>(spec_.vocab_size);
  for (size_t i = all_.rows.size() - wanted; i < all_.rows.size(); ++i) {
    last_.tiles.push_back({last_.rows.size(), last_.rows.size() + 1});
    last_.rows.push_back(all_.rows[i]);
  }
}

void Forward::MakeRoom() {
  const int64_t rows = all_.count();
  const int64_t half = spec_.head_dim / 2;
  Grow(work_.x, rows * width_);
  Grow(work_.last_x, last_.count() * width_);
  Grow(work_.qkv, rows * qkv_width_);
  Grow(work_.attended, rows * q_width_);
  Grow(work_.hidden, rows * mlp_width_);
  Grow(work_.cosines, rows * half);
  Grow(work_.sines, rows * half);
  Grow(work_.logits, last_.count() * spec_.vocab_size);
  work_.members.resize(static_cast<size_t>(team_.members()));
  const auto make = [](Activations& activations, int64_t count, int64_t width) {
    Grow(activations.values, count * width);
    activations.codes.Resize(count, width);
  };
  const auto make_all = [&](Workspace::Inputs& inputs, int64_t count) {
    make(inputs.normed, count, width_);
    make(inputs.attended, count, q_width_);
    make(inputs.hidden, count, mlp_width_);
  };
  make_all(work_.shared, rows > kFewRows ? rows : 0);
  for (auto& member : work_.members) make_all(member.inputs, std::min(rows, kFewRows));
  all_.x = work_.x.data();
  last_.x = work_.last_x.data();
  int64_t tokens = 0;
  for (const Row& row : all_.rows) tokens = std::max(tokens, row.position + 1);
  scores_stride_ = Pages(tokens) * kPageTokens;
  Grow(work_.scores, std::min(rows, kFewQueries) * spec_.heads * scores_stride_);
  const int64_t queries = rows > kFewQueries ? TileRows(group_) * group_ : 0;  // of a tile
  for (auto& member : work_.members) {
    Grow(member.queries, queries * spec_.head_dim);
    Grow(member.out, queries * spec_.head_dim);
    Grow(member.scores, queries * scores_stride_);
  }
  ++work_.steps;
}

void Forward::Run() {
  team_.Run(work_.phases);
  if (stopped()) throw Error(Code::Cancelled, "cancelled");
  const float* from = work_.logits.data();
  for (const Sequence& sequence : sequences_) {
    std::copy_n(from, sequence.logits.size(), sequence.logits.data());
    from += sequence.logits.size();
  }
}

bool Forward::stopped() const {
  return std::all_of(sequences_.begin(), sequences_.end(), [](const Sequence& sequence) {
    return sequence.control && sequence.control->terminated();
  });
}

const Forward::Rows& Forward::RowsOf(int64_t layer) const {
  return layer + 1 == spec_.layers ? last_ : all_;
}

void Forward::Add(Kind kind, int64_t layer, int64_t parts) {
  work_.phases.push_back(
      {&Forward::RunPart, this, kind, static_cast<int>(layer), static_cast<int>(parts)});
}

void Forward::AddProduct(Kind prepare, Kind product, int64_t layer, int64_t rows, int64_t panels) {
  if (rows > kFewRows) Add(prepare, layer, std::min(rows, kParts * team_.members()));
  Add(product, layer, std::min(panels, kParts * team_.members()));
}

void Forward::ListPhases() {
  work_.phases.clear();
  const int64_t most = kParts * team_.members();
  const auto parts = [most](int64_t items) { return std::min(items, most); };
  Add(kStart, 0, parts(all_.count()));
  for (int64_t i = 0; i < spec_.layers; ++i) {
    const PackedLayer& layer = weights_.layers()[static_cast<size_t>(i)];
    AddProduct(kPrepareAttention, kProject, i, all_.count(),
               layer.q.panels() + layer.k.panels() + layer.v.panels());
    Add(kRotate, i, parts(all_.count() * spec_.kv_heads));
    const int64_t rows = RowsOf(i).count();
    if (i + 1 == spec_.layers) Add(kKeepLast, i, parts(rows));
    if (rows == 0) return;  // no logits are wanted, and keys and values are stored
    const int64_t heads = rows * spec_.kv_heads;
    if (rows > kFewQueries) {
      Add(kAttendTiles, i, static_cast<int64_t>(RowsOf(i).tiles.size()) * spec_.kv_heads);
    } else {
      Add(kScores, i, most);
      Add(kSoftmax, i, parts(heads * group_));
      Add(kValues, i, parts(heads * spec_.head_dim / FewCoordinates(i)));
    }
    AddProduct(kPrepareOutput, kOutput, i, rows, layer.o.panels());
    AddProduct(kPrepareMlp, kGateUp, i, rows, layer.gate.panels());
    AddProduct(kPrepareDown, kDown, i, rows, layer.down.panels());
  }
  AddProduct(kPrepareHead, kHead, spec_.layers, last_.count(), weights_.head().panels());
}

void Forward::RunPart(void* self, const Phase& phase, int part, int member) {
  static_cast<Forward*>(self)->RunPart(phase, part, member);
}

// A step that is cancelled goes through all phases without their work.
void Forward::RunPart(const Phase& phase, int part, int member) {
  if (stopped()) return;
  const auto kind = static_cast<Kind>(phase.kind);
  const int64_t index = phase.index;
  const bool is_head = kind == kPrepareHead || kind == kHead;
  const PackedLayer& layer = weights_.layers()[static_cast<size_t>(is_head ? 0 : index)];
  const auto share = [&](int64_t count) { return ShareOf(count, part, phase.parts); };
  const auto heads = [&] { return RowsOf(index).count() * spec_.kv_heads; };
  const auto panels = [&](int64_t count, const auto& run) {
    const Share all = share(count);
    for (int64_t first = all.first; first < all.last && !stopped(); first += kPanelsAtOnce) {
      run(Share{first, std::min(first + kPanelsAtOnce, all.last)});
    }
  };
  const auto product = [&](const PackedMatrix& matrix, const LinearOutput& out) {
    const LinearInput input = InputOf(phase, member);
    panels(matrix.panels(),
           [&](Share some) { kernels::LinearPanels(matrix, input, some.first, some.last, out); });
  };
  switch (kind) {
    case kStart:
      return Start(share(all_.count()));
    case kPrepareAttention:
    case kPrepareOutput:
    case kPrepareMlp:
    case kPrepareDown:
    case kPrepareHead: {
      const auto product_of = static_cast<Kind>(kind + 1);
      const Source source = SourceOf(product_of, index);
      return Prepare(source, share(source.rows), For(product_of, work_.shared));
    }
    case kProject: {
      const LinearInput input = InputOf(phase, member);
      return panels(layer.q.panels() + layer.k.panels() + layer.v.panels(),
                    [&](Share some) { Project(some, layer, input); });
    }
    case kRotate:
      return Rotate(share(all_.count() * spec_.kv_heads), index);
    case kKeepLast:
      return KeepLast(share(last_.count()));
    case kAttendTiles:
      return AttendTile(part, member, index);
    case kScores:
      return Scores(part, phase.parts, index);
    case kSoftmax:
      return Softmax(share(heads() * group_), index);
    case kValues:
      return Values(share(heads() * spec_.head_dim / FewCoordinates(index)), index);
    case kOutput:
      return product(layer.o, {RowsOf(index).x, width_, true});
    case kGateUp: {
      const LinearInput input = InputOf(phase, member);
      return panels(layer.gate.panels(), [&](Share some) {
        kernels::SwiGluPanels(layer.gate, layer.up, input, some.first, some.last,
                              {work_.hidden.data(), mlp_width_, false});
      });
    }
    case kDown:
      return product(layer.down, {RowsOf(index).x, width_, true});
    case kHead:
      return product(weights_.head(), {work_.logits.data(), spec_.vocab_size, false});
  }
}

Forward::Source Forward::SourceOf(Kind product, int64_t index) const {
  if (product == kHead) {
    return {last_.x, last_.count(), width_, weights_.final_norm(), HasCodes(weights_.head().kind)};
  }
  const PackedLayer& layer = weights_.layers()[static_cast<size_t>(index)];
  const Rows& rows = RowsOf(index);
  switch (product) {
    case kProject:
      return {all_.x, all_.count(), width_, layer.attention_norm,
              HasCodes(layer.q.kind) || HasCodes(layer.k.kind) || HasCodes(layer.v.kind)};
    case kOutput:
      return {work_.attended.data(), rows.count(), q_width_, nullptr, HasCodes(layer.o.kind)};
    case kGateUp:
      return {rows.x, rows.count(), width_, layer.mlp_norm,
              HasCodes(layer.gate.kind) || HasCodes(layer.up.kind)};
    default:
      return {work_.hidden.data(), rows.count(), mlp_width_, nullptr, HasCodes(layer.down.kind)};
  }
}

Forward::Activations& Forward::For(Kind product, Workspace::Inputs& inputs) {
  if (product == kOutput) return inputs.attended;
  return product == kDown ? inputs.hidden : inputs.normed;
}

void Forward::Prepare(const Source& source, Share rows, Activations& made) const {
  for (int64_t i = rows.first; i < rows.last; ++i) {
    const float* const from = source.from + i * source.width;
    float* const row = made.values.data() + i * source.width;
    if (source.norm) {
      kernels::RmsNorm(from, source.norm, source.width, weights_.norm_epsilon(), row);
    } else {
      std::copy_n(from, source.width, row);
    }
    if (source.codes) kernels::QuantiseRow(row, source.width, i, made.codes);
  }
}

LinearInput Forward::InputOf(const Phase& product, int member) {
  const auto kind = static_cast<Kind>(product.kind);
  const Source source = SourceOf(kind, product.index);
  Activations* made = &For(kind, work_.shared);
  if (source.rows <= kFewRows) {
    made = &For(kind, work_.members[static_cast<size_t>(member)].inputs);
    const auto number = static_cast<uint64_t>(&product - work_.phases.data());
    const uint64_t made_for = work_.steps << 32 | number;
    if (made->made_for != made_for) Prepare(source, {0, source.rows}, *made);
    made->made_for = made_for;
  }
  return {source.rows, made->values.data(), &made->codes};
}

// Copies the rows, and makes the angles of their positions.
void Forward::Start(Share share) {
  const int64_t half = spec_.head_dim / 2;
  ForParts(
      share, sequences_.size(),
      [&](size_t i) { return static_cast<int64_t>(sequences_[i].rows.size()) / width_; },
      [&, next = share.first](size_t i, int64_t first, int64_t last) mutable {
        const float* const from = sequences_[i].rows.data() + first * width_;
        std::copy_n(from, (last - first) * width_, all_.x + next * width_);
        next += last - first;
      });
  for (int64_t i = share.first; i < share.last; ++i) {
    kernels::RotaryAngles(all_.rows[static_cast<size_t>(i)].position, weights_.rotary_frequencies(),
                          weights_.rotary_factor(), half, work_.cosines.data() + i * half,
                          work_.sines.data() + i * half);
  }
}

void Forward::Project(Share panels, const PackedLayer& layer, const LinearInput& input) {
  const PackedMatrix* const matrices[] = {&layer.q, &layer.k, &layer.v};
  float* const outs[] = {work_.qkv.data(), work_.qkv.data() + q_width_,
                         work_.qkv.data() + q_width_ + kv_width_};
  ForParts(
      panels, 3, [&](size_t i) { return matrices[i]->panels(); },
      [&](size_t i, int64_t first, int64_t last) {
        kernels::LinearPanels(*matrices[i], input, first, last, {outs[i], qkv_width_, false});
      });
}

float* Forward::Queries(const Row& row, int64_t kv_head) const {
  return work_.qkv.data() + row.index * qkv_width_ + kv_head * group_ * spec_.head_dim;
}

PagedHead Forward::HeadOf(const Row& row, int64_t layer, int64_t kv_head) const {
  PagedHead head = row.pages->pool().HeadOf(layer, kv_head);
  head.pages = row.pages->data();
  return head;
}

// Rotates queries and keys, and stores keys and values.
void Forward::Rotate(Share heads, int64_t layer) {
  const int64_t head_dim = spec_.head_dim;
  const int64_t half = head_dim / 2;
  for (int64_t item = heads.first; item < heads.last; ++item) {
    const Row& row = all_.rows[static_cast<size_t>(item / spec_.kv_heads)];
    const int64_t kv_head = item % spec_.kv_heads;
    const float* const cosines = work_.cosines.data() + row.index * half;
    const float* const sines = work_.sines.data() + row.index * half;
    for (int64_t i = 0; i < group_; ++i) {
      kernels::Rotate(cosines, sines, half, Queries(row, kv_head) + i * head_dim);
    }
    float* const key = work_.qkv.data() + row.index * qkv_width_ + q_width_ + kv_head * head_dim;
    kernels::Rotate(cosines, sines, half, key);
    kernels::StoreToken(HeadOf(row, layer, kv_head), row.position, key, key + kv_width_);
  }
}

void Forward::KeepLast(Share rows) {
  for (int64_t i = rows.first; i < rows.last; ++i) {
    const int64_t index = last_.rows[static_cast<size_t>(i)].index;
    std::copy_n(all_.x + index * width_, width_, last_.x + i * width_);
  }
}

}  // namespace g4v
