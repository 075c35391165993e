#include "bundle/texts.h"

#include <algorithm>

namespace fastbert {
namespace {

constexpr std::size_t kLongestPointName = 64;

bool is_letter(char symbol) {
  return (symbol >= 'a' && symbol <= 'z') || (symbol >= 'A' && symbol <= 'Z');
}

}  // namespace

bool is_not_empty(std::string_view text) { return !text.empty(); }

bool is_name(std::string_view text) {
  return !text.empty() && text != "." && text != ".." &&
         text.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
}

// Parts joined by /. None is empty, "." or "..", and none is special on Windows: a drive, a
// backslash.
bool is_path(std::string_view text) {
  if (text.size() >= 2 && is_letter(text[0]) && text[1] == ':') return false;
  while (true) {
    const std::size_t end = text.find('/');
    if (!is_name(text.substr(0, end))) return false;
    if (end == std::string_view::npos) return true;
    text.remove_prefix(end + 1);
  }
}

bool is_point_name(std::string_view text) {
  return !text.empty() && text.size() <= kLongestPointName && is_letter(text[0]) &&
         std::all_of(text.begin(), text.end(), [](char symbol) {
           return is_letter(symbol) || (symbol >= '0' && symbol <= '9') || symbol == '_' ||
                  symbol == '-';
         });
}

bool is_sha256(std::string_view text) {
  return text.size() == 64 &&
         text.find_first_not_of("0123456789abcdefABCDEF") == std::string_view::npos;
}

std::string to_lower_hex(std::string digits) {
  for (char& digit : digits) {
    if (digit >= 'A' && digit <= 'F') digit = static_cast<char>(digit - 'A' + 'a');
  }
  return digits;
}

}  // namespace fastbert
