// The part of ONNX Runtime's C API that this library calls, declared here so that building needs no
// headers of ONNX Runtime. Names and order are those of onnxruntime_c_api.h, whose table OrtApi
// only ever grows at its end; a test compares offsets and types with the official header.
#pragma once

#include <cstddef>
#include <cstdint>

// Opaque: ONNX Runtime alone knows what they are.
struct OrtStatus;
struct OrtEnv;
struct OrtSession;
struct OrtSessionOptions;
struct OrtRunOptions;
struct OrtValue;
struct OrtMemoryInfo;
struct OrtAllocator;
struct OrtArenaCfg;
struct OrtTypeInfo;
struct OrtTensorTypeAndShapeInfo;

namespace fastbert {

// ONNX Runtime's enumerations are passed as int: they are C enumerations, of int's size.
constexpr int kOrtLoggingLevelWarning = 2;
constexpr int kOrtArenaAllocator = 1;
constexpr int kOrtMemTypeDefault = 0;

// ONNXTensorElementDataType
enum OrtElementType : int {
  kOrtFloat = 1,
  kOrtInt64 = 7,
  kOrtBool = 9,
};

#if defined(_WIN32)
using OrtPathChar = wchar_t;
#else
using OrtPathChar = char;
#endif

using OrtLoggingFunction = void (*)(void* parameter, int severity, const char* category,
                                    const char* log_id, const char* code_location,
                                    const char* message);

// OrtApi
struct OnnxRuntimeApi {
  using Unused = void (*)();

  Unused before_GetErrorCode[1];
  int (*GetErrorCode)(const OrtStatus* status) noexcept;
  const char* (*GetErrorMessage)(const OrtStatus* status) noexcept;
  Unused before_CreateEnvWithCustomLogger[1];
  OrtStatus* (*CreateEnvWithCustomLogger)(OrtLoggingFunction function, void* parameter,
                                          int severity, const char* log_id, OrtEnv** out) noexcept;
  Unused before_CreateSession[2];
  OrtStatus* (*CreateSession)(const OrtEnv* env, const OrtPathChar* path,
                              const OrtSessionOptions* options, OrtSession** out) noexcept;
  OrtStatus* (*CreateSessionFromArray)(const OrtEnv* env, const void* model, std::size_t bytes,
                                       const OrtSessionOptions* options, OrtSession** out) noexcept;
  OrtStatus* (*Run)(OrtSession* session, const OrtRunOptions* options,
                    const char* const* input_names, const OrtValue* const* inputs,
                    std::size_t input_count, const char* const* output_names,
                    std::size_t output_count, OrtValue** outputs) noexcept;
  OrtStatus* (*CreateSessionOptions)(OrtSessionOptions** out) noexcept;
  Unused before_DisableMemPattern[6];
  OrtStatus* (*DisableMemPattern)(OrtSessionOptions* options) noexcept;
  Unused before_SetIntraOpNumThreads[6];
  OrtStatus* (*SetIntraOpNumThreads)(OrtSessionOptions* options, int threads) noexcept;
  OrtStatus* (*SetInterOpNumThreads)(OrtSessionOptions* options, int threads) noexcept;
  Unused before_SessionGetInputCount[4];
  OrtStatus* (*SessionGetInputCount)(const OrtSession* session, std::size_t* out) noexcept;
  OrtStatus* (*SessionGetOutputCount)(const OrtSession* session, std::size_t* out) noexcept;
  Unused before_SessionGetInputTypeInfo[1];
  OrtStatus* (*SessionGetInputTypeInfo)(const OrtSession* session, std::size_t index,
                                        OrtTypeInfo** out) noexcept;
  OrtStatus* (*SessionGetOutputTypeInfo)(const OrtSession* session, std::size_t index,
                                         OrtTypeInfo** out) noexcept;
  Unused before_SessionGetInputName[1];
  OrtStatus* (*SessionGetInputName)(const OrtSession* session, std::size_t index,
                                    OrtAllocator* allocator, char** out) noexcept;
  OrtStatus* (*SessionGetOutputName)(const OrtSession* session, std::size_t index,
                                     OrtAllocator* allocator, char** out) noexcept;
  Unused before_CreateTensorWithDataAsOrtValue[11];
  OrtStatus* (*CreateTensorWithDataAsOrtValue)(const OrtMemoryInfo* memory, void* data,
                                               std::size_t bytes, const std::int64_t* shape,
                                               std::size_t dimensions, int type,
                                               OrtValue** out) noexcept;
  Unused before_CastTypeInfoToTensorInfo[5];
  OrtStatus* (*CastTypeInfoToTensorInfo)(const OrtTypeInfo* info,
                                         const OrtTensorTypeAndShapeInfo** out) noexcept;
  Unused before_GetTensorElementType[4];
  OrtStatus* (*GetTensorElementType)(const OrtTensorTypeAndShapeInfo* info, int* out) noexcept;
  OrtStatus* (*GetDimensionsCount)(const OrtTensorTypeAndShapeInfo* info,
                                   std::size_t* out) noexcept;
  OrtStatus* (*GetDimensions)(const OrtTensorTypeAndShapeInfo* info, std::int64_t* out,
                              std::size_t count) noexcept;
  Unused before_CreateCpuMemoryInfo[6];
  OrtStatus* (*CreateCpuMemoryInfo)(int allocator_type, int memory_type,
                                    OrtMemoryInfo** out) noexcept;
  Unused before_AllocatorFree[6];
  OrtStatus* (*AllocatorFree)(OrtAllocator* allocator, void* memory) noexcept;
  Unused before_GetAllocatorWithDefaultOptions[1];
  OrtStatus* (*GetAllocatorWithDefaultOptions)(OrtAllocator** out) noexcept;
  Unused before_ReleaseStatus[14];
  void (*ReleaseStatus)(OrtStatus* status);
  void (*ReleaseMemoryInfo)(OrtMemoryInfo* memory);
  void (*ReleaseSession)(OrtSession* session);
  void (*ReleaseValue)(OrtValue* value);
  Unused before_ReleaseTypeInfo[1];
  void (*ReleaseTypeInfo)(OrtTypeInfo* info);
  Unused before_ReleaseSessionOptions[1];
  void (*ReleaseSessionOptions)(OrtSessionOptions* options);
  Unused before_DisablePerSessionThreads[19];
  OrtStatus* (*DisablePerSessionThreads)(OrtSessionOptions* options) noexcept;
  Unused before_AddSessionConfigEntry[9];
  OrtStatus* (*AddSessionConfigEntry)(OrtSessionOptions* options, const char* key,
                                      const char* value) noexcept;
  Unused before_CreateAndRegisterAllocator[13];
  OrtStatus* (*CreateAndRegisterAllocator)(OrtEnv* env, const OrtMemoryInfo* memory,
                                           const OrtArenaCfg* arena) noexcept;
};

// OrtApiBase
struct OnnxRuntimeApiBase {
  const void* (*GetApi)(std::uint32_t version) noexcept;
  const char* (*GetVersionString)() noexcept;
};

// The first release with all session options that this library sets
// (`session.intra_op.spin_duration_us`), as its minor version, which is also the number of its API.
constexpr std::uint32_t kOnnxRuntimeApiVersion = 26;

}  // namespace fastbert
