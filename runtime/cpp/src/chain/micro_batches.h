// Texts of similar length run together.
#pragma once

#include <cstddef>
#include <vector>

namespace fastbert {

// Cuts rows into batches of similar length, longest first, of at most about 1,024 tokens with their
// padding (studies/reports/batches.json). A longer row is a batch by itself.
//
// lengths: of each row, in tokens. Returns the numbers of each batch's rows; every row is in one.
std::vector<std::vector<std::size_t>> micro_batches(const std::vector<std::size_t>& lengths);

}  // namespace fastbert
