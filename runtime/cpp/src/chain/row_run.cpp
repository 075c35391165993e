#include "chain/row_run.h"

#include <algorithm>

#include "onnxruntime/tensors.h"

namespace fastbert {

RowRun::RowRun(const OnnxRuntime& runtime, const RowEngine& engine)
    : runtime_(&runtime), engine_(&engine), logits_(engine.classes) {
  speed_tensor_ = make_tensor(runtime, &speed_, {1});
  outputs_[0] = make_tensor(runtime, logits_.data(), {1, logits_.size()});
  outputs_[1] = make_tensor(runtime, &exit_layer_, {1});
  outputs_[2] = make_tensor(runtime, &uncertainty_, {1});
}

void RowRun::run(const Inputs& inputs, float speed) {
  engine_->embeddings.check_unchanged();
  if (inputs.sequence != sequence_) reserve(inputs.sequence);
  std::copy_n(inputs.ids.data(), sequence_, ids_.data());
  std::copy_n(inputs.types.data(), sequence_, types_.data());
  speed_ = speed;
  const OrtValue* const tensors[] = {ids_tensor_.get(), types_tensor_.get(), speed_tensor_.get()};
  OrtValue* outputs[] = {outputs_[0].get(), outputs_[1].get(), outputs_[2].get()};
  engine_->engine.run(kRowInputNames, tensors, 3, kRowOutputNames, outputs, 3);
}

void RowRun::reserve(std::size_t sequence) {
  sequence_ = 0;  // until all tensors are made
  if (ids_.size() < sequence) {
    ids_.resize(sequence);
    types_.resize(sequence);
  }
  ids_tensor_ = make_tensor(*runtime_, ids_.data(), {1, sequence});
  types_tensor_ = make_tensor(*runtime_, types_.data(), {1, sequence});
  sequence_ = sequence;
}

}  // namespace fastbert
