#include "onnxruntime/onnxruntime_library.h"

#include <charconv>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "errors.h"

#if defined(_WIN32)
#error "Loading ONNX Runtime on Windows (LoadLibraryW, GetProcAddress) is not written yet."
#else
#include <dlfcn.h>
#endif

namespace fastbert {
namespace {

constexpr const char* kVariable = "FASTBERT_ONNXRUNTIME";
constexpr const char* kSymbol = "OrtGetApiBase";
#if defined(__APPLE__)
constexpr const char* kNames[] = {"libonnxruntime.1.dylib", "libonnxruntime.dylib"};
#else
constexpr const char* kNames[] = {"libonnxruntime.so.1", "libonnxruntime.so"};
#endif

using GetApiBase = const OnnxRuntimeApiBase* (*)();

std::string linker_message() {
  const char* message = ::dlerror();
  return message == nullptr ? "the dynamic linker gives no reason" : message;
}

// Returns whether a release such as "1.26.0" has the functions and options that this library uses.
bool is_recent_enough(std::string_view version) {
  unsigned major = 0;
  unsigned minor = 0;
  const char* end = version.data() + version.size();
  const auto first = std::from_chars(version.data(), end, major);
  if (first.ec != std::errc() || first.ptr == end) return false;
  const auto second = std::from_chars(first.ptr + 1, end, minor);
  if (second.ec != std::errc()) return false;
  return major > 1 || (major == 1 && minor >= kOnnxRuntimeApiVersion);
}

OnnxRuntimeLibrary from_symbol(void* symbol, const std::string& place) {
  const OnnxRuntimeApiBase* base = reinterpret_cast<GetApiBase>(symbol)();
  const std::string version = base->GetVersionString();
  // The version is compared first, because GetApi prints to stderr where it does not have the API.
  const void* api = is_recent_enough(version) ? base->GetApi(kOnnxRuntimeApiVersion) : nullptr;
  if (api == nullptr) {
    throw EngineError("ONNX Runtime " + version + " (" + place + ") is too old: fastbert needs 1." +
                      std::to_string(kOnnxRuntimeApiVersion) +
                      " or later. Install a later release, and name its shared library in "
                      "onnxruntime_library or in the environment variable " +
                      kVariable + ".");
  }
  return {static_cast<const OnnxRuntimeApi*>(api), version, place};
}

OnnxRuntimeLibrary from_path(const std::string& path, const char* named_by) {
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    throw EngineError("ONNX Runtime could not be loaded from " + path + ", which " + named_by +
                      " names: " + linker_message() +
                      ". Name the shared library of ONNX Runtime, such as libonnxruntime.so.1.");
  }
  void* symbol = ::dlsym(library, kSymbol);
  if (symbol == nullptr) {
    ::dlclose(library);
    throw EngineError(path + ", which " + named_by + " names, is not ONNX Runtime: it has no " +
                      kSymbol +
                      ". Name the shared library of ONNX Runtime, such as libonnxruntime.so.1.");
  }
  return from_symbol(symbol, path);
}

}  // namespace

OnnxRuntimeLibrary load_onnxruntime(const char* path) {
  if (path != nullptr && *path != '\0') return from_path(path, "onnxruntime_library");
  const char* variable = std::getenv(kVariable);
  if (variable != nullptr && *variable != '\0') return from_path(variable, kVariable);
  if (void* symbol = ::dlsym(RTLD_DEFAULT, kSymbol)) return from_symbol(symbol, "this process");
  std::string reasons;
  for (const char* name : kNames) {
    if (void* library = ::dlopen(name, RTLD_NOW | RTLD_LOCAL)) {
      if (void* symbol = ::dlsym(library, kSymbol)) return from_symbol(symbol, name);
      ::dlclose(library);
      reasons += std::string("; ") + name + " is another library";
    } else {
      reasons += "; " + linker_message();
    }
  }
  throw EngineError(std::string("ONNX Runtime was not found. onnxruntime_library is not given, ") +
                    kVariable + " is not set, the process has no " + kSymbol + reasons +
                    ". Install ONNX Runtime 1." + std::to_string(kOnnxRuntimeApiVersion) +
                    " or later, and name its shared library in onnxruntime_library or in " +
                    kVariable + ".");
}

}  // namespace fastbert
