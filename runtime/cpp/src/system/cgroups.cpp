#include "system/cgroups.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "system/lines.h"

namespace fastbert {
namespace {

using std::filesystem::path;

// Where a cgroup hierarchy is mounted.
struct Mount {
  path group;   // the group at the top of the mount
  path folder;  // that group's folder in the file system
};

struct Mounts {
  std::vector<Mount> unified;  // version 2
  std::vector<Mount> cpu;      // version 1, controller cpu
};

// Undoes how /proc/self/mountinfo writes white space and backslashes: \040.
std::string unescaped(std::string_view text) {
  std::string result;
  const auto octal = [&](std::size_t at, char highest) {
    return text[at] >= '0' && text[at] <= highest;
  };
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '\\' && text.size() - at > 3 && octal(at + 1, '3') && octal(at + 2, '7') &&
        octal(at + 3, '7')) {
      const int value = (text[at + 1] - '0') * 64 + (text[at + 2] - '0') * 8 + (text[at + 3] - '0');
      result += static_cast<char>(value);
      at += 3;
    } else {
      result += text[at];
    }
  }
  return result;
}

path under(const path& root, std::string_view absolute) {
  while (!absolute.empty() && absolute.front() == '/') absolute.remove_prefix(1);
  return absolute.empty() ? root : root / absolute;
}

Mounts read_mounts(const path& root) {
  Mounts mounts;
  for (const std::string& line : read_lines(root / "proc/self/mountinfo")) {
    const std::size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    const auto fields = split(std::string_view(line).substr(0, dash), ' ');
    const auto source = split(std::string_view(line).substr(dash + 3), ' ');
    if (fields.size() < 5) continue;
    std::vector<Mount>* hierarchy = nullptr;
    if (source[0] == "cgroup2") hierarchy = &mounts.unified;
    if (source[0] == "cgroup" && source.size() > 2) {
      const auto options = split(source[2], ',');
      if (std::find(options.begin(), options.end(), "cpu") != options.end())
        hierarchy = &mounts.cpu;
    }
    if (hierarchy != nullptr)
      hierarchy->push_back({path(unescaped(fields[3])), under(root, unescaped(fields[4]))});
  }
  if (mounts.unified.empty() && mounts.cpu.empty()) {  // the usual places
    mounts.unified.push_back({"/", root / "sys/fs/cgroup"});
    mounts.cpu.push_back({"/", root / "sys/fs/cgroup/cpu"});
  }
  return mounts;
}

// Returns this process's group in each hierarchy: controller -> path; the key of version 2 is "".
std::map<std::string, std::string, std::less<>> read_groups(const path& root) {
  std::map<std::string, std::string, std::less<>> groups;
  for (const std::string& line : read_lines(root / "proc/self/cgroup")) {
    const auto fields = split(line, ':', 3);  // number:controllers:path
    if (fields.size() < 3) continue;
    for (const std::string_view controller : split(fields[1], ','))
      groups[std::string(controller)] = fields[2];
  }
  return groups;
}

bool starts_with(const path& whole, const path& start) {
  return std::mismatch(whole.begin(), whole.end(), start.begin(), start.end()).second ==
         start.end();
}

// Returns the folder of a group and those of its parents, up to the top of its mount. A container
// may see its group under another name than the kernel reports; then only the top is returned.
std::vector<path> folders(const std::vector<Mount>& mounts, const path& group) {
  if (mounts.empty()) return {};
  path folder = mounts[0].folder;
  path top = folder;
  const bool leads_up = std::find(group.begin(), group.end(), path("..")) != group.end();
  for (const Mount& mount : mounts) {
    if (leads_up || !starts_with(group, mount.group)) continue;
    const path rest = group.lexically_relative(mount.group);
    const path inside = rest == "." ? mount.folder : mount.folder / rest;
    std::error_code error;
    if (std::filesystem::is_directory(inside, error)) {
      folder = inside;
      top = mount.folder;
      break;
    }
  }
  std::vector<path> result;
  for (; folder != top && folder.has_relative_path(); folder = folder.parent_path())
    result.push_back(folder);
  result.push_back(top);
  return result;
}

// Appends the numbers in a file; nothing where it cannot be read or holds anything else, such as
// "max".
void append_numbers(const path& file, std::vector<std::int64_t>& numbers) {
  std::vector<std::int64_t> found;
  for (const std::string& line : read_lines(file)) {
    for (const std::string_view part : split(line, ' ')) {
      if (part.empty()) continue;
      std::int64_t number = 0;
      const auto read = std::from_chars(part.data(), part.data() + part.size(), number);
      if (read.ec != std::errc() || read.ptr != part.data() + part.size()) return;
      found.push_back(number);
    }
  }
  numbers.insert(numbers.end(), found.begin(), found.end());
}

// Returns a quota as cores: microseconds of processor time per period.
std::size_t cores(const std::vector<std::int64_t>& quota_and_period) {
  if (quota_and_period.size() != 2) return SIZE_MAX;
  const std::int64_t quota = quota_and_period[0];
  const std::int64_t period = quota_and_period[1];
  if (quota < 0 || period <= 0) return SIZE_MAX;  // version 1 writes -1 for no quota
  return static_cast<std::size_t>(quota / period + (quota % period != 0 ? 1 : 0));
}

}  // namespace

std::size_t cpu_quota(const std::filesystem::path& root) {
  const Mounts mounts = read_mounts(root);
  const auto groups = read_groups(root);
  const auto group = [&](const char* controller) {
    const auto found = groups.find(controller);
    return found == groups.end() || found->second.empty() ? path("/") : path(found->second);
  };
  std::size_t least = SIZE_MAX;
  for (const path& folder : folders(mounts.unified, group(""))) {
    std::vector<std::int64_t> numbers;
    append_numbers(folder / "cpu.max", numbers);
    least = std::min(least, cores(numbers));
  }
  for (const path& folder : folders(mounts.cpu, group("cpu"))) {
    std::vector<std::int64_t> numbers;
    append_numbers(folder / "cpu.cfs_quota_us", numbers);
    append_numbers(folder / "cpu.cfs_period_us", numbers);
    least = std::min(least, cores(numbers));
  }
  return least;
}

}  // namespace fastbert
