// Texts: tokenized, cut into batches of similar length, and run.
#include <algorithm>
#include <memory>
#include <string>

#include "chain/micro_batches.h"
#include "errors.h"
#include "session.h"
#include "system/utf8.h"

namespace fastbert {
namespace {

// A window of texts is tokenized, sorted by length and cut into batches together. It ends at this
// many rows, or where its texts reach this many code points.
constexpr std::size_t kWindowRows = 4096;
constexpr std::size_t kWindowSize = std::size_t{1} << 22;

std::string_view view(const fastbert_text& text, const char* name, std::size_t row) {
  if (text.data == nullptr && text.size > 0)
    throw UsageError("The data of " + std::string(name) + "[" + std::to_string(row) +
                     "] is null, but its size is " + std::to_string(text.size) + ".");
  return text.data == nullptr ? std::string_view() : std::string_view(text.data, text.size);
}

std::size_t size_of(const fastbert_text* texts, const fastbert_text* pairs, std::size_t row) {
  const std::size_t first = count_code_points(view(texts[row], "texts", row));
  return first + (pairs == nullptr ? 0 : count_code_points(view(pairs[row], "text_pairs", row)));
}

void check_texts(const fastbert_text* texts, std::size_t rows) {
  if (texts == nullptr && rows > 0)
    throw UsageError("`texts` is null; it must be an array of " + std::to_string(rows) + " texts.");
}

[[noreturn]] void fail_on(std::size_t row, const std::string& problem) {
  throw UsageError("The tokenizer gives texts[" + std::to_string(row) + "] " + problem);
}

}  // namespace

const Tokenizer& Session::tokenizer() const {
  if (model_->tokenizer() == nullptr) throw Unsupported(model_->text_problem());
  return *model_->tokenizer();
}

void Session::tokenize(const fastbert_text* texts, const fastbert_text* pairs, std::size_t row,
                       Encoding& encoding) const {
  const Manifest& manifest = model_->manifest();
  const std::string_view text = view(texts[row], "texts", row);
  const std::string_view pair =
      pairs == nullptr ? std::string_view() : view(pairs[row], "text_pairs", row);
  try {
    tokenizer().encode(
        text, pairs == nullptr ? nullptr : &pair, static_cast<std::size_t>(manifest.max_length),
        manifest.truncates_left ? TruncationSide::kLeft : TruncationSide::kRight, encoding);
  } catch (const UsageError& problem) {
    throw UsageError("texts[" + std::to_string(row) + "]: " + problem.what());
  }
  if (encoding.ids.empty()) encoding.ids.push_back(manifest.pad_token_id);
  if (manifest.type_vocab_size == 1 || encoding.type_ids.empty())
    encoding.type_ids.assign(encoding.ids.size(), 0);
  const std::int64_t highest = *std::max_element(encoding.ids.begin(), encoding.ids.end());
  if (highest >= manifest.vocab_size)
    fail_on(row, "the id " + std::to_string(highest) + "; the model knows 0 to " +
                     std::to_string(manifest.vocab_size - 1) +
                     ". Its tokenizer and its embeddings belong to different models. Export the "
                     "model again, with the tokenizer that it was trained with.");
  const std::int64_t type = *std::max_element(encoding.type_ids.begin(), encoding.type_ids.end());
  if (type >= manifest.type_vocab_size)
    fail_on(row,
            "the token type " + std::to_string(type) + "; the model knows 0 to " +
                std::to_string(manifest.type_vocab_size - 1) +
                ". The post_processor in tokenizer.json belongs to another model. Correct it.");
  if (encoding.ids.size() > static_cast<std::size_t>(manifest.max_length))
    fail_on(row, std::to_string(encoding.ids.size()) + " tokens, more than the max_length of " +
                     std::to_string(manifest.max_length) +
                     ". The post_processor in tokenizer.json repeats a text. Correct it.");
}

void Session::classify_text(const fastbert_text* texts, const fastbert_text* pairs,
                            std::size_t rows, double speed, const fastbert_answers& answers) {
  const float speed32 = checked_speed(model_->manifest(), speed);
  check_texts(texts, rows);
  tokenizer();
  for (std::size_t first = 0; first < rows;) {
    std::size_t count = 0;
    std::size_t size = 0;
    while (first + count < rows && count < kWindowRows && size < kWindowSize)
      size += size_of(texts, pairs, first + count++);
    classify_window(texts, pairs, first, count, speed32, answers);
    first += count;
  }
}

void Session::classify_window(const fastbert_text* texts, const fastbert_text* pairs,
                              std::size_t first, std::size_t rows, float speed,
                              const fastbert_answers& answers) {
  if (encodings_.size() < rows) encodings_.resize(rows);
  std::vector<std::size_t> lengths(rows);
  for (std::size_t row = 0; row < rows; ++row) {
    tokenize(texts, pairs, first + row, encodings_[row]);
    lengths[row] = encodings_[row].ids.size();
  }
  for (std::vector<std::size_t>& batch : micro_batches(lengths)) {
    inputs_.resize(batch.size(), lengths[batch[0]]);
    inputs_.single_row = batch.size() == 1;
    const auto truncated = std::make_unique<bool[]>(batch.size());
    for (std::size_t place = 0; place < batch.size(); ++place) {
      const Encoding& encoding = encodings_[batch[place]];
      truncated[place] = encoding.truncated;
      inputs_.fill_row(place, encoding.ids, encoding.type_ids, model_->manifest().pad_token_id);
      batch[place] += first;
    }
    run(speed, answers, batch.data(), truncated.get());
  }
}

void Session::encode(const fastbert_text* texts, const fastbert_text* pairs, std::size_t rows,
                     fastbert_encoding& encoding) {
  check_texts(texts, rows);
  const Manifest& manifest = model_->manifest();
  if (encoding.capacity < static_cast<std::size_t>(manifest.max_length))
    throw UsageError("`capacity` is " + std::to_string(encoding.capacity) + "; a text has up to " +
                     std::to_string(manifest.max_length) + " tokens.");
  tokenizer();
  if (encodings_.empty()) encodings_.resize(1);
  Encoding& tokens = encodings_[0];
  encoding.sequence = 0;
  for (std::size_t row = 0; row < rows; ++row) {
    tokenize(texts, pairs, row, tokens);
    const std::size_t length = tokens.ids.size();
    const auto write = [&](std::int64_t* array, const auto& value_at, std::int64_t padding) {
      if (array == nullptr) return;
      for (std::size_t column = 0; column < encoding.capacity; ++column)
        array[row * encoding.capacity + column] = column < length ? value_at(column) : padding;
    };
    write(
        encoding.input_ids, [&](std::size_t column) { return tokens.ids[column]; },
        manifest.pad_token_id);
    write(encoding.attention_mask, [](std::size_t) { return std::int64_t{1}; }, 0);
    write(encoding.token_type_ids, [&](std::size_t column) { return tokens.type_ids[column]; }, 0);
    if (encoding.truncated != nullptr) encoding.truncated[row] = tokens.truncated ? 1 : 0;
    encoding.sequence = std::max(encoding.sequence, length);
  }
}

}  // namespace fastbert
