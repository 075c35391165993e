// ONNX Runtime's telemetry.
#pragma once

namespace fastbert {

// Turns the telemetry off that the Linux builds of ONNX Runtime 1.29 and later have
// (onnxruntime#27379), before ONNX Runtime is loaded: it writes into the home directory, and a
// forked process may hang when it ends. It is on unless ORT_DISABLE_TELEMETRY is set, and this sets
// it to 1. A variable cannot be set safely while other threads may read the environment, so where
// this process has several threads the log gets a warning instead. Nothing is done where the
// variable has a value, which 0 is too.
void turn_telemetry_off();

}  // namespace fastbert
