// The C library's heap and mapped files, after engines were loaded.
#pragma once

#include <filesystem>
#include <vector>

namespace fastbert {

// Makes glibc return to the system the memory that loading used and freed; otherwise it keeps it.
void return_freed_memory() noexcept;

// Drops the resident pages of these files where this process has mapped them for reading. They are
// read from the disk again on the next access. ONNX Runtime 1.32 repacks the weights of a model's
// branches and keeps the mapping that it read them from (not reported upstream).
void release_mapped_pages(const std::vector<std::filesystem::path>& files);

}  // namespace fastbert
