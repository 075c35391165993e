// What becomes of the matches of a pattern when a text is split at them.
#pragma once

#include <vector>

#include "tokenizer/pieces.h"

namespace fastbert::text {

enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

// Collects pieces from parts of a text, which come in order and cover it.
class Splitter {
 public:
  Splitter(Behavior behavior, std::vector<Span>& spans) : behavior_(behavior), spans_(spans) {}

  // Must be called before the parts of the next piece.
  void start_piece() noexcept { first_ = true; }

  // Adds the part [begin, end), which is a match of the pattern or lies between matches.
  void add(std::size_t begin, std::size_t end, bool match) {
    if (begin == end) return;
    const bool before = was_match_;
    const bool first = first_;
    first_ = false;
    was_match_ = match;
    bool joins = false;
    switch (behavior_) {
      case Behavior::kRemoved:
        if (match) return;
        break;
      case Behavior::kIsolated:
        break;
      case Behavior::kMergedWithPrevious:
        joins = match && !before;
        break;
      case Behavior::kMergedWithNext:
        joins = !match && before;
        break;
      case Behavior::kContiguous:
        joins = match == before;
        break;
    }
    if (joins && !first) {
      spans_.back().end = end;
    } else {
      spans_.push_back({begin, end});
    }
  }

 private:
  Behavior behavior_;
  std::vector<Span>& spans_;
  bool first_ = true;
  bool was_match_ = false;
};

}  // namespace fastbert::text
