#include "ort/captured_session.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "base/error.h"
#include "ort/gpu_work.h"

namespace g4v::ort {
namespace {

int64_t Count(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

SessionOptions WithoutGraphs(SessionOptions options) {
  options.cuda_graphs = false;
  return options;
}

GraphFile WithGraphs(GraphFile graph) {
  graph.options.cuda_graphs = true;
  return graph;
}

// Runs `load`. Where the provider refuses to capture the graph, the error says what to do.
template <class Load>
auto Advise(Load&& load) {
  try {
    return load();
  } catch (const Error& error) {
    const std::string message = error.what();
    if (message.find("graph capture") == std::string::npos) throw;
    throw Error(Code::Runtime, message +
                                   "; export the bundle with --target cuda, whose graphs can be "
                                   "captured, or load it without cuda_graphs");
  }
}

}  // namespace

CapturedSession::CapturedSession(std::shared_ptr<Environment> environment, const GraphFile& graph,
                                 int most_graphs)
    : environment_(std::move(environment)),
      most_graphs_(most_graphs),
      copy_(environment_, WithoutGraphs(graph.options)),
      session_(Advise([&] { return Session(environment_, WithGraphs(graph)); })),
      one_by_one_(environment_, kNoCudaGraph) {}

void CapturedSession::Run(const Call& call, RunControl* control) {
  const auto check = [control] {
    if (control && control->terminated()) throw Error(Code::Cancelled, "cancelled");
  };
  worker_.Do([&] {
    check();
    RunHere(call);
  });
  check();
}

void CapturedSession::RunHere(const Call& call) {
  if (!failure_.empty()) throw Error(Code::Runtime, failure_);
  Reserve(call);
  Upload(call);
  const auto blocks = static_cast<int64_t>(call.blocks.size());
  Shape& shape = shapes_[blocks];
  if (!shape.input) {
    std::vector<int64_t> whole{blocks};
    whole.insert(whole.end(), block_shape_.begin(), block_shape_.end());
    shape.input = memory_->Part(0, std::move(whole));
  }
  const NamedTensor in{call.input, shape.input->view()};
  const NamedTensor out{call.output, result_->view()};
  if (shape.graph) {
    session_.Run({&in, 1}, {&out, 1}, shape.graph.get());
  } else {
    session_.Run({&in, 1}, {&out, 1}, &one_by_one_);
    if (graphs_ < most_graphs_) Capture(blocks, {&in, 1}, {&out, 1});
  }
  copy_.Download(*result_, static_cast<float*>(call.result.data), Count(call.result.shape));
}

void CapturedSession::Capture(int64_t blocks, std::span<const NamedTensor> inputs,
                              std::span<const NamedTensor> outputs) {
  const auto alone = GpuAlone::Try();
  if (!alone) return;
  auto graph = std::make_unique<RunControl>(environment_, graphs_ + 1);
  try {
    session_.Run(inputs, outputs, graph.get());
  } catch (const Error& error) {
    // What a failed capture leaves behind in the session is not known.
    failure_ = "the CUDA graph for " + std::to_string(blocks) + " frames cannot be captured (" +
               error.what() + "); load the bundle without cuda_graphs";
    throw Error(Code::Runtime, failure_);
  }
  shapes_[blocks].graph = std::move(graph);
  ++graphs_;
}

void CapturedSession::Reserve(const Call& call) {
  const auto blocks = static_cast<int64_t>(call.blocks.size());
  if (blocks < 1) throw Error(Code::Internal, "a CUDA graph of no frames was asked for");
  if (!memory_) {
    const auto room = static_cast<size_t>(std::max(blocks, call.most_blocks));
    result_ = copy_.Allocate(call.result.shape);
    memory_ = copy_.Allocate({static_cast<int64_t>(room) * Count(call.block_shape)});
    block_shape_ = call.block_shape;
    stamps_.assign(room, 0);
  }
  if (call.block_shape != block_shape_ || call.blocks.size() > stamps_.size() ||
      call.result.shape != result_->view().shape) {
    throw Error(Code::InvalidArgument,
                "CUDA graphs were made room for " + std::to_string(stamps_.size()) +
                    " frames of one size; load the bundle without cuda_graphs for other videos");
  }
}

// Blocks that lie side by side on the host are copied at once.
void CapturedSession::Upload(const Call& call) {
  const int64_t size = Count(block_shape_);
  const auto known = [&](size_t i) {
    return call.blocks[i].stamp != 0 && call.blocks[i].stamp == stamps_[i];
  };
  for (size_t first = 0; first < call.blocks.size();) {
    if (known(first)) {
      ++first;
      continue;
    }
    size_t end = first + 1;
    while (end < call.blocks.size() && !known(end) &&
           call.blocks[end].values == call.blocks[end - 1].values + size) {
      ++end;
    }
    for (size_t i = first; i < end; ++i) stamps_[i] = 0;  // until they are there
    copy_.Upload(call.blocks[first].values, *memory_, static_cast<int64_t>(first) * size,
                 static_cast<int64_t>(end - first) * size);
    for (size_t i = first; i < end; ++i) stamps_[i] = call.blocks[i].stamp;
    first = end;
  }
}

}  // namespace g4v::ort
