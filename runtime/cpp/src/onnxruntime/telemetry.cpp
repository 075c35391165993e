#include "onnxruntime/telemetry.h"

#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <system_error>

#include "fastbert.h"
#include "system/log.h"

namespace fastbert {
namespace {

constexpr const char* kVariable = "ORT_DISABLE_TELEMETRY";

bool is_only_thread() {
  std::error_code error;
  const std::filesystem::directory_iterator threads("/proc/self/task", error);
  return !error && std::distance(begin(threads), end(threads)) == 1;
}

}  // namespace

void turn_telemetry_off() {
  if (std::getenv(kVariable) != nullptr) return;
#if !defined(_WIN32)
  if (is_only_thread()) {
    ::setenv(kVariable, "1", 0);
    return;
  }
#endif
  log_message(FASTBERT_LOG_WARNING,
              "ORT_DISABLE_TELEMETRY is not set, so the telemetry of ONNX Runtime 1.29 and later "
              "may be on: it writes into the home directory, and a forked process may hang when "
              "it ends. This process has several threads, so fastbert does not set the variable. "
              "Set it to 1 before threads start, or to 0 to silence this.");
}

}  // namespace fastbert
