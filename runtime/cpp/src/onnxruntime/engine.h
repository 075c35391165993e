// One ONNX Runtime session: an engine of a bundle.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "onnxruntime/onnxruntime.h"

namespace fastbert {

template <typename Type>
struct Release {
  void (*function)(Type*) = nullptr;
  void operator()(Type* object) const { function(object); }
};
// Owns an object of ONNX Runtime.
template <typename Type>
using Handle = std::unique_ptr<Type, Release<Type>>;

// How an engine's session runs.
struct EngineOptions {
  std::size_t threads = 1;
  bool host_thread_pool = false;  // the environment's own; `threads` and `spin_us` do not apply
  int spin_us = 0;                // how long idle threads spin after a run, in microseconds
  bool saturates = false;         // int8 products would overflow on this processor
  bool memory_pattern = false;    // keep one for each shape of the inputs
};

// What an input or an output must be. The last size is checked by the caller.
struct TensorRule {
  std::string name;
  OrtElementType type;
  std::size_t dimensions;
};

// An input or an output as the engine declares it.
struct TensorInfo {
  std::string name;
  int type = 0;                     // 0: not a tensor
  std::vector<std::int64_t> shape;  // -1: any size
};

// A loaded engine. Immutable: may be shared by threads.
class Engine {
 public:
  // Loads `path`, or `contents` of the file that was there if it is not null.
  // Throws BundleError if it cannot be loaded, and EngineError if the environment has no global
  // thread pool.
  Engine(const OnnxRuntime& runtime, const std::filesystem::path& path,
         const EngineOptions& options, const std::string* contents = nullptr);

  // Throws BundleError unless the inputs are exactly these and these outputs are among the outputs.
  void check(const std::vector<TensorRule>& inputs, const std::vector<TensorRule>& outputs) const;
  // Returns the last size of an output. Throws BundleError if it is not fixed.
  std::size_t last_size(const std::string& output) const;

  // Runs the engine. Throws EngineError if ONNX Runtime fails.
  void run(const char* const* input_names, const OrtValue* const* inputs, std::size_t input_count,
           const char* const* output_names, OrtValue** outputs, std::size_t output_count) const;

 private:
  const OnnxRuntime* runtime_;
  std::string path_;
  Handle<OrtSession> session_;
  std::vector<TensorInfo> inputs_;
  std::vector<TensorInfo> outputs_;
};

template <typename Type>
struct ElementType;
template <>
struct ElementType<float> {
  static constexpr OrtElementType kValue = kOrtFloat;
};
template <>
struct ElementType<std::int64_t> {
  static constexpr OrtElementType kValue = kOrtInt64;
};
template <>
struct ElementType<bool> {
  static constexpr OrtElementType kValue = kOrtBool;
};

// Returns a tensor on the caller's memory, which must outlive it.
Handle<OrtValue> make_tensor(const OnnxRuntime& runtime, void* data, std::size_t bytes,
                             std::initializer_list<std::size_t> shape, OrtElementType type);

template <typename Type>
Handle<OrtValue> make_tensor(const OnnxRuntime& runtime, Type* data,
                             std::initializer_list<std::size_t> shape) {
  std::size_t count = 1;
  for (const std::size_t size : shape) count *= size;
  return make_tensor(runtime, data, count * sizeof(Type), shape, ElementType<Type>::kValue);
}

}  // namespace fastbert
