#include "cuda_host/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cuda_host/device.h"
#include "cuda_host/host_kernels.h"

namespace g4v::cuda_host {
namespace {

using kernels::ConstRows;
using kernels::CrossAttentionParams;
using kernels::DType;
using kernels::cuda::Launch;
using kernels::cuda::Plan;

constexpr size_t kGuard = 256;              // bytes before and behind each tensor
constexpr unsigned char kGuardByte = 0xff;  // NaN in every type

double Load(DType dtype, const unsigned char* at) {
  if (dtype == DType::kFloat32) {
    float value;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, at, sizeof bits);
  return dtype == DType::kFloat16 ? HalfToFloat(bits) : BFloat16ToFloat(bits);
}

void Save(DType dtype, double value, unsigned char* at) {
  const auto single = static_cast<float>(value);
  if (dtype == DType::kFloat32) {
    std::memcpy(at, &single, sizeof single);
    return;
  }
  const uint16_t bits =
      dtype == DType::kFloat16 ? HalfFromFloat(single) : BFloat16FromFloat(single);
  std::memcpy(at, &bits, sizeof bits);
}

}  // namespace

double Rounded(DType dtype, double value) {
  unsigned char bytes[4];
  Save(dtype, value, bytes);
  return Load(dtype, bytes);
}

void RunPlan(const CrossAttentionParams& params, const Plan& plan, void* workspace,
             Executor executor, uint64_t seed) {
  if (plan.blocks == 0) return;
  Launch launch;
  launch.p = params;
  launch.query_tiles = plan.query_tiles;
  launch.splits = plan.splits;
  if (plan.splits > 1) {
    auto* bytes = static_cast<unsigned char*>(workspace);
    launch.partial_out = reinterpret_cast<float*>(bytes);
    launch.partial_stats = reinterpret_cast<float*>(bytes + plan.stats_offset);
  }
  const auto run = [&](const Grid& grid, const Body& body) {
    if (executor == Executor::kThreads) {
      RunBlocksInThreads(grid, body);
    } else {
      RunBlocks(grid, body, seed);
    }
  };
  constexpr HostKernel::Kind kKinds[] = {HostKernel::kPlain, HostKernel::kTensorCore,
                                         HostKernel::kWarpgroup};
  const HostKernel attention = {kKinds[static_cast<int>(plan.kernel)], params.dtype,
                                params.head_size};
  run({plan.blocks, kernels::cuda::ThreadsOf(plan.kernel), static_cast<size_t>(plan.shared_bytes)},
      BodyOf(attention, launch));
  if (plan.merge_blocks == 0) return;
  run({plan.merge_blocks, kernels::cuda::kMergeThreads, 0},
      BodyOf({HostKernel::kMerge, params.dtype, 0}, launch));
}

Problem::Buffer Problem::Make(int64_t rows, bool interleaved, int64_t misaligned_by) const {
  Buffer buffer;
  const auto element = static_cast<int64_t>(SizeOf(shape_.dtype));
  buffer.rows = rows;
  if (interleaved) {  // [B, rows, H, 3, D]: a row of all heads, thirds of it for others
    buffer.head = 3 * shape_.head_size;
    buffer.row = shape_.heads * buffer.head;
    buffer.batch = rows * buffer.row;
  } else {
    buffer.row = shape_.head_size;
    buffer.head = rows * buffer.row;
    buffer.batch = shape_.heads * buffer.head;
  }
  buffer.offset = kGuard + static_cast<size_t>(misaligned_by * element);
  // std::vector's memory is 16-byte aligned, and kGuard is a multiple of 16.
  buffer.bytes.assign(
      buffer.offset + static_cast<size_t>(shape_.batch * buffer.batch * element) + kGuard,
      kGuardByte);
  return buffer;
}

double Problem::Get(const Buffer& buffer, int64_t b, int64_t h, int64_t r, int64_t d) const {
  const int64_t at = b * buffer.batch + h * buffer.head + r * buffer.row + d;
  return Load(shape_.dtype,
              buffer.bytes.data() + buffer.offset + static_cast<size_t>(at) * SizeOf(shape_.dtype));
}

void Problem::Set(Buffer& buffer, int64_t b, int64_t h, int64_t r, int64_t d, double value) const {
  const int64_t at = b * buffer.batch + h * buffer.head + r * buffer.row + d;
  Save(shape_.dtype, value,
       buffer.bytes.data() + buffer.offset + static_cast<size_t>(at) * SizeOf(shape_.dtype));
}

Problem::Problem(const Shape& shape, Values values, uint64_t seed, bool interleaved,
                 int64_t misaligned_by)
    : shape_(shape) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  q_ = Make(shape.queries, interleaved, misaligned_by);
  k_own_ = Make(shape.own_rows, interleaved, misaligned_by);
  v_own_ = Make(shape.own_rows, interleaved, misaligned_by);
  k_mem_ = Make(shape.memory_rows, interleaved, misaligned_by);
  v_mem_ = Make(shape.memory_rows, interleaved, misaligned_by);
  out_ = Make(shape.queries, interleaved, misaligned_by);
  const int64_t keys = shape.own_rows + shape.memory_rows;
  for (int64_t b = 0; b < shape.batch; ++b) {
    for (int64_t h = 0; h < shape.heads; ++h) {
      for (int64_t d = 0; d < shape.head_size; ++d) {
        for (int64_t i = 0; i < shape.queries; ++i) {
          double value = normal(random);
          if (values == Values::kLargeLogits) value *= 20.0;
          if (values == Values::kOneHot) value = d == i % shape.head_size ? 40.0 : 0.0;
          if (values == Values::kGrowing) value = 1.0;
          Set(q_, b, h, i, d, value);
        }
        for (int64_t j = 0; j < keys; ++j) {
          const bool own = j < shape.own_rows;
          const int64_t row = own ? j : j - shape.own_rows;
          double value = normal(random);
          if (values == Values::kLargeLogits) value *= 20.0;
          if (values == Values::kOneHot) value = d == j ? 40.0 : 0.0;
          if (values == Values::kEqual) value = 0.25 * static_cast<double>(d % 5);
          if (values == Values::kGrowing) {
            value = static_cast<double>(j) / 16.0;
          }
          Set(own ? k_own_ : k_mem_, b, h, row, d, value);
          Set(own ? v_own_ : v_mem_, b, h, row, d, normal(random));
        }
      }
    }
  }
  params.dtype = shape.dtype;
  params.batch = shape.batch;
  params.heads = shape.heads;
  params.queries = shape.queries;
  params.own_rows = shape.own_rows;
  params.memory_rows = shape.memory_rows;
  params.head_size = shape.head_size;
  params.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(shape.head_size)));
  const auto view = [](Buffer& buffer) {
    return ConstRows{buffer.bytes.data() + buffer.offset, buffer.batch, buffer.head, buffer.row};
  };
  params.q = view(q_);
  if (shape.own_rows > 0) {
    params.k_own = view(k_own_);
    params.v_own = view(v_own_);
  }
  if (shape.memory_rows > 0) {
    params.k_mem = view(k_mem_);
    params.v_mem = view(v_mem_);
  }
  params.out = {out_.bytes.data() + out_.offset, out_.batch, out_.head, out_.row};
}

void Problem::UseLengths(std::vector<int32_t> lengths) {
  mem_len = std::move(lengths);
  params.mem_len = mem_len.data();
}

void Problem::PoisonMemoryRow(int64_t batch, int64_t head, int64_t row) {
  for (int64_t d = 0; d < shape_.head_size; ++d) {
    Set(k_mem_, batch, head, row, d, NAN);
    Set(v_mem_, batch, head, row, d, NAN);
  }
}

std::vector<double> Problem::Attend(bool plain16) const {
  const auto narrow = [&](double value) { return plain16 ? Rounded(shape_.dtype, value) : value; };
  std::vector<double> out;
  for (int64_t b = 0; b < shape_.batch; ++b) {
    const int64_t memory = params.mem_len
                               ? std::clamp<int64_t>(params.mem_len[b], 0, shape_.memory_rows)
                               : shape_.memory_rows;
    const int64_t keys = shape_.own_rows + memory;
    for (int64_t h = 0; h < shape_.heads; ++h) {
      for (int64_t i = 0; i < shape_.queries; ++i) {
        std::vector<double> weights(static_cast<size_t>(keys));
        std::vector<double> row(static_cast<size_t>(shape_.head_size), 0.0);
        double top = -INFINITY;
        for (int64_t j = 0; j < keys; ++j) {
          const bool own = j < shape_.own_rows;
          double score = 0.0;
          for (int64_t d = 0; d < shape_.head_size; ++d) {
            score += Get(q_, b, h, i, d) *
                     Get(own ? k_own_ : k_mem_, b, h, own ? j : j - shape_.own_rows, d);
          }
          weights[static_cast<size_t>(j)] = narrow(narrow(score) * params.scale);
          top = std::max(top, weights[static_cast<size_t>(j)]);
        }
        double sum = 0.0;
        for (double& weight : weights) sum += weight = std::exp(weight - top);
        for (int64_t j = 0; j < keys; ++j) {
          const bool own = j < shape_.own_rows;
          const double weight = narrow(weights[static_cast<size_t>(j)] / sum);
          for (int64_t d = 0; d < shape_.head_size; ++d) {
            row[static_cast<size_t>(d)] +=
                weight * Get(own ? v_own_ : v_mem_, b, h, own ? j : j - shape_.own_rows, d);
          }
        }
        for (const double value : row) out.push_back(narrow(value));
      }
    }
  }
  return out;
}

std::vector<double> Problem::Reference() const { return Attend(false); }
std::vector<double> Problem::Plain16() const { return Attend(true); }

std::vector<double> Problem::Output() const {
  std::vector<double> out;
  for (int64_t b = 0; b < shape_.batch; ++b) {
    for (int64_t h = 0; h < shape_.heads; ++h) {
      for (int64_t i = 0; i < shape_.queries; ++i) {
        for (int64_t d = 0; d < shape_.head_size; ++d) out.push_back(Get(out_, b, h, i, d));
      }
    }
  }
  return out;
}

void Problem::ClearOutput() { std::fill(out_.bytes.begin(), out_.bytes.end(), kGuardByte); }

bool Problem::GuardsAreWhole() const {
  std::vector<bool> owned(out_.bytes.size(), false);
  const size_t element = SizeOf(shape_.dtype);
  for (int64_t b = 0; b < shape_.batch; ++b) {
    for (int64_t h = 0; h < shape_.heads; ++h) {
      for (int64_t i = 0; i < shape_.queries; ++i) {
        const int64_t at = b * out_.batch + h * out_.head + i * out_.row;
        const size_t first = out_.offset + static_cast<size_t>(at) * element;
        std::fill_n(owned.begin() + static_cast<int64_t>(first),
                    static_cast<size_t>(shape_.head_size) * element, true);
      }
    }
  }
  for (size_t i = 0; i < owned.size(); ++i) {
    if (!owned[i] && out_.bytes[i] != kGuardByte) return false;
  }
  return true;
}

}  // namespace g4v::cuda_host
