// As much of a text as gives the tokens that are kept, so that time and memory do not grow with its
// length.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "tokenizer/pipeline.h"
#include "tokenizer/tokenizer.h"

namespace fastbert::text {

// The start of a text, or its end, as tokens. The part that is read grows on demand.
class Reading {
 public:
  // `kept`: the most tokens that a caller keeps. All arguments must live as long as the reading.
  Reading(const Pipeline& pipeline, std::string_view text, std::size_t kept, TruncationSide side,
          Memory& memory);

  // The tokens of the part: at least `kept`, unless the text does not have so many or its tokens
  // are very long.
  const std::vector<std::int64_t>& ids() const { return ids_; }
  // Whether the part is the whole text.
  bool is_whole() const { return size_ == text_.size(); }
  // Whether the part can grow.
  bool can_grow() const;
  // Reads a part that is longer.
  void grow();

 private:
  void read();

  const Pipeline& pipeline_;
  std::string_view text_;
  TruncationSide side_;
  Memory& memory_;
  std::size_t size_;  // bytes of the part
  std::vector<std::int64_t> ids_;
};

// How many tokens of two texts are kept.
struct Shares {
  std::size_t first;
  std::size_t second;
};

// Shares `room` tokens between two texts, the longer one cut first, as LongestFirst of `tokenizers`
// does. Reads further where it must know which text is the longer one.
Shares share(Reading& first, Reading& second, std::size_t room);

}  // namespace fastbert::text
