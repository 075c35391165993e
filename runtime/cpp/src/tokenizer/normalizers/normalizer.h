// What happens to a text before it is split.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "tokenizer/json.h"

namespace fastbert::text {

// Immutable; may be shared by threads.
class Normalizer {
 public:
  virtual ~Normalizer() = default;

  // Appends the normalized `text`, which is valid UTF-8, to `result`.
  virtual void apply(std::string_view text, std::string& result) const = 0;

  // Whether the first character of the result always comes from the first character of the text.
  virtual bool keeps_start() const { return false; }
};

// Makes the normalizer of a tokenizer.json; of nothing, one that changes nothing.
// Throws Unsupported for a kind that it does not know, and BundleError for a damaged one.
std::unique_ptr<const Normalizer> make_normalizer(const std::optional<Json>& definition);

std::unique_ptr<const Normalizer> make_bert_normalizer(const Json& definition);
std::unique_ptr<const Normalizer> make_precompiled_normalizer(const Json& definition);

}  // namespace fastbert::text
