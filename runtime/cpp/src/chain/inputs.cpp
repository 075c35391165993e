#include "chain/inputs.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <string>

#include "errors.h"

namespace fastbert {
namespace {

// Copies `count` values and checks that each is from 0 to `end` - 1.
template <typename Integer>
void copy_checked(const char* name, const Integer* values, std::size_t count, std::int64_t end,
                  std::int64_t* out) {
  std::int64_t low = 0;
  std::int64_t high = 0;
  for (std::size_t at = 0; at < count; ++at) {
    const std::int64_t value = values[at];
    low = std::min(low, value);
    high = std::max(high, value);
    out[at] = value;
  }
  if (low < 0 || high >= end)
    throw UsageError("`" + std::string(name) + "` holds " + std::to_string(low < 0 ? low : high) +
                     "; the model knows 0 to " + std::to_string(end - 1) + ".");
}

void read_array(const char* name, const void* values, fastbert_id_type type, std::int64_t end,
                std::vector<std::int64_t>& out) {
  if (type == FASTBERT_INT32) {
    copy_checked(name, static_cast<const std::int32_t*>(values), out.size(), end, out.data());
  } else {
    copy_checked(name, static_cast<const std::int64_t*>(values), out.size(), end, out.data());
  }
}

void check_shape(const Manifest& manifest, const fastbert_batch& batch) {
  if (batch.type != FASTBERT_INT32 && batch.type != FASTBERT_INT64)
    throw UsageError("`type` is " + std::to_string(batch.type) +
                     "; it must be FASTBERT_INT64 (0) or FASTBERT_INT32 (1).");
  if (batch.input_ids == nullptr)
    throw UsageError("`input_ids` is null; it must be an array of [rows, sequence].");
  if (batch.sequence == 0) throw UsageError("`sequence` is 0; a row has at least one token.");
  if (batch.sequence > static_cast<std::size_t>(manifest.max_positions))
    throw UsageError("`input_ids` has sequences of " + std::to_string(batch.sequence) +
                     " tokens; the model has " + std::to_string(manifest.max_positions) +
                     " positions. Cut the sequences.");
  constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max() / sizeof(std::int64_t) / 2;
  if (batch.rows > kMost / batch.sequence)
    throw UsageError("`rows` is " + std::to_string(batch.rows) + ", which no memory holds.");
}

void check_first_tokens(const Inputs& inputs) {
  for (std::size_t row = 0; row < inputs.rows; ++row) {
    if (inputs.mask[row * inputs.sequence] == 0)
      throw UsageError("`attention_mask` hides the first token of row " + std::to_string(row) +
                       ", which exits classify from. Pad on the right.");
  }
}

// Cuts the padding at the end of a row alone.
void cut_padding(Inputs& inputs) {
  const auto visible = std::count(inputs.mask.begin(), inputs.mask.end(), 1);
  if (std::find(inputs.mask.begin() + visible, inputs.mask.end(), 1) != inputs.mask.end()) return;
  inputs.resize(1, static_cast<std::size_t>(visible));
  inputs.single_row = true;
}

}  // namespace

void Inputs::resize(std::size_t new_rows, std::size_t new_sequence) {
  rows = new_rows;
  sequence = new_sequence;
  single_row = false;
  for (auto* array : {&ids, &mask, &types}) array->resize(rows * sequence);
}

void Inputs::fill_row(std::size_t row, const std::vector<std::int64_t>& row_ids,
                      const std::vector<std::int64_t>& row_types, std::int64_t pad) {
  for (std::size_t column = 0; column < sequence; ++column) {
    const bool visible = column < row_ids.size();
    const std::size_t place = row * sequence + column;
    ids[place] = visible ? row_ids[column] : pad;
    mask[place] = visible ? 1 : 0;
    types[place] = visible ? row_types[column] : 0;
  }
}

void read_inputs(const Manifest& manifest, const fastbert_batch& batch, Inputs& inputs) {
  if (batch.rows == 0) return inputs.resize(0, 1);
  check_shape(manifest, batch);
  inputs.resize(batch.rows, batch.sequence);
  read_array("input_ids", batch.input_ids, batch.type, manifest.vocab_size, inputs.ids);
  if (batch.attention_mask == nullptr) {
    std::fill(inputs.mask.begin(), inputs.mask.end(), 1);
  } else {
    read_array("attention_mask", batch.attention_mask, batch.type, 2, inputs.mask);
  }
  if (batch.token_type_ids == nullptr) {
    std::fill(inputs.types.begin(), inputs.types.end(), manifest.default_token_type);
  } else {
    read_array("token_type_ids", batch.token_type_ids, batch.type, manifest.type_vocab_size,
               inputs.types);
  }
  check_first_tokens(inputs);
  if (inputs.rows == 1) cut_padding(inputs);
}

float checked_speed(const Manifest& manifest, double speed) {
  if (speed == FASTBERT_DEFAULT_SPEED) speed = manifest.default_speed;
  if (!(speed >= 0.0 && speed <= 1.0)) {  // which NaN fails too
    char digits[32];
    const auto end = std::to_chars(digits, digits + sizeof digits, speed);
    throw UsageError(
        "`speed` is " + std::string(digits, end.ptr) +
        "; it must be a number from 0 (never exit early) to 1, or FASTBERT_DEFAULT_SPEED.");
  }
  return static_cast<float>(speed);
}

}  // namespace fastbert
