#include "json.h"

#include <charconv>
#include <cmath>

std::string json_string(std::string_view text) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string result = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      result += {'\\', c};
    } else if (byte < 0x20) {
      result += {'\\', 'u', '0', '0', kDigits[byte >> 4], kDigits[byte & 15]};
    } else {
      result += c;
    }
  }
  return result += '"';
}

std::string json_number(float value) {
  if (!std::isfinite(value)) return "null";
  char digits[32];
  const auto end =
      std::to_chars(digits, digits + sizeof digits, value).ptr;  // in every locale with a point
  return {digits, end};
}
