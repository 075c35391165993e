#include "chain/micro_batches.h"

#include <algorithm>
#include <numeric>

namespace fastbert {
namespace {

constexpr std::size_t kTokens = 1024;  // of a batch, padding included

}  // namespace

std::vector<std::vector<std::size_t>> micro_batches(const std::vector<std::size_t>& lengths) {
  std::vector<std::size_t> order(lengths.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t one, std::size_t other) {
    return lengths[one] > lengths[other];
  });
  std::vector<std::vector<std::size_t>> batches;
  for (auto start = order.begin(); start != order.end();) {
    const std::size_t width =
        std::max<std::size_t>(1, lengths[*start]);  // the first row is the longest
    const std::size_t rows = std::min(std::max<std::size_t>(1, kTokens / width),
                                      static_cast<std::size_t>(order.end() - start));
    const auto stop = start + static_cast<std::ptrdiff_t>(rows);
    batches.emplace_back(start, stop);
    start = stop;
  }
  return batches;
}

}  // namespace fastbert
