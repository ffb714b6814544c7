// The attention's arguments (kernels/cross_attention.h) and its CPU kernels
// (kernels/cpu/attention). Any numbers are taken or refused; with operands in buffers of exactly
// their size, every instruction set gives what the plain formula gives.
#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "attention_operands.h"
#include "fuzz.h"

using namespace g4v;
using namespace g4v::kernels;
using fuzz::Make;
using fuzz::Require;
using fuzz::Tensor;
using fuzz::ValueOf;

namespace {

// Sizes and pointers that no tensor has, near the limits of their type among them.
void CheckAnyNumbers(fuzz::Input input) {
  CrossAttentionParams p;
  for (int64_t* size : {&p.batch, &p.heads, &p.queries, &p.own_rows, &p.memory_rows})
    *size = input.Take<int64_t>();
  p.head_size = kHeadSizes[input.From(0, 4)];
  p.scale = input.Take<float>();
  char byte = 0;
  for (ConstRows* rows : {&p.q, &p.k_own, &p.v_own, &p.k_mem, &p.v_mem})
    rows->data = input.Coin() ? &byte : nullptr;
  p.out.data = input.Coin() ? &byte : nullptr;
  if (CheckCrossAttention(p) != nullptr) return;
  Require(p.batch >= 0 && p.heads >= 0 && p.queries >= 0 && std::isfinite(p.scale),
          "sizes and scale are checked");
  Require(p.batch == 0 || p.heads == 0 || p.queries == 0 || (p.q.data && p.out.data),
          "what is read is there");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  CheckAnyNumbers(input);
  CrossAttentionParams p;
  p.dtype = static_cast<DType>(input.From(0, 2));
  p.batch = input.From(0, 2);
  p.heads = input.From(0, 2);
  p.queries = input.From(0, 17);
  p.own_rows = input.Coin() ? p.queries : 0;
  p.memory_rows = input.Take<uint8_t>() < 224 ? input.From(0, 40) : input.From(250, 530);
  p.head_size = kHeadSizes[input.From(0, 4)];
  p.scale = static_cast<float>(input.From(0, 16)) / 16.0f;
  std::vector<int32_t> lengths;
  for (int64_t b = 0; b < p.batch; ++b)
    lengths.push_back(static_cast<int32_t>(input.From(0, p.memory_rows)));
  if (input.Coin()) p.mem_len = lengths.data();
  auto random = input.Take<uint32_t>();
  const bool heads_first = input.Coin();
  const auto make = [&](int64_t rows, bool filled = true) {
    return Make(p, rows, input.From(0, 3), heads_first, filled ? &random : nullptr);
  };
  const Tensor q = make(p.queries), k_own = make(p.own_rows), v_own = make(p.own_rows);
  const Tensor k_mem = make(p.memory_rows), v_mem = make(p.memory_rows);
  Tensor wanted = Make(p, p.queries, 0, heads_first, nullptr);
  p.q = fuzz::Const(q), p.k_own = fuzz::Const(k_own), p.v_own = fuzz::Const(v_own),
  p.k_mem = fuzz::Const(k_mem), p.v_mem = fuzz::Const(v_mem);
  p.out = wanted.rows;
  if (CheckCrossAttention(p) != nullptr) return 0;
  fuzz::OneThread threads(static_cast<int>(input.From(1, 4)));
  CrossAttentionPlain(p, threads);
  for (const Isa isa : kIsas) {
    if (!Available(isa) || isa == Isa::kPlain) continue;
    Tensor found = Make(p, p.queries, 0, heads_first, nullptr);
    p.out = found.rows;
    const size_t bytes = CpuWorkspaceSize(p, threads.threads(), isa);
    const std::unique_ptr<void, void (*)(void*)> workspace(
        std::aligned_alloc(64, std::max<size_t>((bytes + 63) / 64 * 64, 64)), &std::free);
    CrossAttentionCpu(p, workspace.get(), threads, isa);
    for (size_t i = 0; i < found.bytes.size() / SizeOf(p.dtype); ++i) {
      const double difference = std::fabs(ValueOf(found, p.dtype, i) - ValueOf(wanted, p.dtype, i));
      Require(difference <= (p.dtype == DType::kFloat32 ? 1e-5 : 1e-2),
              std::string("the formula's values with ") + Name(isa));
    }
  }
  return 0;
}
