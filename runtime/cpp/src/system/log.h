// Log messages, sent to the function of fastbert_set_log.
#pragma once

#include "fastbert.h"

namespace fastbert {

// Replaces the function that receives messages; null: they are discarded. May be called from any
// thread.
void set_log(fastbert_log_function function, void* user_data);

// Sends a message. May be called from any thread.
void log_message(int severity, const char* message) noexcept;

// The same, as ONNX Runtime calls it.
void log_from_onnxruntime(void* parameter, int severity, const char* category, const char* log_id,
                          const char* code_location, const char* message);

}  // namespace fastbert
