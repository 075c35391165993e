#include "tokenizer/pre_tokenizers/pre_tokenizer.h"

#include <vector>

#include "tokenizer/pattern.h"
#include "tokenizer/pre_tokenizers/splitting.h"
#include "tokenizer/unicode/unicode.h"

namespace fastbert::text {
namespace {

class Unsplit : public PreTokenizer {
 public:
  void split(Pieces&, Pieces&) const override {}
};

// Calls `visit` with each character of a piece: its code point, start and end in the text.
template <typename Visit>
void for_each_character(const Pieces& pieces, const Span& span, const Visit& visit) {
  for (std::size_t at = span.begin; at < span.end;) {
    const std::size_t begin = at;
    const CodePoint code = next_code_point(pieces.text, at);
    visit(code, begin, at);
  }
}

// Splits at each character for which `is_match` holds.
template <bool (*kIsMatch)(CodePoint) noexcept>
class SplitAtCharacters : public PreTokenizer {
 public:
  explicit SplitAtCharacters(Behavior behavior) : behavior_(behavior) {}

  void split(Pieces& pieces, Pieces& spare) const override {
    spare.spans.clear();
    Splitter splitter(behavior_, spare.spans);
    for (const Span& span : pieces.spans) {
      splitter.start_piece();
      std::size_t rest = span.begin;  // start of the characters that do not match
      for_each_character(pieces, span, [&](CodePoint code, std::size_t begin, std::size_t end) {
        if (!kIsMatch(code)) return;
        splitter.add(rest, begin, false);
        splitter.add(begin, end, true);
        rest = end;
      });
      splitter.add(rest, span.end, false);
    }
    pieces.spans.swap(spare.spans);
  }

 private:
  Behavior behavior_;
};

using Kind = int;

// Splits where the kind of the characters changes. Characters of kind kSpace are left out; each of
// kind kAlone is a piece of its own.
template <Kind (*kKindOf)(CodePoint) noexcept>
class SplitAtKinds : public PreTokenizer {
 public:
  void split(Pieces& pieces, Pieces& spare) const override {
    spare.spans.clear();
    for (const Span& span : pieces.spans) {
      Kind current = kSpace;
      for_each_character(pieces, span, [&](CodePoint code, std::size_t begin, std::size_t end) {
        const Kind kind = kKindOf(code);
        if (kind != kSpace && kind == current && kind != kAlone) {
          spare.spans.back().end = end;
        } else if (kind != kSpace) {
          spare.spans.push_back({begin, end});
        }
        current = kind;
      });
    }
    pieces.spans.swap(spare.spans);
  }

  static constexpr Kind kSpace = 0;
  static constexpr Kind kAlone = 1;
};

// Kinds: 0 white space, 1 alone, 2 and 3 run together.
Kind bert_kind(CodePoint code) noexcept {
  if (code < 0x80) {
    if ((code | 0x20U) - 'a' < 26 || code - '0' < 10) return 2;
    return is_white_space(code) ? 0 : is_punctuation(code) ? 1 : 2;
  }
  return is_white_space(code) ? 0 : is_punctuation(code) ? 1 : 2;
}

Kind word_kind(CodePoint code) noexcept { return is_word(code) ? 2 : is_white_space(code) ? 0 : 3; }

class Split : public PreTokenizer {
 public:
  Split(std::unique_ptr<const Pattern> pattern, Behavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

  void split(Pieces& pieces, Pieces& spare) const override {
    spare.spans.clear();
    Splitter splitter(behavior_, spare.spans);
    for (const Span& span : pieces.spans) {
      splitter.start_piece();
      const std::string_view piece = pieces.piece(span);
      for (std::size_t at = 0; at < piece.size();) {
        const auto [begin, end] = pattern_->find(piece, at);
        splitter.add(span.begin + at, span.begin + begin, invert_);
        splitter.add(span.begin + begin, span.begin + end, !invert_);
        at = end;
      }
    }
    pieces.spans.swap(spare.spans);
  }

 private:
  std::unique_ptr<const Pattern> pattern_;
  Behavior behavior_;
  bool invert_;
};

class Sequence : public PreTokenizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<const PreTokenizer>> parts)
      : parts_(std::move(parts)) {}
  void split(Pieces& pieces, Pieces& spare) const override {
    for (const auto& part : parts_) part->split(pieces, spare);
  }

 private:
  std::vector<std::unique_ptr<const PreTokenizer>> parts_;
};

Behavior read_behavior(const Json& name) {
  if (name.string() == "Removed") return Behavior::kRemoved;
  if (name.string() == "Isolated") return Behavior::kIsolated;
  if (name.string() == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name.string() == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name.string() == "Contiguous") return Behavior::kContiguous;
  name.unsupported("is " + shown(name.string()) + ".");
}

// A Metaspace that marks only the start of the text must know where each piece was in it. That is
// known if it comes first, and nothing before it removes the start.
void check_start(const Json& metaspace, const Normalizer& normalizer, bool comes_first) {
  const auto scheme = metaspace.find("prepend_scheme");
  if (!scheme || scheme->string() != "first") return;
  if (!comes_first) scheme->unsupported("is \"first\" after another pre-tokenizer.");
  if (!normalizer.keeps_start()) {
    scheme->unsupported("is \"first\" after a normalizer that can remove the start of a text.");
  }
}

std::unique_ptr<const PreTokenizer> make(const Json& definition, const Normalizer& normalizer,
                                         bool comes_first) {
  const std::string& kind = definition.kind();
  if (kind == "BertPreTokenizer") return std::make_unique<SplitAtKinds<bert_kind>>();
  if (kind == "Whitespace") return std::make_unique<SplitAtKinds<word_kind>>();
  if (kind == "WhitespaceSplit") {
    return std::make_unique<SplitAtCharacters<is_white_space>>(Behavior::kRemoved);
  }
  if (kind == "Punctuation") {
    const auto behavior = definition.find("behavior");
    return std::make_unique<SplitAtCharacters<is_punctuation>>(behavior ? read_behavior(*behavior)
                                                                        : Behavior::kIsolated);
  }
  if (kind == "Digits") {
    const bool individual = definition.at("individual_digits").boolean();
    return std::make_unique<SplitAtCharacters<is_digit>>(individual ? Behavior::kIsolated
                                                                    : Behavior::kContiguous);
  }
  if (kind == "ByteLevel") return make_byte_level(definition);
  if (kind == "Metaspace") {
    check_start(definition, normalizer, comes_first);
    return make_metaspace(definition);
  }
  if (kind == "Split") {
    return std::make_unique<Split>(make_pattern(definition.at("pattern")),
                                   read_behavior(definition.at("behavior")),
                                   definition.boolean_or("invert", false));
  }
  if (kind == "Sequence") {
    std::vector<std::unique_ptr<const PreTokenizer>> parts;
    definition.at("pretokenizers").for_each_element([&](const Json& part) {
      parts.push_back(make(part, normalizer, comes_first && parts.empty()));
    });
    return std::make_unique<Sequence>(std::move(parts));
  }
  definition.unsupported("is a " + shown(kind) + ".");
}

}  // namespace

std::unique_ptr<const PreTokenizer> make_pre_tokenizer(const std::optional<Json>& definition,
                                                       const Normalizer& normalizer) {
  if (!definition) return std::make_unique<Unsplit>();
  return make(*definition, normalizer, true);
}

}  // namespace fastbert::text
