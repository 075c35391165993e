// Finds ONNX Runtime's shared library and loads it.
#pragma once

#include <string>

#include "onnxruntime/onnxruntime_api.h"

namespace fastbert {

// A loaded ONNX Runtime. It is never unloaded.
struct OnnxRuntimeLibrary {
  const OnnxRuntimeApi* api;
  std::string version;  // such as "1.32.0"
  std::string path;     // where it was found; "this process" if it was there already
};

// Loads the library at `path`; null or "": the first of
// 1. the path in the environment variable FASTBERT_ONNXRUNTIME,
// 2. a copy that the program is linked to,
// 3. the names that the dynamic linker looks for: libonnxruntime.so.1, libonnxruntime.so.
// Throws EngineError if it is missing, is another library or is too old.
OnnxRuntimeLibrary load_onnxruntime(const char* path);

}  // namespace fastbert
