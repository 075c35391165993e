#include "tokenizer/pattern.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "tokenizer/unicode/unicode.h"

namespace fastbert::text {
namespace {

constexpr std::string_view kByteLevel =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::uint32_t kUnlimited = UINT32_MAX;

class StringPattern : public Pattern {
 public:
  explicit StringPattern(std::string wanted) : wanted_(std::move(wanted)) {}

  std::pair<std::size_t, std::size_t> find(std::string_view text,
                                           std::size_t start) const override {
    const std::size_t at = text.find(wanted_, start);
    if (at == std::string_view::npos) return {text.size(), text.size()};
    return {at, at + wanted_.size()};
  }

 private:
  std::string wanted_;
};

// A set of characters, and how often one of them must come.
struct Atom {
  std::vector<std::pair<CodePoint, CodePoint>> ranges;
  bool white_space = false;      // \s is in the set
  bool not_white_space = false;  // \S is in the set
  bool negated = false;
  std::uint32_t least = 1;
  std::uint32_t most = 1;

  bool has(CodePoint code) const {
    const bool inside =
        (white_space && is_white_space(code)) || (not_white_space && !is_white_space(code)) ||
        std::any_of(ranges.begin(), ranges.end(),
                    [&](const auto& range) { return code >= range.first && code <= range.second; });
    return inside != negated;
  }
};

using Sequence = std::vector<Atom>;

class SimpleRegex : public Pattern {
 public:
  explicit SimpleRegex(std::vector<Sequence> alternatives)
      : alternatives_(std::move(alternatives)) {}

  std::pair<std::size_t, std::size_t> find(std::string_view text,
                                           std::size_t start) const override {
    for (std::size_t at = start; at < text.size(); next_code_point(text, at)) {
      for (const Sequence& sequence : alternatives_) {
        const auto end = match(text, at, sequence);
        if (end) return {at, *end};
      }
    }
    return {text.size(), text.size()};
  }

 private:
  // Where the sequence ends if it matches at `at`.
  static std::optional<std::size_t> match(std::string_view text, std::size_t at,
                                          const Sequence& sequence) {
    for (const Atom& atom : sequence) {
      std::uint32_t taken = 0;
      while (taken < atom.most && at < text.size()) {
        std::size_t next = at;
        if (!atom.has(next_code_point(text, next))) break;
        at = next;
        ++taken;
      }
      if (taken < atom.least) return std::nullopt;
    }
    return at;
  }

  std::vector<Sequence> alternatives_;
};

// Reads a regular expression; anything that it does not know is an error.
class Reader {
 public:
  Reader(std::string_view pattern, const Json& definition)
      : pattern_(pattern), definition_(definition) {}

  std::vector<Sequence> read() {
    std::vector<Sequence> alternatives(1);
    while (at_ < pattern_.size()) {
      if (pattern_[at_] == '|') {
        ++at_;
        alternatives.emplace_back();
      } else {
        alternatives.back().push_back(atom());
      }
    }
    for (const Sequence& sequence : alternatives) check(sequence);
    return alternatives;
  }

 private:
  [[noreturn]] void refuse() const {
    definition_.unsupported("is the regular expression " + shown(pattern_) + ".");
  }

  // Only the last atom may match a varying number of characters: then no match has to give any
  // back, and the time is linear. A sequence that matches nothing would match everywhere.
  void check(const Sequence& sequence) const {
    const auto varies = [](const Atom& atom) { return atom.least != atom.most; };
    if (sequence.empty() || std::any_of(sequence.begin(), sequence.end() - 1, varies) ||
        (sequence.size() == 1 && sequence[0].least == 0)) {
      refuse();
    }
  }

  CodePoint next() {
    if (at_ >= pattern_.size()) refuse();
    return next_code_point(pattern_, at_);
  }

  Atom atom() {
    Atom atom;
    const CodePoint code = next();
    if (code == '[') {
      brackets(atom);
    } else if (code == '\\') {
      escape(atom);
    } else if (code == '.') {
      atom.negated = true;
      atom.ranges.emplace_back('\n', '\n');
    } else if (code < 0x80 && std::string_view("(){}*+?^$]#").find(static_cast<char>(code)) !=
                                  std::string_view::npos) {
      refuse();
    } else {
      atom.ranges.emplace_back(code, code);
    }
    quantifier(atom);
    return atom;
  }

  // A character after a backslash.
  void escape(Atom& atom) {
    const CodePoint code = next();
    if (code == 's') {
      atom.white_space = true;
    } else if (code == 'S') {
      atom.not_white_space = true;
    } else if (code == 'n' || code == 't' || code == 'r') {
      const CodePoint control = code == 'n' ? '\n' : code == 't' ? '\t' : '\r';
      atom.ranges.emplace_back(control, control);
    } else if (is_punctuation(code) && code < 0x80) {
      atom.ranges.emplace_back(code, code);
    } else {
      refuse();
    }
  }

  void brackets(Atom& atom) {
    if (at_ < pattern_.size() && pattern_[at_] == '^') {
      atom.negated = true;
      ++at_;
    }
    bool empty = true;
    for (CodePoint code = next(); code != ']' || empty; code = next()) {
      // "[]" and "[[:" differ between kinds of regular expressions, and "&&" intersects.
      if (code == ']' || code == '[' || code == '&') refuse();
      empty = false;
      if (code == '\\') {
        escape(atom);
        if (at_ < pattern_.size() && pattern_[at_] == '-') refuse();
        continue;
      }
      CodePoint last = code;
      if (at_ + 1 < pattern_.size() && pattern_[at_] == '-' && pattern_[at_ + 1] != ']') {
        ++at_;
        last = next();
        if (last == '\\' || last == '[' || last < code) refuse();
      }
      atom.ranges.emplace_back(code, last);
    }
  }

  void quantifier(Atom& atom) {
    if (at_ >= pattern_.size()) return;
    switch (pattern_[at_]) {
      case '?':
        atom.least = 0;
        break;
      case '*':
        atom.least = 0;
        atom.most = kUnlimited;
        break;
      case '+':
        atom.most = kUnlimited;
        break;
      case '{':
        braces(atom);
        break;
      default:
        return;
    }
    ++at_;
    // "a+?" is not greedy, "a++" does not give back.
    if (at_ < pattern_.size() &&
        std::string_view("?*+{").find(pattern_[at_]) != std::string_view::npos) {
      refuse();
    }
  }

  // {n}, {n,} or {n,m}; ends at the closing brace.
  void braces(Atom& atom) {
    ++at_;
    atom.least = count();
    atom.most = atom.least;
    if (peek() == ',') {
      ++at_;
      atom.most = peek() == '}' ? kUnlimited : count();
    }
    if (peek() != '}' || atom.most < atom.least || atom.most == 0) refuse();
  }

  char peek() const { return at_ < pattern_.size() ? pattern_[at_] : '\0'; }

  std::uint32_t count() {
    constexpr std::uint32_t kMost = 1000;
    if (peek() < '0' || peek() > '9') refuse();
    std::uint32_t value = 0;
    for (; peek() >= '0' && peek() <= '9'; ++at_) {
      value = value * 10 + static_cast<std::uint32_t>(peek() - '0');
      if (value > kMost) refuse();
    }
    return value;
  }

  std::string_view pattern_;
  const Json& definition_;
  std::size_t at_ = 0;
};

}  // namespace

std::unique_ptr<const Pattern> make_pattern(const Json& definition) {
  if (const auto text = definition.find("String")) {
    if (text->string().empty()) text->unsupported("is empty.");
    return std::make_unique<StringPattern>(text->string());
  }
  const Json regex = definition.at("Regex");
  if (regex.string() == kByteLevel) return make_byte_level_pattern();
  return std::make_unique<SimpleRegex>(Reader(regex.string(), regex).read());
}

}  // namespace fastbert::text
