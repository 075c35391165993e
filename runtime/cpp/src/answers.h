// Where answers go: arrays of the caller.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fastbert.h"

namespace fastbert {

// Writes the answer of a row to the arrays that the caller gave.
//
// logits: float32 [classes].
void write_answer(const fastbert_answers& answers, std::size_t row, const float* logits,
                  std::size_t classes, std::int32_t exit_layer, float uncertainty, bool truncated);

}  // namespace fastbert
