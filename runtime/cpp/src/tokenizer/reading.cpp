#include "tokenizer/reading.h"

#include <algorithm>

#include "tokenizer/unicode/code_points.h"

namespace fastbert::text {
namespace {

// Most of one text that is read, in bytes. Only a text with next to no tokens, such as one word of
// half a megabyte, is read that far.
constexpr std::size_t kLongestRead = 500'000;
// Tokens read beyond the last one kept: the text after a cut can change how the end of the part
// before it is tokenized, at most the word that the cut is in.
constexpr std::size_t kMargin = 128;
constexpr std::size_t kBytesPerToken = 16;  // that most texts do not reach

std::size_t limit(std::size_t wanted, std::size_t whole) {
  return std::min({wanted, whole, kLongestRead});
}

}  // namespace

Reading::Reading(const Pipeline& pipeline, std::string_view text, std::size_t kept,
                 TruncationSide side, Memory& memory)
    : pipeline_(pipeline), text_(text), side_(side), memory_(memory) {
  const std::size_t enough = std::min(kept, kLongestRead) + kMargin;
  size_ = limit(enough * kBytesPerToken, text.size());
  read();
  while (ids_.size() < enough && can_grow()) grow();
}

bool Reading::can_grow() const { return !is_whole() && size_ < kLongestRead; }

void Reading::grow() {
  size_ = limit(size_ * 2, text_.size());
  read();
}

void Reading::read() {
  std::string_view part = text_;
  if (!is_whole()) {
    if (side_ == TruncationSide::kRight) {
      std::size_t end = size_;
      while (is_continuation(text_[end])) --end;
      part = text_.substr(0, end);
    } else {
      std::size_t begin = text_.size() - size_;
      while (is_continuation(text_[begin])) ++begin;
      part = text_.substr(begin);
    }
  }
  ids_.clear();
  pipeline_.tokenize(part, ids_, memory_);
}

Shares share(Reading& first, Reading& second, std::size_t room) {
  const auto count = [](const Reading& reading) { return reading.ids().size(); };
  const std::size_t half = room / 2;
  // A text with so few tokens has no more, or none that are read.
  if (count(first) <= half) {
    return {count(first), std::min(count(second), room - count(first))};
  }
  if (count(second) <= half) {
    return {std::min(count(first), room - count(second)), count(second)};
  }
  if (room % 2 == 0) return {half, half};
  // The longer text has the odd token; the second one if they are equal.
  const auto behind = [&]() -> Reading& { return count(first) > count(second) ? second : first; };
  while (behind().can_grow()) behind().grow();
  const std::size_t odd = room - half;
  const bool first_is_longer = count(first) > count(second);
  return {std::min(count(first), first_is_longer ? odd : half),
          std::min(count(second), first_is_longer ? half : odd)};
}

}  // namespace fastbert::text
