// A text between the normalizer and the model: the pieces that the pre-tokenizer makes of it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace fastbert::text {

struct Span {
  std::size_t begin;
  std::size_t end;
};

// Pieces in their order. Their text may have parts that belong to no piece.
struct Pieces {
  std::string text;
  std::vector<Span> spans;
  // Whether the text begins where the text that was given to the tokenizer begins.
  bool at_start = false;

  std::string_view piece(const Span& span) const {
    return std::string_view(text).substr(span.begin, span.end - span.begin);
  }
};

}  // namespace fastbert::text
