#include "system/hardware.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <thread>

#include "system/cgroups.h"
#include "system/lines.h"

#if defined(__linux__)
#include <sched.h>
#endif

namespace fastbert {
namespace {

std::size_t affinity() {
#if defined(__linux__)
  // The mask of a machine with many processors needs more room than cpu_set_t has.
  for (std::size_t processors = 1024; processors <= std::size_t{1} << 20; processors *= 2) {
    cpu_set_t* set = CPU_ALLOC(processors);
    if (set == nullptr) break;
    const std::size_t bytes = CPU_ALLOC_SIZE(processors);
    const bool known = ::sched_getaffinity(0, bytes, set) == 0;
    const int count = known ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (known) return static_cast<std::size_t>(count);
  }
#endif
  return std::thread::hardware_concurrency();
}

#if defined(__x86_64__) || defined(_M_X64) || defined(__i386__) || defined(_M_IX86)
constexpr bool kIsX86 = true;
#else
constexpr bool kIsX86 = false;
#endif

// Each accumulates int8 products in 32 bits.
bool is_exact(std::string_view feature) {
  return feature == "avx_vnni" || feature == "avx512_vnni" || feature == "amx_int8";
}

}  // namespace

// From /proc/cpuinfo and not from the processor itself: the two differ where the kernel or a
// hypervisor turned a feature off.
bool int8_products_saturate(const std::filesystem::path& root) {
  if (!kIsX86) return false;
  for (const std::string& line : read_lines(root / "proc/cpuinfo")) {
    if (line.compare(0, 5, "flags") != 0) continue;
    const auto features = split(std::string_view(line).substr(line.find(':') + 1), ' ');
    return std::none_of(features.begin(), features.end(), is_exact);
  }
  return true;
}

std::size_t usable_cores(const std::filesystem::path& root) {
  return std::max<std::size_t>(1, std::min(affinity(), cpu_quota(root)));
}

}  // namespace fastbert
