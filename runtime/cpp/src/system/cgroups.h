// The CPU quota of this process's control groups (Linux).
#pragma once

#include <cstddef>
#include <filesystem>

namespace fastbert {

// Returns the smallest CPU quota, in cores and rounded up, of this process's cgroups (version 1 or
// 2) and of all their parents; SIZE_MAX without one.
//
// root: where proc and sys are; another one in tests.
std::size_t cpu_quota(const std::filesystem::path& root);

}  // namespace fastbert
