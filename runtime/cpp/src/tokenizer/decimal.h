// Decimal numbers as the library `tokenizers` reads them.
#pragma once

#include <optional>
#include <string_view>

namespace fastbert::text {

// Returns the value of a JSON number, or nothing if it is too large. Does not depend on the locale.
//
// `tokenizers` reads its files with serde_json, whose values can differ from the nearest double in
// the last bit: the digits as an integer, times or divided by a power of ten. Scores must be read
// in the same way, because a Unigram model compares sums of them.
std::optional<double> parse_decimal(std::string_view number);

}  // namespace fastbert::text
