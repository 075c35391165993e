#include "system/process_memory.h"

#include <charconv>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <system_error>

#include "system/lines.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace fastbert {

void return_freed_memory() noexcept {
#if defined(__GLIBC__)
  ::malloc_trim(0);
#endif
}

void release_mapped_pages(const std::vector<std::filesystem::path>& files) {
#if defined(__linux__)
  std::set<std::string, std::less<>> names;
  for (const std::filesystem::path& file : files) {
    std::error_code error;
    const std::filesystem::path real = std::filesystem::canonical(file, error);
    if (!error) names.insert(real.string());
  }
  for (const std::string& line : read_lines("/proc/self/maps")) {
    const std::size_t name = line.find('/');  // start-end rights offset device inode /path
    const std::size_t end_of_start = line.find('-');
    const std::size_t end_of_place = line.find(' ');
    if (name == std::string::npos || names.count(std::string_view(line).substr(name)) == 0)
      continue;
    std::uintptr_t start = 0;
    std::uintptr_t end = 0;
    std::from_chars(line.data(), line.data() + end_of_start, start, 16);
    std::from_chars(line.data() + end_of_start + 1, line.data() + end_of_place, end, 16);
    // Only where no page can hold what was written to it.
    const bool is_writable = line.size() > end_of_place + 2 && line[end_of_place + 2] == 'w';
    if (!is_writable) ::madvise(reinterpret_cast<void*>(start), end - start, MADV_DONTNEED);
  }
#else
  static_cast<void>(files);
#endif
}

}  // namespace fastbert
