// The special tokens around a text or a pair of texts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "tokenizer/json.h"

namespace fastbert::text {

// What the tokens of a sequence are, in order.
class Template {
 public:
  enum class Source { kSpecial, kFirst, kSecond };  // a special token, or all tokens of a text
  struct Part {
    Source source;
    std::int32_t id;  // of a special token
    std::int64_t type_id;
  };

  explicit Template(std::vector<Part> parts);

  const std::vector<Part>& parts() const { return parts_; }
  // Number of special tokens.
  std::size_t special() const { return special_; }

 private:
  std::vector<Part> parts_;
  std::size_t special_ = 0;
};

struct Templates {
  Template single;
  Template pair;
};

// Makes the templates of a tokenizer.json's post-processor.
// Throws Unsupported for a kind that it does not know, and BundleError for a damaged one.
Templates make_templates(const std::optional<Json>& definition);

}  // namespace fastbert::text
