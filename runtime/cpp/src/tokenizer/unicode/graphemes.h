// User-perceived characters: extended grapheme clusters (UAX #29).
#pragma once

#include <cstddef>
#include <string_view>

namespace fastbert::text {

// Returns the end of the grapheme that starts at `start`, which must be less than text.size().
std::size_t end_of_grapheme(std::string_view text, std::size_t start) noexcept;

}  // namespace fastbert::text
