// What texts in a manifest must be.
#pragma once

#include <string>
#include <string_view>

namespace fastbert {

// In words, for messages.
constexpr std::string_view kPath =
    "the path of a file inside the bundle, its parts joined by /, such as fp32/stage_00.onnx";
constexpr std::string_view kName = "a name without slashes, such as fp32";
constexpr std::string_view kPointName = "a letter, then at most 63 letters, digits, _ or -";
constexpr std::string_view kSha256 = "64 hexadecimal digits";
constexpr std::string_view kNotEmpty = "a string that is not empty";

bool is_path(std::string_view text);
bool is_name(std::string_view text);
// Of an operating point. No number is one.
bool is_point_name(std::string_view text);
bool is_sha256(std::string_view text);
bool is_not_empty(std::string_view text);

// Returns hexadecimal digits in lower case.
std::string to_lower_hex(std::string digits);

}  // namespace fastbert
