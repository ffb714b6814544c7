// Sessions on small graphs that tests/csrc/test_ctest.py writes into $G4V_TEST_MODELS:
//   affine.onnx   x float32 [N, 3] -> y = 2 x + b, with b in external data
//   endless.onnx  n int64 scalar -> result float32 [1], the count of a loop of n steps
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "check.h"
#include "ort/session.h"

using g4v::Code;
using g4v::ort::Environment;
using g4v::ort::NamedTensor;
using g4v::ort::RunControl;
using g4v::ort::Session;
using g4v::ort::SessionOptions;
using g4v::ort::View;

namespace {

using Floats = std::vector<float>;

SessionOptions OneThread() {
  SessionOptions options;
  options.threads = 1;
  return options;
}

void TestAffine(const std::shared_ptr<Environment>& environment, const std::string& folder) {
  Session session(environment, folder + "/affine.onnx", OneThread());
  CHECK((session.input_names() == std::vector<std::string>{"x"}));
  CHECK(session.has_output("y") && !session.has_output("x") && session.has_input("x"));
  CHECK((session.input_shape("x") == std::vector<int64_t>{-1, 3}));
  CHECK_THROWS(session.input_shape("q"), Code::Bundle, "no input \"q\"");

  const Floats x = {1, 2, 3, 4, 5, 6};
  const Floats expected = {12, 24, 36, 18, 30, 42};  // b = (10, 20, 30)
  Floats y(6, -1);
  const std::vector<NamedTensor> inputs = {{"x", View(x, {2, 3})}};
  session.Run(inputs, std::vector<NamedTensor>{{"y", View(y, {2, 3})}});
  CHECK(y == expected);

  const std::vector<std::string> names = {"y"};
  const auto outputs = session.Run(inputs, names);
  CHECK(outputs.size() == 1 && outputs[0].data == expected);
  CHECK((outputs[0].shape == std::vector<int64_t>{2, 3}));

  // Wrong shapes and names come back as errors, and the session goes on.
  CHECK_THROWS(session.Run(std::vector<NamedTensor>{{"x", View(x, {3, 2})}}, names), Code::Runtime,
               "running");
  CHECK_THROWS(session.Run(std::vector<NamedTensor>{{"q", View(x, {2, 3})}}, names), Code::Runtime,
               "q");
  CHECK_THROWS(session.Run(inputs, std::vector<NamedTensor>{{"y", View(y, {1, 3})}}), Code::Runtime,
               "running");
  session.Run(inputs, std::vector<NamedTensor>{{"y", View(y, {2, 3})}});
  CHECK(y == expected);
}

void TestThreads(const std::shared_ptr<Environment>& environment, const std::string& folder) {
  Session session(environment, folder + "/affine.onnx", OneThread());
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        const Floats x = {static_cast<float>(t), static_cast<float>(i), 0};
        Floats y(3);
        session.Run(std::vector<NamedTensor>{{"x", View(x, {1, 3})}},
                    std::vector<NamedTensor>{{"y", View(y, {1, 3})}});
        if (y != Floats{10 + 2.0f * t, 20 + 2.0f * i, 30}) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

void TestCancel(const std::shared_ptr<Environment>& environment, const std::string& folder) {
  Session session(environment, folder + "/endless.onnx", OneThread());
  const std::vector<std::string> names = {"result"};
  const auto run = [&](int64_t steps, RunControl* control) {
    const std::vector<int64_t> n = {steps};
    return session.Run(std::vector<NamedTensor>{{"n", View(n, {})}}, names, control);
  };
  CHECK(run(3, nullptr)[0].data == Floats{3});

  RunControl control(environment);
  const auto start = std::chrono::steady_clock::now();
  std::thread canceller([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    control.Terminate();
  });
  CHECK_THROWS(run(int64_t{1} << 40, &control), Code::Cancelled, "cancelled");
  canceller.join();
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
  CHECK_THROWS(run(3, &control), Code::Cancelled, "cancelled");  // stays cancelled
  control.Reset();
  CHECK(run(4, &control)[0].data == Floats{4});
}

void TestRefusals(const std::shared_ptr<Environment>& environment, const std::string& folder) {
  const auto open = [&](const std::string& path, const std::string& device) {
    SessionOptions options = OneThread();
    options.device = device;
    Session session(environment, path, options);
  };
  const std::string garbage = folder + "/garbage.onnx";
  std::ofstream(garbage) << "this is no graph";
  CHECK_THROWS(open(garbage, "cpu"), Code::Bundle, "garbage.onnx");
  CHECK_THROWS(open(folder + "/missing.onnx", "cpu"), Code::Bundle, "missing.onnx");
  CHECK_THROWS(open(folder + "/affine.onnx", "tpu"), Code::InvalidArgument,
               "unknown device \"tpu\"");
  SessionOptions graphs = OneThread();
  graphs.cuda_graphs = true;
  CHECK_THROWS(Session(environment, folder + "/affine.onnx", graphs), Code::InvalidArgument,
               "CUDA graphs are for \"cuda\", not for \"cpu\"");
  if (!environment->HasProvider("CUDAExecutionProvider")) {
    CHECK_THROWS(open(folder + "/affine.onnx", "cuda"), Code::Runtime, "install onnxruntime-gpu");
    std::string why;
    CHECK(g4v::ort::ResolveDevice(environment, "auto", &why) == "cpu");
    CHECK(why.find("no CUDA provider") != std::string::npos);
  }
  g4v::ort::ProbeDevice(environment, "cpu");
  CHECK_THROWS(g4v::ort::ResolveDevice(environment, "gpu"), Code::InvalidArgument,
               "unknown device \"gpu\"");
}

}  // namespace

int main() {
  const char* models = std::getenv("G4V_TEST_MODELS");
  if (!models || !std::getenv("G4V_ONNXRUNTIME")) {
    std::cerr << "G4V_TEST_MODELS and G4V_ONNXRUNTIME are not set\n";
    return g4v::test::kSkip;
  }
  const auto environment = Environment::Get();
  TestAffine(environment, models);
  TestThreads(environment, models);
  TestCancel(environment, models);
  TestRefusals(environment, models);
  return g4v::test::Finish();
}
