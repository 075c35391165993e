// How a normalized text is split into the pieces that the model reads one by one.
#pragma once

#include <memory>

#include "tokenizer/json.h"
#include "tokenizer/normalizers/normalizer.h"
#include "tokenizer/pieces.h"

namespace fastbert::text {

// Immutable; may be shared by threads.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;

  // Splits each piece further; may change the text, too. No piece is empty. `spare` is memory to
  // work in.
  virtual void split(Pieces& pieces, Pieces& spare) const = 0;
};

// Makes the pre-tokenizer of a tokenizer.json; of nothing, one that changes nothing. `normalizer`
// comes before it. Throws Unsupported for a kind that it does not know, and BundleError for a
// damaged one.
std::unique_ptr<const PreTokenizer> make_pre_tokenizer(const std::optional<Json>& definition,
                                                       const Normalizer& normalizer);

std::unique_ptr<const PreTokenizer> make_byte_level(const Json& definition);
std::unique_ptr<const PreTokenizer> make_metaspace(const Json& definition);

}  // namespace fastbert::text
