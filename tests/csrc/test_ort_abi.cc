// Compares csrc/ort/abi.h with the official header of ONNX Runtime, on machines that have it.
#include <type_traits>

#include "check.h"
#include "ort/abi.h"

#if __has_include(<onnxruntime_c_api.h>)
#include <onnxruntime_c_api.h>

namespace abi = g4v::ort::abi;

static_assert(ORT_API_VERSION >= 17, "the header is older than the functions that are used");
static_assert(abi::kLogFatal == ORT_LOGGING_LEVEL_FATAL);
static_assert(abi::kElementFloat == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT);
static_assert(abi::kElementUint8 == ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8);
static_assert(abi::kElementInt32 == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32);
static_assert(abi::kElementInt64 == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64);
static_assert(abi::kElementFloat16 == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16);
static_assert(abi::kDeviceAllocator == OrtDeviceAllocator);
static_assert(abi::kMemoryDefault == OrtMemTypeDefault);
static_assert(abi::kOptimizeAll == ORT_ENABLE_ALL);
static_assert(abi::kExecuteSequential == ORT_SEQUENTIAL);
static_assert(abi::kInvalidArgument == ORT_INVALID_ARGUMENT);
static_assert(abi::kInputRequired == INPUT_OUTPUT_REQUIRED);

namespace {

// Two parameters are compatible when they are passed the same way: enumerations travel as int.
template <class Ours, class Theirs>
constexpr bool kSameParameter =
    std::is_same_v<Ours, Theirs> || (std::is_same_v<Ours, int> && std::is_enum_v<Theirs>) ||
    (std::is_pointer_v<Ours> && std::is_pointer_v<Theirs> &&
     (std::is_same_v<Ours, int*>
          ? std::is_enum_v<std::remove_pointer_t<Theirs>>
          : std::is_same_v<std::remove_cv_t<std::remove_pointer_t<Ours>>,
                           std::remove_cv_t<std::remove_pointer_t<Theirs>>>));

template <class Ours, class Theirs>
struct SameSignature : std::false_type {};
template <class OurResult, class... Ours, class TheirResult, class... Theirs>
  requires(sizeof...(Ours) == sizeof...(Theirs))
struct SameSignature<OurResult (*)(Ours...), TheirResult (*)(Theirs...)>
    : std::bool_constant<std::is_same_v<OurResult, TheirResult> &&
                         (kSameParameter<Ours, Theirs> && ...)> {};
template <class OurResult, class... Ours, class TheirResult, class... Theirs>
  requires(sizeof...(Ours) == sizeof...(Theirs))
struct SameSignature<OurResult (*)(Ours...), TheirResult (*)(Theirs...) noexcept>
    : std::bool_constant<std::is_same_v<OurResult, TheirResult> &&
                         (kSameParameter<Ours, Theirs> && ...)> {};

}  // namespace

// The header marks its functions with attributes that a template argument drops; only the types are
// compared.
#pragma GCC diagnostic ignored "-Wignored-attributes"

int main() {
#define G4V_COMPARE(name, position, ...)                     \
  CHECK(offsetof(OrtApi, name) / sizeof(void*) == position); \
  CHECK((SameSignature<decltype(abi::Api::name), decltype(OrtApi::name)>::value));
  G4V_ORT_FUNCTIONS(G4V_COMPARE)
#define G4V_COMPARE_CALLBACK(name) \
  CHECK(offsetof(OrtCustomOp, name) == offsetof(abi::CustomOp, name))
  G4V_COMPARE_CALLBACK(version);
  G4V_COMPARE_CALLBACK(GetExecutionProviderType);
  G4V_COMPARE_CALLBACK(GetInputTypeCount);
  G4V_COMPARE_CALLBACK(KernelDestroy);
  G4V_COMPARE_CALLBACK(GetInputMemoryType);
  G4V_COMPARE_CALLBACK(CreateKernelV2);
  G4V_COMPARE_CALLBACK(KernelComputeV2);
  G4V_COMPARE_CALLBACK(GetEndVersion);
  G4V_COMPARE_CALLBACK(ReleaseAliasMap);
  CHECK(offsetof(OrtApiBase, GetApi) == offsetof(abi::ApiBase, GetApi));
  CHECK(offsetof(OrtApiBase, GetVersionString) == offsetof(abi::ApiBase, GetVersionString));
  std::cerr << "compared with the official header of API version " << ORT_API_VERSION << "\n";
  return g4v::test::Finish();
}
#else
int main() {
  std::cerr << "onnxruntime_c_api.h was not found at configure time\n";
  return g4v::test::kSkip;
}
#endif
