// Work on several threads.
#pragma once

#include <cstddef>
#include <functional>

namespace fastbert {

// Calls `work(0)` ... `work(count - 1)` on up to `threads` threads, the caller's included. Rethrows
// the exception of the lowest number, after all work has ended.
void parallel_for(std::size_t count, std::size_t threads,
                  const std::function<void(std::size_t)>& work);

}  // namespace fastbert
