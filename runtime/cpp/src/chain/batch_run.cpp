#include "chain/batch_run.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "onnxruntime/tensors.h"

namespace fastbert {
namespace {

template <typename Type>
void grow(std::vector<Type>& buffer, std::size_t size) {
  if (buffer.size() < size) buffer.resize(size);
}

}  // namespace

void BatchRun::run(Inputs& inputs, float speed, const TakeAnswer& take) {
  start(inputs);
  const std::size_t classes = engines_->classes();
  const std::size_t last = engines_->stages().size() - 1;
  for (std::size_t stage = 0; stage <= last; ++stage) {
    run_stage(stage);
    kept_.clear();
    for (std::size_t row = 0; row < rows_; ++row) {
      const float uncertainty = uncertainty_[row];
      if (uncertainty < speed || stage == last) {  // false for NaN: it exits at the last one
        take(numbers_[row], logits_.data() + row * classes, stage, uncertainty);
      } else {
        kept_.push_back(row);
      }
    }
    if (kept_.empty()) return;
    if (kept_.size() < rows_) keep(kept_);
  }
}

void BatchRun::start(Inputs& inputs) {
  const std::size_t tokens = inputs.rows * inputs.sequence;
  if (tokens > SIZE_MAX / sizeof(float) / engines_->hidden_size()) throw std::bad_alloc();
  rows_ = 0;  // tensors on buffers that may move
  for (auto& buffer : hidden_states_) grow(buffer, tokens * engines_->hidden_size());
  grow(mask_, tokens);
  grow(logits_, inputs.rows * engines_->classes());
  grow(uncertainty_, inputs.rows);
  numbers_.resize(inputs.rows);
  lengths_.resize(inputs.rows);
  for (std::size_t row = 0; row < inputs.rows; ++row) {
    const std::int64_t* mask = inputs.mask.data() + row * inputs.sequence;
    std::size_t length = inputs.sequence;
    while (mask[length - 1] == 0) --length;  // the first token is visible
    numbers_[row] = row;
    lengths_[row] = length;
  }
  bind(inputs.rows, inputs.sequence);
  current_ = 0;
  const Handle<OrtValue> tokens_in[] = {
      make_tensor(*runtime_, inputs.ids.data(), {inputs.rows, inputs.sequence}),
      make_tensor(*runtime_, inputs.mask.data(), {inputs.rows, inputs.sequence}),
      make_tensor(*runtime_, inputs.types.data(), {inputs.rows, inputs.sequence}),
  };
  const OrtValue* const tensors[] = {tokens_in[0].get(), tokens_in[1].get(), tokens_in[2].get()};
  OrtValue* outputs[] = {hidden_states_tensors_[0].get(), mask_tensor_.get()};
  engines_->embeddings().run(kTokenNames, tensors, 3, kEmbeddingsOutputNames, outputs, 2);
}

void BatchRun::run_stage(std::size_t number) {
  const StageRun& stage = engines_->stages()[number];
  stage_inputs_ = {hidden_states_tensors_[current_].get(), mask_tensor_.get()};
  stage_inputs_.insert(stage_inputs_.end(), stage.digits.begin(), stage.digits.end());
  OrtValue* outputs[] = {hidden_states_tensors_[1 - current_].get(), logits_tensor_.get(),
                         uncertainty_tensor_.get()};
  stage.engine->run(stage.inputs.data(), stage_inputs_.data(), stage_inputs_.size(), stage.outputs,
                    outputs, 3);
  current_ = 1 - current_;
}

// Keeps only these rows, cut to the longest of them.
void BatchRun::keep(const std::vector<std::size_t>& kept) {
  std::size_t longest = 0;
  for (const std::size_t row : kept) longest = std::max(longest, lengths_[row]);
  const std::size_t hidden_size = engines_->hidden_size();
  const float* from = hidden_states_[current_].data();
  float* to = hidden_states_[1 - current_].data();
  for (std::size_t place = 0; place < kept.size(); ++place) {
    const std::size_t row =
        kept[place];  // row >= place, and sequence_ >= longest: nothing is overwritten unread
    std::copy_n(from + row * sequence_ * hidden_size, longest * hidden_size,
                to + place * longest * hidden_size);
    std::memmove(mask_.data() + place * longest, mask_.data() + row * sequence_,
                 longest * sizeof(float));
    numbers_[place] = numbers_[row];
    lengths_[place] = lengths_[row];
  }
  numbers_.resize(kept.size());
  lengths_.resize(kept.size());
  current_ = 1 - current_;
  bind(kept.size(), longest);
}

void BatchRun::bind(std::size_t rows, std::size_t sequence) {
  const std::size_t hidden_size = engines_->hidden_size();
  for (std::size_t side = 0; side < 2; ++side)
    hidden_states_tensors_[side] =
        make_tensor(*runtime_, hidden_states_[side].data(), {rows, sequence, hidden_size});
  mask_tensor_ = make_tensor(*runtime_, mask_.data(), {rows, 1, 1, sequence});
  logits_tensor_ = make_tensor(*runtime_, logits_.data(), {rows, engines_->classes()});
  uncertainty_tensor_ = make_tensor(*runtime_, uncertainty_.data(), {rows});
  rows_ = rows;
  sequence_ = sequence;
}

}  // namespace fastbert
