// One step of the decoder: rows of embeddings of one or several conversations, through all layers.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "bundle/manifest.h"
#include "decoder/cpu/kv_pages.h"
#include "decoder/cpu/packed_weights.h"
#include "kernels/cpu/linear/linear.h"
#include "kernels/cpu/llama/paged_attention.h"
#include "kernels/cpu/team.h"
#include "ort/session.h"

namespace g4v {

class CpuKvCache;

// Made for one step, which is a list of phases for a team. Each product is divided by panels of
// output columns, attention by heads, tokens and coordinates, and all else by rows. No sum is
// divided, so that results do not depend on who computes what.
class Forward {
 public:
  // The part of one conversation. Its cache must have room (KvPages::Reserve).
  struct Sequence {
    CpuKvCache* cache;
    std::span<const float> rows;  // [n, hidden_size], n >= 1
    std::span<float> logits;      // [m, vocab_size], after the last m <= n rows; may be empty
    ort::RunControl* control;     // null: cannot be cancelled
  };

  // Activations that a product reads.
  struct Activations {
    std::vector<float> values;
    kernels::QuantisedRows codes;
    uint64_t made_for = 0;  // number of the step and phase, of those that a member makes for itself
  };

  // Memory that is kept from step to step.
  struct Workspace {
    uint64_t steps = 0;
    std::vector<kernels::Team::Phase> phases;
    std::vector<float> x, last_x;       // [rows, hidden_size]: the residual stream
    std::vector<float> qkv;             // [rows, (heads + 2 kv_heads) head_dim]
    std::vector<float> attended;        // [rows, heads * head_dim]
    std::vector<float> hidden;          // [rows, width of the MLP]
    std::vector<float> cosines, sines;  // [rows, head_dim / 2]
    std::vector<float> scores;          // of few rows: [rows, heads, tokens]
    std::vector<float> logits;          // [conversations, vocab_size]
    struct Inputs {
      Activations normed;    // rows of hidden_size
      Activations attended;  // of heads * head_dim
      Activations hidden;    // of the MLP's width
    };
    Inputs shared;  // of many rows
    struct Member {
      Inputs inputs;                            // of few rows
      std::vector<float> queries, scores, out;  // of a tile of attention
    };
    std::vector<Member> members;
  };

  Forward(const DecoderSpec& spec, const PackedWeights& weights, kernels::Team& team,
          Workspace& workspace, std::span<const Sequence> sequences);

  // Throws Error(Cancelled) where the controls of all sequences are terminated.
  void Run();

 private:
  using Share = kernels::Share;
  struct Row {
    const KvPages* pages;
    int64_t position;
    int64_t index;  // among the rows of the step, which the queries are in
  };
  // Neighbouring rows of one conversation, [first, last), that attend in one go.
  struct Tile {
    size_t first;
    size_t last;
  };
  // The rows that go through a layer. Behind the attention of the last layer they are those whose
  // logits are wanted.
  struct Rows {
    std::vector<Row> rows;
    std::vector<Tile> tiles;
    float* x;  // [rows, hidden_size]: the residual stream
    int64_t count() const { return static_cast<int64_t>(rows.size()); }
  };

  using Phase = kernels::Team::Phase;
  enum Kind {
    kStart,
    kPrepareAttention,  // the phases kPrepare... are of many rows alone
    kProject,
    kRotate,
    kKeepLast,
    kAttendTiles,  // of many rows; of few, the three that follow
    kScores,
    kSoftmax,
    kValues,
    kPrepareOutput,
    kOutput,
    kPrepareMlp,
    kGateUp,
    kPrepareDown,
    kDown,
    kPrepareHead,
    kHead,
  };

  void AddRows(const Sequence& sequence);
  void MakeRoom();
  void ListPhases();
  void Add(Kind kind, int64_t layer, int64_t parts);
  void AddProduct(Kind prepare, Kind product, int64_t layer, int64_t rows, int64_t panels);
  static void RunPart(void* self, const Phase& phase, int part, int member);
  void RunPart(const Phase& phase, int part, int member);

  // Parts of phases. None allocates: they must not throw.
  void Start(Share rows);
  void Rotate(Share heads, int64_t layer);
  void KeepLast(Share rows);
  void AttendTile(int item, int member, int64_t layer);
  void Scores(int part, int parts, int64_t layer);
  void Softmax(Share queries, int64_t layer);
  int64_t FewCoordinates(int64_t layer) const;
  void Values(Share pieces, int64_t layer);
  void Project(Share panels, const PackedLayer& layer, const kernels::LinearInput& input);

  // What is read by a product: rows of `from`, normalised where `norm` is not null, and in codes
  // where a matrix has them.
  struct Source {
    const float* from;
    int64_t rows;
    int64_t width;
    const float* norm;
    bool codes;
  };
  Source SourceOf(Kind product, int64_t layer) const;
  static Activations& For(Kind product, Workspace::Inputs& inputs);
  void Prepare(const Source& source, Share rows, Activations& made) const;
  // Few rows are made by each member for itself, which is cheaper than to wait for the others.
  kernels::LinearInput InputOf(const Phase& product, int member);

  kernels::PagedHead HeadOf(const Row& row, int64_t layer, int64_t kv_head) const;
  float* Queries(const Row& row, int64_t kv_head) const;
  const Rows& RowsOf(int64_t layer) const;  // behind its attention
  // Of few rows, `head` counts the heads of keys of all rows: its row, its number in the row, where
  // its keys are, and where its scores [group, tokens].
  const Row& FewRow(size_t head, int64_t layer) const;
  int64_t FewKvHead(size_t head) const;
  kernels::PagedHead FewHead(size_t head, int64_t layer) const;
  float* FewScores(size_t head) const;
  bool stopped() const;

  const DecoderSpec& spec_;
  const PackedWeights& weights_;
  kernels::Team& team_;
  Workspace& work_;
  std::span<const Sequence> sequences_;
  const int64_t width_, group_, q_width_, kv_width_, qkv_width_, mlp_width_;
  int64_t scores_stride_ = 0;  // tokens, whole pages
  Rows all_;
  Rows last_;
};

}  // namespace g4v
