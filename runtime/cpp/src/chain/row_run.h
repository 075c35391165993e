// Runs of a single row: one thread's buffers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "chain/engine_plan.h"
#include "chain/inputs.h"

namespace fastbert {

class RowRun {
 public:
  RowRun(const OnnxRuntime& runtime, const RowEngine& engine);
  RowRun(const RowRun&) = delete;  // tensors point into it

  // Runs the only row of `inputs` until an exit's uncertainty is below `speed`, at the latest to
  // the last exit. Throws BundleError if a file of the bundle was written to, and EngineError if
  // ONNX Runtime fails.
  void run(const Inputs& inputs, float speed);

  // The answer of the last run. logits: [classes].
  const float* logits() const noexcept { return logits_.data(); }
  std::int32_t exit_layer() const noexcept { return static_cast<std::int32_t>(exit_layer_); }
  float uncertainty() const noexcept { return uncertainty_; }

 private:
  void reserve(std::size_t sequence);

  const OnnxRuntime* runtime_;
  const RowEngine* engine_;
  std::vector<std::int64_t> ids_;
  std::vector<std::int64_t> types_;
  float speed_ = 0;
  std::vector<float> logits_;
  std::int64_t exit_layer_ = 0;
  float uncertainty_ = 0;
  std::size_t sequence_ = 0;  // of the tensors below
  Handle<OrtValue> ids_tensor_;
  Handle<OrtValue> types_tensor_;
  Handle<OrtValue> speed_tensor_;
  Handle<OrtValue> outputs_[3];
};

}  // namespace fastbert
