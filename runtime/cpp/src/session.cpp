#include "session.h"

#include <utility>

#include "answers.h"
#include "errors.h"

namespace fastbert {

Session::Session(std::shared_ptr<const Model> model) : model_(std::move(model)) {
  if (model_->row() != nullptr) row_.emplace(model_->runtime(), *model_->row());
}

void Session::classify(const fastbert_batch& batch, double speed, const fastbert_answers& answers) {
  const float speed32 = checked_speed(model_->manifest(), speed);
  read_inputs(model_->manifest(), batch, inputs_);
  run(speed32, answers, nullptr, nullptr);
}

void Session::run(float speed, const fastbert_answers& answers, const std::size_t* places,
                  const bool* truncated) {
  if (inputs_.rows == 0) return;
  const std::size_t classes = model_->manifest().labels.size();
  const auto write = [&](std::size_t row, const float* logits, std::int32_t exit_layer,
                         float uncertainty) {
    write_answer(answers, places == nullptr ? row : places[row], logits, classes, exit_layer,
                 uncertainty, truncated != nullptr && truncated[row]);
  };
  if (inputs_.single_row && row_) {
    row_->run(inputs_, speed);
    write(0, row_->logits(), row_->exit_layer(), row_->uncertainty());
    return;
  }
  if (!batch_) batch_.emplace(model_->runtime(), model_->batches());
  const std::vector<std::int32_t>& exits = model_->manifest().exits;
  batch_->run(inputs_, speed,
              [&](std::size_t row, const float* logits, std::size_t exit, float uncertainty) {
                write(row, logits, exits[exit], uncertainty);
              });
}

}  // namespace fastbert
