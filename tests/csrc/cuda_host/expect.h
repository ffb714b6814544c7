// Runs a problem through the kernels of a plan and holds the result against float64.
//
// Tolerances. float32: 1e-5 of the largest value (the kernels' promise). 16 bits: twice the error
// of a plain attention in the same type (scores, weights and results rounded to it), or the
// rounding of the result itself where that plain attention happens to be exact.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "check.h"
#include "cuda_host/attention.h"

namespace g4v::cuda_host {

struct Error {
  double ours = 0.0, allowed = 0.0;
};

inline Error ErrorOf(const Problem& problem) {
  const auto reference = problem.Reference();
  const auto plain = problem.Plain16();
  const auto output = problem.Output();
  double largest = 0.0, plain_error = 0.0;
  Error error;
  for (size_t i = 0; i < reference.size(); ++i) {
    largest = std::max(largest, std::fabs(reference[i]));
    plain_error = std::max(plain_error, std::fabs(plain[i] - reference[i]));
    const double ours = std::fabs(output[i] - reference[i]);
    error.ours = std::isnan(ours) ? INFINITY : std::max(error.ours, ours);
  }
  switch (problem.params.dtype) {
    case kernels::DType::kFloat32:
      error.allowed = 1e-5 * largest;
      break;
    case kernels::DType::kFloat16:
      error.allowed = std::max(2 * plain_error, largest * 0x1p-11);
      break;
    case kernels::DType::kBFloat16:
      error.allowed = std::max(2 * plain_error, largest * 0x1p-8);
      break;
  }
  return error;
}

// A plan with the number of splits that a test wants.
inline kernels::cuda::Plan WithSplits(const Problem& problem, const kernels::cuda::Gpu& gpu,
                                      int32_t splits, int32_t wanted = kernels::cuda::kChosen) {
  auto plan = MakePlan(problem.params, gpu, wanted);
  plan.blocks = plan.blocks / plan.splits * splits;
  plan.splits = splits;
  plan.merge_blocks = 0;
  plan.workspace_bytes = plan.stats_offset = 0;
  if (splits == 1) return plan;
  const auto& p = problem.params;
  const int64_t rows = p.batch * p.heads * p.queries;
  plan.merge_blocks = (rows * (p.head_size / 4) + 255) / 256;
  plan.stats_offset = splits * rows * p.head_size * 4;
  plan.workspace_bytes = plan.stats_offset + splits * rows * 8;
  return plan;
}

// Device memory of exactly the size that the plan names, holding NaNs: AddressSanitizer guards it.
struct Workspace {
  explicit Workspace(const kernels::cuda::Plan& plan)
      : bytes(static_cast<size_t>(plan.workspace_bytes), static_cast<unsigned char>(0xff)) {}
  std::vector<unsigned char> bytes;
};

inline std::vector<double> Run(Problem& problem, const kernels::cuda::Plan& plan,
                               uint64_t seed = 1) {
  Workspace workspace(plan);
  problem.ClearOutput();
  RunPlan(problem.params, plan, workspace.bytes.data(), Executor::kFibers, seed);
  return problem.Output();
}

inline void Expect(Problem& problem, const kernels::cuda::Plan& plan, const std::string& name) {
  Run(problem, plan);
  const Error error = ErrorOf(problem);
  const bool right = error.ours <= error.allowed;
  if (!right) {
    std::fprintf(stderr, "%s: error %.3g, allowed %.3g\n", name.c_str(), error.ours, error.allowed);
  }
  CHECK(right);
  CHECK(problem.GuardsAreWhole());
}

inline std::string Name(const Shape& shape, const kernels::cuda::Plan& plan) {
  return "dtype " + std::to_string(static_cast<int>(shape.dtype)) + ", D " +
         std::to_string(shape.head_size) + ", Nq " + std::to_string(shape.queries) + ", own " +
         std::to_string(shape.own_rows) + ", memory " + std::to_string(shape.memory_rows) +
         ", kernel " + std::to_string(static_cast<int>(plan.kernel)) + ", splits " +
         std::to_string(plan.splits);
}

}  // namespace g4v::cuda_host
