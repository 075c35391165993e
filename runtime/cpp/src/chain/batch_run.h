// Runs of batches: one thread's buffers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "chain/engine_plan.h"
#include "chain/inputs.h"

namespace fastbert {

// Takes the answer of a row: its number, logits [classes], the number of its exit, uncertainty.
using TakeAnswer =
    std::function<void(std::size_t row, const float* logits, std::size_t exit, float uncertainty)>;

// Stages read one buffer of hidden states and write the other. No call allocates arrays of their
// size, and the same few megabytes stay in the processor's caches from layer to layer.
class BatchRun {
 public:
  BatchRun(const OnnxRuntime& runtime, const BatchEngines& engines)
      : runtime_(&runtime), engines_(&engines) {}

  // Runs a batch of at least one row. Every row exits at the first exit whose uncertainty is below
  // `speed`, at the latest at the last one; `take` gets each row once. The arrays of `inputs` are
  // only read. Throws EngineError if ONNX Runtime fails.
  void run(Inputs& inputs, float speed, const TakeAnswer& take);

 private:
  void start(Inputs& inputs);
  void run_stage(std::size_t stage);
  void keep(const std::vector<std::size_t>& kept);
  void bind(std::size_t rows, std::size_t sequence);

  const OnnxRuntime* runtime_;
  const BatchEngines* engines_;

  // Buffers, as large as the largest batch so far.
  std::vector<float> hidden_states_[2];  // [rows, sequence, hidden size]
  std::vector<float> mask_;              // [rows, 1, 1, sequence]
  std::vector<float> logits_;            // [rows, classes]
  std::vector<float> uncertainty_;       // [rows]

  // The batch between two stages: its shape, and tensors of that shape on the buffers.
  std::size_t rows_ = 0;
  std::size_t sequence_ = 0;
  std::size_t current_ = 0;  // which buffer the next stage reads
  Handle<OrtValue> hidden_states_tensors_[2];
  Handle<OrtValue> mask_tensor_;
  Handle<OrtValue> logits_tensor_;
  Handle<OrtValue> uncertainty_tensor_;

  std::vector<std::size_t> numbers_;  // which row of the batch each remaining row is
  std::vector<std::size_t> lengths_;  // place after each remaining row's last visible token
  std::vector<std::size_t> kept_;
  std::vector<const OrtValue*> stage_inputs_;
};

}  // namespace fastbert
