// Metaspace: spaces become a visible character, and a piece begins at each.
#include "tokenizer/pre_tokenizers/pre_tokenizer.h"
#include "tokenizer/unicode/code_points.h"

namespace fastbert::text {
namespace {

enum class Prepend { kAlways, kFirst, kNever };

class Metaspace : public PreTokenizer {
 public:
  Metaspace(std::string replacement, Prepend prepend, bool split)
      : replacement_(std::move(replacement)), prepend_(prepend), split_(split) {}

  void split(Pieces& pieces, Pieces& spare) const override {
    spare.text.clear();
    spare.spans.clear();
    for (const Span& span : pieces.spans) {
      const std::size_t begin = spare.text.size();
      const std::string_view piece = pieces.piece(span);
      const bool marked = piece[0] == ' ' || piece.substr(0, replacement_.size()) == replacement_;
      if (!marked && prepends(pieces, span)) spare.text.append(replacement_);
      for (std::size_t at = 0; at < piece.size();) {
        const std::size_t space = std::min(piece.find(' ', at), piece.size());
        spare.text.append(piece.substr(at, space - at));
        if (space < piece.size()) spare.text.append(replacement_);
        at = space + 1;
      }
      add_spans(spare, begin);
    }
    pieces.text.swap(spare.text);
    pieces.spans.swap(spare.spans);
  }

 private:
  bool prepends(const Pieces& pieces, const Span& span) const {
    return prepend_ == Prepend::kAlways ||
           (prepend_ == Prepend::kFirst && pieces.at_start && span.begin == 0);
  }

  // Adds the pieces of the text from `begin` on: each begins with the replacement, except that the
  // first need not.
  void add_spans(Pieces& pieces, std::size_t begin) const {
    const std::size_t end = pieces.text.size();
    while (begin < end) {
      std::size_t next = split_ ? pieces.text.find(replacement_, begin + 1) : end;
      if (next == std::string::npos) next = end;
      pieces.spans.push_back({begin, next});
      begin = next;
    }
  }

  std::string replacement_;
  Prepend prepend_;
  bool split_;
};

}  // namespace

std::unique_ptr<const PreTokenizer> make_metaspace(const Json& definition) {
  const Json replacement = definition.at("replacement");
  const std::string& text = replacement.string();
  if (text.empty() || length_of(text[0]) != text.size()) {
    replacement.fail("is " + shown(text) + ", not one character.");
  }
  const std::string scheme = definition.string_or("prepend_scheme", "always");
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    definition.at("prepend_scheme").unsupported("is " + shown(scheme) + ".");
  }
  // Older files have `add_prefix_space`, which must agree.
  if (!definition.boolean_or("add_prefix_space", true) && scheme != "never") {
    definition.at("add_prefix_space")
        .fail("is false, but prepend_scheme is " + shown(scheme) + ".");
  }
  const Prepend prepend = scheme == "always"  ? Prepend::kAlways
                          : scheme == "first" ? Prepend::kFirst
                                              : Prepend::kNever;
  return std::make_unique<Metaspace>(text, prepend, definition.boolean_or("split", true));
}

}  // namespace fastbert::text
