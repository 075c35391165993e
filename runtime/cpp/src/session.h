// One thread's buffers for a model.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "chain/batch_run.h"
#include "chain/inputs.h"
#include "chain/row_run.h"
#include "fastbert.h"
#include "model.h"

namespace fastbert {

// For one thread at a time.
class Session {
 public:
  explicit Session(std::shared_ptr<const Model> model);

  const Model& model() const noexcept { return *model_; }

  // Each throws what the function of fastbert.h reports.
  void classify(const fastbert_batch& batch, double speed, const fastbert_answers& answers);
  void classify_text(const fastbert_text* texts, const fastbert_text* pairs, std::size_t rows,
                     double speed, const fastbert_answers& answers);
  void encode(const fastbert_text* texts, const fastbert_text* pairs, std::size_t rows,
              fastbert_encoding& encoding);

 private:
  // Runs inputs_. places: which row of `answers` each row is; null: the same. truncated: of each
  // row; null: none is.
  void run(float speed, const fastbert_answers& answers, const std::size_t* places,
           const bool* truncated);
  void classify_window(const fastbert_text* texts, const fastbert_text* pairs, std::size_t first,
                       std::size_t rows, float speed, const fastbert_answers& answers);
  // Tokenizes row `row` of the caller's texts.
  void tokenize(const fastbert_text* texts, const fastbert_text* pairs, std::size_t row,
                Encoding& encoding) const;
  const Tokenizer& tokenizer() const;

  std::shared_ptr<const Model> model_;
  Inputs inputs_;
  std::optional<RowRun> row_;
  std::optional<BatchRun> batch_;
  std::vector<Encoding> encodings_;  // of a window of texts
};

}  // namespace fastbert
