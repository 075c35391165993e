// The vocabulary, and how it covers one piece of a text.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "tokenizer/json.h"

namespace fastbert::text {

// Memory that models work in, so that no piece needs any of its own. For one thread.
struct ModelMemory {
  // A symbol of a word that BPE merges, or a step of the best path of Unigram.
  struct Symbol {
    std::uint32_t id;
    std::int32_t previous;
    std::int32_t next;
  };
  struct Merge {
    std::uint32_t rank;
    std::int32_t at;
    std::uint32_t id;
  };
  struct Step {
    double score;
    std::size_t start;
    std::int32_t id;
  };
  std::vector<Symbol> symbols;
  std::vector<Merge> merges;
  std::vector<Step> steps;
};

// Immutable; may be shared by threads.
class Model {
 public:
  static constexpr std::int32_t kNoToken = -1;

  virtual ~Model() = default;

  // Appends the ids of a piece, which is not empty.
  virtual void tokenize(std::string_view piece, std::vector<std::int64_t>& ids,
                        ModelMemory& memory) const = 0;

  // The id of a token, or kNoToken.
  virtual std::int32_t find(std::string_view token) const = 0;

  // Number of tokens.
  virtual std::size_t size() const = 0;
};

// Makes the model of a tokenizer.json.
// Throws Unsupported for a kind that it does not know, and BundleError for a damaged one.
std::unique_ptr<const Model> make_model(const Json& definition);

std::unique_ptr<const Model> make_wordpiece(const Json& definition);
std::unique_ptr<const Model> make_bpe(const Json& definition);
std::unique_ptr<const Model> make_unigram(const Json& definition);

}  // namespace fastbert::text
