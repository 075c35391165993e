// Small text files of the system, such as those in /proc.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace fastbert {

// Returns a file's lines, without their ends; none where it cannot be read.
std::vector<std::string> read_lines(const std::filesystem::path& path);

// Cuts at every `separator`, into at most `most` parts.
std::vector<std::string_view> split(std::string_view text, char separator,
                                    std::size_t most = SIZE_MAX);

}  // namespace fastbert
