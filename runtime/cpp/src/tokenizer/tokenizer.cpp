#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <array>
#include <string>

#include "errors.h"
#include "tokenizer/json.h"
#include "tokenizer/pipeline.h"
#include "tokenizer/post_processor.h"
#include "tokenizer/reading.h"
#include "tokenizer/unicode/code_points.h"

namespace fastbert {
namespace {

using text::Template;

// Tokens of a text that are kept.
struct Kept {
  const std::int64_t* begin = nullptr;
  std::size_t count = 0;
};

Kept keep(const text::Reading& reading, std::size_t count, TruncationSide side) {
  const std::vector<std::int64_t>& ids = reading.ids();
  return {ids.data() + (side == TruncationSide::kRight ? 0 : ids.size() - count), count};
}

void check_utf8(std::string_view text, const char* which) {
  const std::size_t at = valid_utf8(text);
  if (at < text.size()) {
    throw UsageError(std::string(which) + " is not valid UTF-8 at byte " + std::to_string(at) +
                     " of " + std::to_string(text.size()) +
                     ". It was probably written in another encoding: convert it to UTF-8.");
  }
}

void check_room(std::size_t max_length, std::size_t least, std::size_t special, bool is_pair) {
  if (max_length >= least) return;
  throw UsageError("max_length is " + std::to_string(max_length) + ", which leaves no room for a " +
                   (is_pair ? "pair of texts" : "text") + " beside its " + std::to_string(special) +
                   " special tokens. Use " + std::to_string(least) + " or more.");
}

// Puts the kept tokens and the special ones together.
void assemble(const Template& form, const std::array<Kept, 2>& kept, std::size_t max_length,
              Encoding& encoding) {
  std::size_t total = form.special();
  for (const Template::Part& part : form.parts()) {
    if (part.source == Template::Source::kFirst) total += kept[0].count;
    if (part.source == Template::Source::kSecond) total += kept[1].count;
  }
  if (total > max_length) {
    throw UsageError("The tokenizer gives the text " + std::to_string(total) +
                     " tokens, more than the max_length of " + std::to_string(max_length) +
                     ". The post_processor in tokenizer.json repeats a text. Correct it.");
  }
  encoding.ids.reserve(total);
  encoding.type_ids.reserve(total);
  for (const Template::Part& part : form.parts()) {
    if (part.source == Template::Source::kSpecial) {
      encoding.ids.push_back(part.id);
      encoding.type_ids.push_back(part.type_id);
    } else {
      const Kept& text = kept[part.source == Template::Source::kFirst ? 0 : 1];
      encoding.ids.insert(encoding.ids.end(), text.begin, text.begin + text.count);
      encoding.type_ids.insert(encoding.type_ids.end(), text.count, part.type_id);
    }
  }
}

class JsonTokenizer : public Tokenizer {
 public:
  explicit JsonTokenizer(const text::Json& root)
      : pipeline_(root), templates_(text::make_templates(root.find("post_processor"))) {}

  void encode(std::string_view text, const std::string_view* pair, std::size_t max_length,
              TruncationSide side, Encoding& encoding) const override {
    encoding.ids.clear();
    encoding.type_ids.clear();
    encoding.truncated = false;
    if (pair == nullptr) {
      encode_single(text, max_length, side, encoding);
    } else {
      encode_pair(text, *pair, max_length, side, encoding);
    }
  }

 private:
  void encode_single(std::string_view text, std::size_t max_length, TruncationSide side,
                     Encoding& encoding) const {
    const std::size_t special = templates_.single.special();
    check_room(max_length, special + 1, special, false);
    check_utf8(text, "The text");
    const std::size_t room = max_length - special;
    text::Memory memory;
    const text::Reading reading(pipeline_, text, room, side, memory);
    const std::size_t count = std::min(reading.ids().size(), room);
    encoding.truncated = count < reading.ids().size() || !reading.is_whole();
    assemble(templates_.single, {keep(reading, count, side), {}}, max_length, encoding);
  }

  void encode_pair(std::string_view text, std::string_view pair, std::size_t max_length,
                   TruncationSide side, Encoding& encoding) const {
    const std::size_t special = templates_.pair.special();
    check_room(max_length, special + 2, special, true);
    check_utf8(text, "The first text");
    check_utf8(pair, "The second text");
    const std::size_t room = max_length - special;
    text::Memory memory;
    text::Reading first(pipeline_, text, room, side, memory);
    text::Reading second(pipeline_, pair, room, side, memory);
    const text::Shares shares = text::share(first, second, room);
    encoding.truncated = shares.first < first.ids().size() || !first.is_whole() ||
                         shares.second < second.ids().size() || !second.is_whole();
    assemble(templates_.pair, {keep(first, shares.first, side), keep(second, shares.second, side)},
             max_length, encoding);
  }

  text::Pipeline pipeline_;
  text::Templates templates_;
};

}  // namespace

std::unique_ptr<const Tokenizer> Tokenizer::from_json(std::string_view json) {
  const text::JsonDocument document(json);
  return std::make_unique<const JsonTokenizer>(document.root());
}

}  // namespace fastbert
