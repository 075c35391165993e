#include "system/log.h"

#include <mutex>

#include "system/utf8.h"

namespace fastbert {
namespace {

struct Receiver {
  fastbert_log_function function = nullptr;
  void* user_data = nullptr;
};

std::mutex receiver_lock;
Receiver receiver;

}  // namespace

void set_log(fastbert_log_function function, void* user_data) {
  const std::lock_guard<std::mutex> guard(receiver_lock);
  receiver = {function, user_data};
}

void log_message(int severity, const char* message) noexcept {
  Receiver current;
  {
    const std::lock_guard<std::mutex> guard(receiver_lock);
    current = receiver;
  }
  // Outside the lock: the function may call fastbert_set_log.
  if (current.function != nullptr) current.function(current.user_data, severity, message);
}

void log_from_onnxruntime(void*, int severity, const char*, const char*, const char*,
                          const char* message) {
  if (message == nullptr) return;
  try {
    log_message(severity, to_valid_utf8(as_paragraph(message)).c_str());
  } catch (...) {  // no memory
    log_message(severity, "ONNX Runtime logs a message, for which there is no memory.");
  }
}

}  // namespace fastbert
