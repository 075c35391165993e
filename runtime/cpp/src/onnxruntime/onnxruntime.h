// The ONNX Runtime and the environment that models use: the process's own, or the host's.
#pragma once

#include <memory>
#include <string>

#include "onnxruntime/onnxruntime_api.h"

namespace fastbert {

// Functions, environment and arena of one ONNX Runtime. Immutable; outlives every model.
class OnnxRuntime {
 public:
  // The host's own; it owns the environment.
  OnnxRuntime(const OnnxRuntimeApi* api, OrtEnv* env, std::string version);

  // Returns the one that this library loads with the first model and keeps for the process's life.
  //
  // path: as load_onnxruntime.
  // Throws EngineError if it cannot be loaded, and UsageError if another one was loaded before.
  static std::shared_ptr<const OnnxRuntime> shared(const char* path);

  const OnnxRuntimeApi& api() const noexcept { return *api_; }
  const OrtEnv* env() const noexcept { return env_; }
  const OrtMemoryInfo* cpu() const noexcept { return cpu_.get(); }
  const std::string& version() const noexcept { return version_; }

  // Returns the message of `status` and releases it; "" if there is no error.
  std::string take_message(OrtStatus* status) const;
  // Throws EngineError, which begins with `what`, unless `status` is null. Releases it.
  void check(OrtStatus* status, const char* what) const;

 private:
  void share_arena(OrtEnv* env) const;

  const OnnxRuntimeApi* api_;
  OrtEnv* env_;
  std::string version_;
  std::unique_ptr<OrtMemoryInfo, void (*)(OrtMemoryInfo*)> cpu_;
};

}  // namespace fastbert
