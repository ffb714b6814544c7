// The part of ONNX Runtime's C ABI that the core uses, declared here so that building needs none of
// its headers.
//
// libonnxruntime exports OrtGetApiBase; from it comes a table of function pointers that only ever
// grows at its end, so a position holds for every later release. tests/csrc/test_ort_abi.cc
// compares names, positions, parameter counts and constants with the official onnxruntime_c_api.h
// wherever a machine has it.
#pragma once

#include <cstddef>
#include <cstdint>

// Opaque types of the library; C names, so that they are the same types as in the official header.
struct OrtEnv;
struct OrtStatus;
struct OrtMemoryInfo;
struct OrtSession;
struct OrtSessionOptions;
struct OrtRunOptions;
struct OrtValue;
struct OrtTypeInfo;
struct OrtTensorTypeAndShapeInfo;
struct OrtAllocator;
struct OrtCUDAProviderOptionsV2;
struct OrtTensorRTProviderOptionsV2;
struct OrtEpDevice;
struct OrtCustomOp;
struct OrtCustomOpDomain;
struct OrtKernelInfo;
struct OrtKernelContext;
struct OrtShapeInferContext;

namespace g4v::ort::abi {

// Version of the table that is asked for: the first that has all functions of the list below. The
// oldest library that is used, kMinimumVersion of library.h, is newer.
constexpr uint32_t kApiVersion = 22;

// Enumerations cross the ABI as int.
constexpr int kLogFatal = 4;
constexpr int kElementFloat = 1;
constexpr int kElementUint8 = 2;
constexpr int kElementInt32 = 6;
constexpr int kElementInt64 = 7;
constexpr int kElementFloat16 = 10;
constexpr int kDeviceAllocator = 0;
constexpr int kMemoryDefault = 0;
constexpr int kOptimizeAll = 99;
constexpr int kExecuteSequential = 0;
constexpr int kInvalidArgument = 2;  // OrtErrorCode
constexpr int kInputRequired = 0;    // OrtCustomOpInputOutputCharacteristic

// The first struct of the ABI: what OrtGetApiBase returns.
struct ApiBase {
  const void* (*GetApi)(uint32_t version);
  const char* (*GetVersionString)();
};
using GetApiBaseFunction = const ApiBase* (*)();

// The callbacks by which the library describes and runs an operator that it does not have itself:
// OrtCustomOp of the official header. Null where there is nothing to answer.
struct CustomOp {
  uint32_t version;  // kApiVersion
  void* (*CreateKernel)(const CustomOp*, const void* api, const OrtKernelInfo*);
  const char* (*GetName)(const CustomOp*);
  const char* (*GetExecutionProviderType)(const CustomOp*);  // null: the CPU's
  int (*GetInputType)(const CustomOp*, size_t);
  size_t (*GetInputTypeCount)(const CustomOp*);
  int (*GetOutputType)(const CustomOp*, size_t);
  size_t (*GetOutputTypeCount)(const CustomOp*);
  void (*KernelCompute)(void* kernel, OrtKernelContext*);
  void (*KernelDestroy)(void* kernel);
  int (*GetInputCharacteristic)(const CustomOp*, size_t);
  int (*GetOutputCharacteristic)(const CustomOp*, size_t);
  int (*GetInputMemoryType)(const CustomOp*, size_t);
  int (*GetVariadicInputMinArity)(const CustomOp*);
  int (*GetVariadicInputHomogeneity)(const CustomOp*);
  int (*GetVariadicOutputMinArity)(const CustomOp*);
  int (*GetVariadicOutputHomogeneity)(const CustomOp*);
  OrtStatus* (*CreateKernelV2)(const CustomOp*, const void* api, const OrtKernelInfo*,
                               void** kernel);
  OrtStatus* (*KernelComputeV2)(void* kernel, OrtKernelContext*);
  OrtStatus* (*InferOutputShapeFn)(const CustomOp*, OrtShapeInferContext*);
  int (*GetStartVersion)(const CustomOp*);
  int (*GetEndVersion)(const CustomOp*);
  size_t (*GetMayInplace)(int** input_index, int** output_index);
  void (*ReleaseMayInplace)(int* input_index, int* output_index);
  size_t (*GetAliasMap)(int** input_index, int** output_index);
  void (*ReleaseAliasMap)(int* input_index, int* output_index);
};

// clang-format off
// X(name, position in the table, result, parameters...). A status is null on success and owned by the caller; the
// devices of GetEpDevices belong to the library.
#define G4V_ORT_FUNCTIONS(X)                                                                                         \
  X(CreateStatus, 0, OrtStatus*, int error_code, const char* message)                                                \
  X(GetErrorMessage, 2, const char*, const OrtStatus*)                                                               \
  X(CreateEnv, 3, OrtStatus*, int log_level, const char* log_id, OrtEnv**)                                           \
  X(DisableTelemetryEvents, 6, OrtStatus*, const OrtEnv*)                                                            \
  X(CreateSession, 7, OrtStatus*, const OrtEnv*, const char* path, const OrtSessionOptions*, OrtSession**)           \
  X(CreateSessionFromArray, 8, OrtStatus*, const OrtEnv*, const void*, size_t, const OrtSessionOptions*,             \
    OrtSession**)                                                                                                    \
  X(Run, 9, OrtStatus*, OrtSession*, const OrtRunOptions*, const char* const* input_names,                           \
    const OrtValue* const* inputs, size_t, const char* const* output_names, size_t, OrtValue** outputs)              \
  X(CreateSessionOptions, 10, OrtStatus*, OrtSessionOptions**)                                                       \
  X(SetSessionExecutionMode, 13, OrtStatus*, OrtSessionOptions*, int)                                                \
  X(SetSessionGraphOptimizationLevel, 23, OrtStatus*, OrtSessionOptions*, int)                                       \
  X(SetIntraOpNumThreads, 24, OrtStatus*, OrtSessionOptions*, int)                                                   \
  X(SetInterOpNumThreads, 25, OrtStatus*, OrtSessionOptions*, int)                                                   \
  X(CreateCustomOpDomain, 26, OrtStatus*, const char* name, OrtCustomOpDomain**)                                     \
  X(CustomOpDomain_Add, 27, OrtStatus*, OrtCustomOpDomain*, const OrtCustomOp*)                                   \
  X(AddCustomOpDomain, 28, OrtStatus*, OrtSessionOptions*, OrtCustomOpDomain*)                                       \
  X(SessionGetInputCount, 30, OrtStatus*, const OrtSession*, size_t*)                                                \
  X(SessionGetOutputCount, 31, OrtStatus*, const OrtSession*, size_t*)                                               \
  X(SessionGetInputTypeInfo, 33, OrtStatus*, const OrtSession*, size_t, OrtTypeInfo**)                               \
  X(SessionGetOutputTypeInfo, 34, OrtStatus*, const OrtSession*, size_t, OrtTypeInfo**)                              \
  X(SessionGetInputName, 36, OrtStatus*, const OrtSession*, size_t, OrtAllocator*, char**)                           \
  X(SessionGetOutputName, 37, OrtStatus*, const OrtSession*, size_t, OrtAllocator*, char**)                          \
  X(CreateRunOptions, 39, OrtStatus*, OrtRunOptions**)                                                               \
  X(RunOptionsSetTerminate, 46, OrtStatus*, OrtRunOptions*)                                                          \
  X(RunOptionsUnsetTerminate, 47, OrtStatus*, OrtRunOptions*)                                                        \
  X(CreateTensorAsOrtValue, 48, OrtStatus*, OrtAllocator*, const int64_t* shape, size_t rank, int element_type,      \
    OrtValue**)                                                                                                      \
  X(CreateTensorWithDataAsOrtValue, 49, OrtStatus*, const OrtMemoryInfo*, void*, size_t bytes, const int64_t* shape, \
    size_t rank, int element_type, OrtValue**)                                                                       \
  X(GetTensorMutableData, 51, OrtStatus*, OrtValue*, void**)                                                         \
  X(CastTypeInfoToTensorInfo, 55, OrtStatus*, const OrtTypeInfo*, const OrtTensorTypeAndShapeInfo**)                 \
  X(GetTensorElementType, 60, OrtStatus*, const OrtTensorTypeAndShapeInfo*, int*)                                    \
  X(GetDimensionsCount, 61, OrtStatus*, const OrtTensorTypeAndShapeInfo*, size_t*)                                   \
  X(GetDimensions, 62, OrtStatus*, const OrtTensorTypeAndShapeInfo*, int64_t*, size_t)                               \
  X(GetTensorTypeAndShape, 65, OrtStatus*, const OrtValue*, OrtTensorTypeAndShapeInfo**)                             \
  X(CreateMemoryInfo, 68, OrtStatus*, const char* name, int allocator_type, int id, int memory_type, OrtMemoryInfo**) \
  X(CreateCpuMemoryInfo, 69, OrtStatus*, int allocator_type, int memory_type, OrtMemoryInfo**)                       \
  X(MemoryInfoGetId, 72, OrtStatus*, const OrtMemoryInfo*, int*)                                                     \
  X(AllocatorFree, 76, OrtStatus*, OrtAllocator*, void*)                                                             \
  X(GetAllocatorWithDefaultOptions, 78, OrtStatus*, OrtAllocator**)                                                  \
  X(KernelInfoGetAttribute_float, 85, OrtStatus*, const OrtKernelInfo*, const char* name, float*)                    \
  X(KernelInfoGetAttribute_int64, 86, OrtStatus*, const OrtKernelInfo*, const char* name, int64_t*)                  \
  X(KernelContext_GetInputCount, 88, OrtStatus*, const OrtKernelContext*, size_t*)                                   \
  X(KernelContext_GetInput, 90, OrtStatus*, const OrtKernelContext*, size_t, const OrtValue**)                       \
  X(KernelContext_GetOutput, 91, OrtStatus*, OrtKernelContext*, size_t, const int64_t* shape, size_t rank,           \
    OrtValue**)                                                                                                      \
  X(ReleaseStatus, 93, void, OrtStatus*)                                                                             \
  X(ReleaseMemoryInfo, 94, void, OrtMemoryInfo*)                                                                     \
  X(ReleaseSession, 95, void, OrtSession*)                                                                           \
  X(ReleaseValue, 96, void, OrtValue*)                                                                               \
  X(ReleaseRunOptions, 97, void, OrtRunOptions*)                                                                     \
  X(ReleaseTypeInfo, 98, void, OrtTypeInfo*)                                                                         \
  X(ReleaseTensorTypeAndShapeInfo, 99, void, OrtTensorTypeAndShapeInfo*)                                             \
  X(ReleaseSessionOptions, 100, void, OrtSessionOptions*)                                                            \
  X(GetAvailableProviders, 125, OrtStatus*, char***, int*)                                                           \
  X(ReleaseAvailableProviders, 126, OrtStatus*, char**, int)                                                         \
  X(AddSessionConfigEntry, 130, OrtStatus*, OrtSessionOptions*, const char* key, const char* value)                  \
  X(CreateAllocator, 131, OrtStatus*, const OrtSession*, const OrtMemoryInfo*, OrtAllocator**)                       \
  X(ReleaseAllocator, 132, void, OrtAllocator*)                                                                      \
  X(AddRunConfigEntry, 165, OrtStatus*, OrtRunOptions*, const char* key, const char* value)                          \
  X(SessionOptionsAppendExecutionProvider_TensorRT_V2, 170, OrtStatus*, OrtSessionOptions*,                          \
    const OrtTensorRTProviderOptionsV2*)                                                                             \
  X(CreateTensorRTProviderOptions, 171, OrtStatus*, OrtTensorRTProviderOptionsV2**)                                  \
  X(UpdateTensorRTProviderOptions, 172, OrtStatus*, OrtTensorRTProviderOptionsV2*, const char* const* keys,          \
    const char* const* values, size_t)                                                                               \
  X(ReleaseTensorRTProviderOptions, 174, void, OrtTensorRTProviderOptionsV2*)                                        \
  X(KernelContext_GetGPUComputeStream, 193, OrtStatus*, const OrtKernelContext*, void** stream)                      \
  X(GetTensorMemoryInfo, 194, OrtStatus*, const OrtValue*, const OrtMemoryInfo**)                                    \
  X(SessionOptionsAppendExecutionProvider_CUDA_V2, 204, OrtStatus*, OrtSessionOptions*,                              \
    const OrtCUDAProviderOptionsV2*)                                                                                 \
  X(CreateCUDAProviderOptions, 205, OrtStatus*, OrtCUDAProviderOptionsV2**)                                          \
  X(UpdateCUDAProviderOptions, 206, OrtStatus*, OrtCUDAProviderOptionsV2*, const char* const* keys,                  \
    const char* const* values, size_t)                                                                               \
  X(ReleaseCUDAProviderOptions, 208, void, OrtCUDAProviderOptionsV2*)                                                \
  X(KernelInfoGetConstantInput_tensor, 249, OrtStatus*, const OrtKernelInfo*, size_t index, int* is_constant,        \
    const OrtValue**)                                                                                                \
  X(KernelContext_ParallelFor, 274, OrtStatus*, const OrtKernelContext*, void (*function)(void*, size_t),            \
    size_t count, size_t batches, void* context)                                                                     \
  X(KernelContext_GetScratchBuffer, 277, OrtStatus*, const OrtKernelContext*, const OrtMemoryInfo*, size_t bytes,    \
    void**)                                                                                                          \
  X(KernelInfoGetAllocator, 278, OrtStatus*, const OrtKernelInfo*, int memory_type, OrtAllocator**)                  \
  X(AddExternalInitializersFromFilesInMemory, 279, OrtStatus*, OrtSessionOptions*, const char* const* names,         \
    char* const* buffers, const size_t* lengths, size_t)                                                             \
  X(RegisterExecutionProviderLibrary, 301, OrtStatus*, OrtEnv*, const char* name, const char* path)                  \
  X(GetEpDevices, 303, OrtStatus*, const OrtEnv*, const OrtEpDevice* const** devices, size_t* count)                 \
  X(SessionOptionsAppendExecutionProvider_V2, 304, OrtStatus*, OrtSessionOptions*, OrtEnv*,                          \
    const OrtEpDevice* const* devices, size_t, const char* const* keys, const char* const* values, size_t)           \
  X(EpDevice_EpName, 312, const char*, const OrtEpDevice*)
// clang-format on

// The functions, callable by name. Empty until it is made from the library's table.
struct Api {
#define G4V_ORT_MEMBER(name, position, result, ...) result (*name)(__VA_ARGS__) = nullptr;
  G4V_ORT_FUNCTIONS(G4V_ORT_MEMBER)
#undef G4V_ORT_MEMBER

  Api() = default;
  explicit Api(const void* table) {
    const auto* slots = static_cast<void (*const*)()>(table);
#define G4V_ORT_FILL(name, position, ...) name = reinterpret_cast<decltype(name)>(slots[position]);
    G4V_ORT_FUNCTIONS(G4V_ORT_FILL)
#undef G4V_ORT_FILL
  }
};

}  // namespace g4v::ort::abi
