// What the normalizer Replace and the pre-tokenizer Split look for: a string, or a simple regular
// expression.
#pragma once

#include <memory>
#include <string_view>
#include <utility>

#include "tokenizer/json.h"

namespace fastbert::text {

// Immutable; may be shared by threads.
class Pattern {
 public:
  virtual ~Pattern() = default;

  // Returns the first match at or after `start` as [begin, end), begin = end = text.size() if there
  // is none. A match is never empty.
  virtual std::pair<std::size_t, std::size_t> find(std::string_view text,
                                                   std::size_t start) const = 0;
};

// Makes a pattern of {"String": ...} or {"Regex": ...}.
//
// Of regular expressions it knows characters, ".", \s, \S and classes in brackets, one after the
// other, each with or without {n}, the last one also with ?, *, +, {n,} or {n,m}; several of these
// with | between them; and the pattern of the pre-tokenizer ByteLevel. Throws Unsupported for
// others.
std::unique_ptr<const Pattern> make_pattern(const Json& definition);

// The pattern of the pre-tokenizer ByteLevel, which GPT-2 introduced.
std::unique_ptr<const Pattern> make_byte_level_pattern();

}  // namespace fastbert::text
