// What the processor can do, and how many cores this process may use.
#pragma once

#include <cstddef>
#include <filesystem>

namespace fastbert {

// Returns whether sums of uint8 x int8 products may saturate in 16 bits, as on x86 processors
// without VNNI. An x86 processor whose features are unknown counts as one without.
bool int8_products_saturate(const std::filesystem::path& root = "/");

// Returns the cores that this process may use: its affinity mask, limited by its container's CPU
// quota; at least 1. Not the cores of the machine: a thread pool larger than this makes every
// engine slower.
//
// root: where proc and sys are; another one in tests.
std::size_t usable_cores(const std::filesystem::path& root = "/");

}  // namespace fastbert
