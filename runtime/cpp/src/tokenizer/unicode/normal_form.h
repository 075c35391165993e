// Unicode normalization forms, with the Unicode version of the library `tokenizers`.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizer/unicode/unicode.h"

namespace fastbert::text {

// Decomposes characters one after the other, and puts marks in canonical order.
class Decomposer {
 public:
  explicit Decomposer(bool compatibility) : compatibility_(compatibility) {}

  // Calls `emit` with each code point of the result that no later character can precede.
  template <typename Emit>
  void push(CodePoint code, const Emit& emit) {
    CodePoint parts[kLongestDecomposition];
    const std::size_t count = decompose(code, compatibility_, parts);
    for (std::size_t at = 0; at < count; ++at) {
      const int mark = combining_class(parts[at]);
      if (mark == 0) {
        flush(emit);
        emit(parts[at]);
      } else {
        marks_.emplace_back(mark, parts[at]);
      }
    }
  }

  // Emits what is left. Must be called at the end.
  template <typename Emit>
  void flush(const Emit& emit) {
    if (marks_.empty()) return;
    std::stable_sort(marks_.begin(), marks_.end(),
                     [](const auto& left, const auto& right) { return left.first < right.first; });
    for (const auto& mark : marks_) emit(mark.second);
    marks_.clear();
  }

 private:
  bool compatibility_;
  std::vector<std::pair<int, CodePoint>> marks_;  // class and code point
};

// Appends NFD or NFKD (`compatibility`), composed to NFC or NFKC if `compose`, of `text` to
// `result`.
void normalize(std::string_view text, bool compatibility, bool compose, std::string& result);

}  // namespace fastbert::text
