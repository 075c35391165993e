// Text to token ids, from a Hugging Face tokenizer.json.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace fastbert {

// The tokens of a text or of a pair of texts, special tokens included, without padding. Both lists
// have the same length; they are empty for a text without tokens where the tokenizer adds no
// special ones.
struct Encoding {
  std::vector<std::int64_t> ids;
  std::vector<std::int64_t> type_ids;  // as the file has them, also for a model with one type
  bool truncated = false;              // the text, or a text of the pair, has more tokens
};

// Which end of a long text is cut off.
enum class TruncationSide { kRight, kLeft };

// Gives the ids that the library `tokenizers` gives. Immutable after it was made: may be shared by
// threads.
class Tokenizer {
 public:
  // `json`: contents of a tokenizer.json, which are not needed after the call. Its settings for
  // truncation, padding and decoding are ignored. Throws Unsupported (errors.h) for a kind of
  // tokenizer that this library does not have, and BundleError for a damaged file. Both name the
  // part of the file, such as "pre_tokenizer.type"; the message of a BundleError begins with it and
  // leaves it to the caller to name the file.
  static std::unique_ptr<const Tokenizer> from_json(std::string_view json);
  virtual ~Tokenizer() = default;

  // Encodes UTF-8 `text`, and `pair` if it is not null, into at most `max_length` tokens; a pair is
  // truncated longest first. Replaces the contents of `encoding`, whose memory it reuses. A NUL in
  // a text is a character.
  //
  // All of a text is checked to be UTF-8, but only as much of a long one is read as gives the kept
  // tokens: at most 500,000 bytes, then the rest counts as truncated. Ids and types are not
  // compared with a model's vocabulary.
  //
  // Throws UsageError if a text is not UTF-8 or `max_length` leaves no room for a token of each.
  virtual void encode(std::string_view text, const std::string_view* pair, std::size_t max_length,
                      TruncationSide side, Encoding& encoding) const = 0;
};

}  // namespace fastbert
