#include "utf8.h"

#include <algorithm>

namespace fastbert {
namespace {

bool is_continuation(char byte) noexcept {
  return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

// Returns the bytes of the code point that `text`, which is not empty, begins with; 0 if it is not
// valid.
std::size_t code_point_size(std::string_view text) noexcept {
  const auto first = static_cast<unsigned char>(text[0]);
  if (first < 0x80) return 1;
  const std::size_t size = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < size) return 0;
  const auto second = static_cast<unsigned char>(text[1]);
  const bool overlong = (first == 0xE0 && second < 0xA0) || (first == 0xF0 && second < 0x90);
  const bool surrogate = first == 0xED && second > 0x9F;
  const bool too_large = first == 0xF4 && second > 0x8F;
  if (overlong || surrogate || too_large) return 0;
  return std::all_of(text.begin() + 1, text.begin() + static_cast<std::ptrdiff_t>(size),
                     is_continuation)
             ? size
             : 0;
}

}  // namespace

std::size_t valid_utf8(std::string_view text) noexcept {
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t size = code_point_size(text.substr(at));
    if (size == 0) break;
    at += size;
  }
  return at;
}

std::string to_valid_utf8(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const std::size_t valid = valid_utf8(text);
    result.append(text.substr(0, valid));
    text.remove_prefix(valid);
    if (!text.empty()) {
      result += "\xEF\xBF\xBD";
      text.remove_prefix(1);
    }
  }
  return result;
}

std::string as_paragraph(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  std::string result;
  while (!text.empty()) {
    const std::size_t end = text.find_first_of("\r\n");
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    line.remove_prefix(std::min(line.find_first_not_of(kSpace), line.size()));
    line = line.substr(0, line.find_last_not_of(kSpace) + 1);
    if (!line.empty()) result.append(result.empty() ? "" : " ").append(line);
  }
  return result;
}

std::size_t count_code_points(std::string_view text) noexcept {
  const auto continuations = std::count_if(text.begin(), text.end(), is_continuation);
  return text.size() - static_cast<std::size_t>(continuations);
}

}  // namespace fastbert
