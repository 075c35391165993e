#include "answers.h"

#include <algorithm>
#include <cmath>

namespace fastbert {

void write_answer(const fastbert_answers& answers, std::size_t row, const float* logits,
                  std::size_t classes, std::int32_t exit_layer, float uncertainty, bool truncated) {
  const float* highest = std::max_element(logits, logits + classes);  // the first of equal ones
  if (answers.logits != nullptr) std::copy_n(logits, classes, answers.logits + row * classes);
  if (answers.probabilities != nullptr) {
    float* probabilities = answers.probabilities + row * classes;
    const double top = *highest;
    double total = 0;
    for (std::size_t index = 0; index < classes; ++index) total += std::exp(logits[index] - top);
    for (std::size_t index = 0; index < classes; ++index)
      probabilities[index] = static_cast<float>(std::exp(logits[index] - top) / total);
  }
  if (answers.label != nullptr) answers.label[row] = static_cast<std::int32_t>(highest - logits);
  if (answers.exit_layer != nullptr) answers.exit_layer[row] = exit_layer;
  if (answers.uncertainty != nullptr) answers.uncertainty[row] = uncertainty;
  if (answers.truncated != nullptr) answers.truncated[row] = truncated ? 1 : 0;
}

}  // namespace fastbert
