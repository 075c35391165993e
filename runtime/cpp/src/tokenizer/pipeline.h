// A text to the ids of its tokens, without special tokens around them and without truncation.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "tokenizer/added_tokens.h"
#include "tokenizer/json.h"
#include "tokenizer/models/model.h"
#include "tokenizer/normalizers/normalizer.h"
#include "tokenizer/pieces.h"
#include "tokenizer/pre_tokenizers/pre_tokenizer.h"

namespace fastbert::text {

// Memory that one call works in. For one thread.
struct Memory {
  Pieces pieces;
  Pieces spare;
  ModelMemory model;
};

// Immutable; may be shared by threads.
class Pipeline {
 public:
  // `root`: a tokenizer.json.
  explicit Pipeline(const Json& root);

  // Appends the ids of `text`, which is valid UTF-8.
  void tokenize(std::string_view text, std::vector<std::int64_t>& ids, Memory& memory) const;

 private:
  void tokenize_part(std::string_view text, bool at_start, std::vector<std::int64_t>& ids,
                     Memory& memory) const;

  std::unique_ptr<const Normalizer> normalizer_;
  std::unique_ptr<const PreTokenizer> pre_tokenizer_;
  std::unique_ptr<const Model> model_;
  AddedTokens added_;
};

}  // namespace fastbert::text
