// Finding and refusing ONNX Runtime. Each failure leaves the process able to load the right one
// afterwards.
#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "check.h"
#include "ort/library.h"

using g4v::Code;
using g4v::ort::Environment;

int main() {
  const char* variable = std::getenv("G4V_ONNXRUNTIME");
  if (!variable) {
    std::cerr << "G4V_ONNXRUNTIME names no library\n";
    return g4v::test::kSkip;
  }
  const std::string real = variable;

  CHECK_THROWS(Environment::Get({"/nonexistent/libonnxruntime.so", {}}), Code::Runtime,
               "or nothing to have the installed one");
  CHECK_THROWS(Environment::Get({"libm.so.6", {}}), Code::Runtime, "it is not ONNX Runtime");
  CHECK_THROWS(Environment::Get({G4V_FAKE_ONNXRUNTIME, {}}), Code::Runtime,
               "is too old: at least 1.24.1 is needed");
  CHECK_THROWS(Environment::Get({G4V_FAKE_ONNXRUNTIME, {}}), Code::Runtime, "ONNX Runtime 1.24.0");
  setenv("G4V_ONNXRUNTIME", "/nonexistent", 1);
  CHECK_THROWS(Environment::Get(), Code::Runtime, "$G4V_ONNXRUNTIME");
  unsetenv("G4V_ONNXRUNTIME");
  // The wheel's folder is found without the variable.
  const std::string folder = std::filesystem::path(real).parent_path().string();
  const auto environment = Environment::Get({"", {"/nonexistent", folder}});
  CHECK(environment->version().find('.') != std::string::npos);
  CHECK(std::filesystem::equivalent(environment->path(), real));
  CHECK(environment->HasProvider("CPUExecutionProvider"));
  CHECK(!environment->HasProvider("NoSuchProvider"));

  CHECK(Environment::Get() == environment);
  CHECK(Environment::Get({real, {}}) == environment);
  CHECK(Environment::Get({folder, {}}) == environment);
  CHECK_THROWS(Environment::Get({"/nonexistent/libonnxruntime.so", {}}), Code::Runtime,
               "a second library");
  return g4v::test::Finish();
}
