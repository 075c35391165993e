#include "system/lines.h"

#include "bundle/files.h"
#include "errors.h"

namespace fastbert {

std::vector<std::string> read_lines(const std::filesystem::path& path) {
  std::vector<std::string> lines;
  try {
    const std::string content = read_file(path);
    for (const std::string_view line : split(content, '\n')) lines.emplace_back(line);
  } catch (const Error&) {
    lines.clear();
  }
  return lines;
}

std::vector<std::string_view> split(std::string_view text, char separator, std::size_t most) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t end = parts.size() + 1 < most ? text.find(separator) : std::string_view::npos;
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

}  // namespace fastbert
