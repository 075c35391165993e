#include "tokenizer/decimal.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

namespace fastbert::text {
namespace {

constexpr int kLargestPower = 308;
constexpr std::int64_t kExponentLimit = 1'000'000;  // beyond it, every number is 0 or too large

// 10^exponent, correctly rounded.
double power_of_ten(int exponent) {
  std::array<char, 8> digits{};
  digits[0] = '1';
  digits[1] = 'e';
  const auto end = std::to_chars(digits.data() + 2, digits.data() + digits.size(), exponent);
  double power = 0;
  std::from_chars(digits.data(), end.ptr, power);
  return power;
}

bool is_digit(char character) { return character >= '0' && character <= '9'; }

}  // namespace

std::optional<double> parse_decimal(std::string_view number) {
  std::size_t at = 0;
  const bool negative = !number.empty() && number[0] == '-';
  if (negative) ++at;
  std::uint64_t digits = 0;
  std::int64_t exponent = 0;
  bool full = false;  // more digits do not fit, and are dropped
  const auto read_digits = [&](bool after_point) {
    for (; at < number.size() && is_digit(number[at]); ++at) {
      const auto digit = static_cast<std::uint64_t>(number[at] - '0');
      full = full || digits > (UINT64_MAX - digit) / 10;
      if (!full) digits = digits * 10 + digit;
      if (full && !after_point) ++exponent;
      if (!full && after_point) --exponent;
    }
  };
  read_digits(false);
  if (at < number.size() && number[at] == '.') {
    ++at;
    read_digits(true);
  }
  if (at < number.size() && (number[at] == 'e' || number[at] == 'E')) {
    ++at;
    const bool below = at < number.size() && number[at] == '-';
    if (at < number.size() && (number[at] == '-' || number[at] == '+')) ++at;
    std::int64_t value = 0;
    for (; at < number.size() && is_digit(number[at]); ++at) {
      if (value < kExponentLimit) value = value * 10 + (number[at] - '0');
    }
    exponent += below ? -value : value;
  }
  auto value = static_cast<double>(digits);
  while (exponent < -kLargestPower && value != 0) {
    value /= power_of_ten(kLargestPower);
    exponent += kLargestPower;
  }
  if (value != 0 && exponent > kLargestPower) return std::nullopt;
  if (value != 0 && exponent < 0) value /= power_of_ten(static_cast<int>(-exponent));
  if (value != 0 && exponent > 0) value *= power_of_ten(static_cast<int>(exponent));
  if (std::isinf(value)) return std::nullopt;
  return negative ? -value : value;
}

}  // namespace fastbert::text
