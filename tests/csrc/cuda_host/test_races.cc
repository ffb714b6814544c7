// For ThreadSanitizer: every CUDA thread is a thread, so that two accesses to shared memory or to
// the output without a barrier between them are reported. `test_races missing-barrier` leaves a
// barrier out and must be reported.
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <vector>

#include "check.h"
#include "cuda_host/attention.h"
#include "cuda_host/device.h"
#include "cuda_host/simulator.h"

namespace g4v::cuda_host {
namespace {

using kernels::DType;

void TestKernels() {
  struct Case {
    Shape shape;
    kernels::cuda::Gpu gpu;
    int32_t wanted = kernels::cuda::kChosen;
  };
  const kernels::cuda::Gpu split_in_two = {80, 2, 166912};
  const Case cases[] = {
      // Five tiles, the last one short: every stage is filled again while others read.
      {{DType::kBFloat16, 1, 1, 20, 20, 285, 32}, {80, 1, 166912}},
      {{DType::kFloat16, 1, 1, 5, 5, 270, 80}, split_in_two},
      {{DType::kFloat32, 1, 1, 9, 0, 70, 32}, split_in_two},
      // wgmma: seven tiles, the first one short, both warpgroups; then one warpgroup that only
      // copies.
      {{DType::kBFloat16, 1, 1, 70, 20, 390, 64}, {90, 1, 232448, true}, 2},
      {{DType::kFloat16, 1, 1, 20, 0, 400, 128}, {90, 2, 232448, true}, 2},
  };
  for (const Case& one : cases) {
    Problem problem(one.shape, Values::kNormal, 7);
    const auto plan = MakePlan(problem.params, one.gpu, one.wanted);
    CHECK(!plan.error);
    std::vector<float> workspace(static_cast<size_t>(plan.workspace_bytes / 4));
    problem.ClearOutput();
    RunPlan(problem.params, plan, workspace.data(), Executor::kThreads, 0);
    const auto out = problem.Output();
    const auto reference = problem.Reference();
    double error = 0.0;
    for (size_t i = 0; i < out.size(); ++i) {
      error = std::isnan(out[i]) ? INFINITY : std::max(error, std::fabs(out[i] - reference[i]));
    }
    CHECK(error < 1e-2);
  }
}

void MissingBarrier() {
  alignas(16) static unsigned char source[16] = {};
  RunBlocksInThreads({1, 64, 16}, [](unsigned char* shared) {
    if (kernels::cuda::ThreadIndex() == 0) {
      kernels::cuda::CopyAsync16(shared, source, true);
      kernels::cuda::CommitCopies();
      kernels::cuda::WaitForCopies<0>();
    }
    volatile unsigned char sink = 0;
    if (kernels::cuda::ThreadIndex() == 32) sink = shared[3];
    (void)sink;
  });
}

}  // namespace
}  // namespace g4v::cuda_host

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "missing-barrier") == 0) {
    g4v::cuda_host::MissingBarrier();
    return 0;
  }
  g4v::cuda_host::TestKernels();
  return g4v::test::Finish();
}
