#include "onnxruntime/onnxruntime.h"

#include <filesystem>
#include <mutex>
#include <utility>

#include "errors.h"
#include "onnxruntime/onnxruntime_library.h"
#include "onnxruntime/telemetry.h"
#include "system/log.h"
#include "system/utf8.h"

namespace fastbert {
namespace {

// Never destroyed: ONNX Runtime's environment must not be released while the process ends
// (onnxruntime#24096), and other threads may still run a model then.
struct Process {
  std::mutex lock;
  std::shared_ptr<const OnnxRuntime> runtime;
  std::string path;  // where it was loaded from
};

Process& process() {
  static Process& only = *new Process;
  return only;
}

bool same_file(const std::string& one, const std::string& other) {
  std::error_code error;
  return one == other || std::filesystem::equivalent(one, other, error);
}

}  // namespace

OnnxRuntime::OnnxRuntime(const OnnxRuntimeApi* api, OrtEnv* env, std::string version)
    : api_(api), env_(env), version_(std::move(version)), cpu_(nullptr, api->ReleaseMemoryInfo) {
  OrtMemoryInfo* cpu = nullptr;
  check(api_->CreateCpuMemoryInfo(kOrtArenaAllocator, kOrtMemTypeDefault, &cpu),
        "ONNX Runtime could not be prepared");
  cpu_.reset(cpu);
  share_arena(env);
}

std::shared_ptr<const OnnxRuntime> OnnxRuntime::shared(const char* path) {
  Process& only = process();
  const std::lock_guard<std::mutex> guard(only.lock);
  if (only.runtime != nullptr) {
    if (path != nullptr && *path != '\0' && !same_file(path, only.path)) {
      throw UsageError(std::string("`onnxruntime_library` is ") + path +
                       ", but this process already runs ONNX Runtime " + only.runtime->version() +
                       " from " + only.path +
                       ". Name the same library for every model, or none after the first.");
    }
    return only.runtime;
  }
  turn_telemetry_off();
  OnnxRuntimeLibrary library = load_onnxruntime(path);
  OrtEnv* env = nullptr;
  if (OrtStatus* status = library.api->CreateEnvWithCustomLogger(
          log_from_onnxruntime, nullptr, kOrtLoggingLevelWarning, "fastbert", &env)) {
    const std::string message = as_paragraph(library.api->GetErrorMessage(status));
    library.api->ReleaseStatus(status);
    throw EngineError("ONNX Runtime " + library.version +
                      " could not make its environment: " + message);
  }
  only.runtime = std::make_shared<const OnnxRuntime>(library.api, env, library.version);
  only.path = library.path;
  return only.runtime;
}

std::string OnnxRuntime::take_message(OrtStatus* status) const {
  if (status == nullptr) return {};
  std::string message = as_paragraph(api_->GetErrorMessage(status));
  api_->ReleaseStatus(status);
  return message.empty() ? "ONNX Runtime gives no reason" : message;
}

void OnnxRuntime::check(OrtStatus* status, const char* what) const {
  if (status != nullptr) throw EngineError(std::string(what) + ": " + take_message(status));
}

// Gives the environment one memory arena, for the sessions whose options ask for it. With one arena
// per session, every stage would work in memory that is not in the processor's caches
// (docs/performance.md#memory).
void OnnxRuntime::share_arena(OrtEnv* env) const {
  const std::string message = take_message(api_->CreateAndRegisterAllocator(env, cpu(), nullptr));
  // "already": the host registered one, which serves as well.
  if (!message.empty() && message.find("already") == std::string::npos)
    throw EngineError("ONNX Runtime could not make its memory arena: " + message);
}

}  // namespace fastbert
