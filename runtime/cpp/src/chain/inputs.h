// A caller's token ids, checked and converted to the arrays that the engines take.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bundle/manifest.h"
#include "fastbert.h"

namespace fastbert {

// A batch as the engines take it: [rows, sequence] each, padded on the right.
struct Inputs {
  std::vector<std::int64_t> ids;
  std::vector<std::int64_t> mask;
  std::vector<std::int64_t> types;
  std::size_t rows = 0;
  std::size_t sequence = 0;
  bool single_row = false;  // one row without padding, which an engine may run in one call

  // Makes room for a batch; keeps memory that is there already.
  void resize(std::size_t new_rows, std::size_t new_sequence);
  // Sets a row to these tokens, and to padding behind them.
  void fill_row(std::size_t row, const std::vector<std::int64_t>& row_ids,
                const std::vector<std::int64_t>& row_types, std::int64_t pad);
};

// Reads a batch into `inputs`, whose memory it reuses. A row alone loses the padding at its end.
// Throws UsageError: a null pointer, an unknown type, an id out of range, a sequence that is too
// long or has no token.
void read_inputs(const Manifest& manifest, const fastbert_batch& batch, Inputs& inputs);

// Returns `speed`, or the bundle's for FASTBERT_DEFAULT_SPEED, in float32, the type in which
// uncertainties are computed and compared. Throws UsageError if it is not in [0, 1].
float checked_speed(const Manifest& manifest, double speed);

}  // namespace fastbert
