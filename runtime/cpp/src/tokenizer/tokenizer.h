// Text to token ids, from a Hugging Face tokenizer.json.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace fastbert {

// The tokens of a text or of a pair of texts, special tokens included, without padding.
struct Encoding {
  std::vector<std::int64_t> ids;
  std::vector<std::int64_t> type_ids;
  bool truncated = false;
};

enum class TruncationSide { kRight, kLeft };

// Immutable after it was made: may be shared by threads.
class Tokenizer {
 public:
  // `json`: contents of a tokenizer.json.
  // Throws Unsupported (errors.h) for a kind of tokenizer that this library does not have, and BundleError for a
  // damaged file. Both name the part of the file, such as "pre_tokenizer.type".
  static std::unique_ptr<const Tokenizer> from_json(std::string_view json);
  virtual ~Tokenizer() = default;

  // Encodes UTF-8 `text`, and `pair` if it is not null, into at most `max_length` tokens; a pair is truncated longest
  // first. Replaces the contents of `encoding`, whose memory it reuses.
  // Throws UsageError if a text is not UTF-8 or `max_length` leaves no room for it.
  virtual void encode(std::string_view text, const std::string_view* pair, std::size_t max_length,
                      TruncationSide side, Encoding& encoding) const = 0;
};

}  // namespace fastbert
