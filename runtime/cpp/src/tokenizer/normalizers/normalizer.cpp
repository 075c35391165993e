#include "tokenizer/normalizers/normalizer.h"

#include <vector>

#include "errors.h"
#include "tokenizer/pattern.h"
#include "tokenizer/unicode/normal_form.h"
#include "tokenizer/unicode/unicode.h"

namespace fastbert::text {
namespace {

// A file can ask for replacements that grow without end.
constexpr std::size_t kLongestText = 64U << 20;  // bytes

void check_length(const std::string& text) {
  if (text.size() > kLongestText) {
    throw UsageError("The normalizer in tokenizer.json makes more than " +
                     std::to_string(kLongestText) +
                     " bytes of the text. Shorten what it replaces characters by.");
  }
}

class Unchanged : public Normalizer {
 public:
  void apply(std::string_view text, std::string& result) const override { result.append(text); }
  bool keeps_start() const override { return true; }
};

class NormalForm : public Normalizer {
 public:
  NormalForm(bool compatibility, bool compose) : compatibility_(compatibility), compose_(compose) {}
  void apply(std::string_view text, std::string& result) const override {
    normalize(text, compatibility_, compose_, result);
  }
  bool keeps_start() const override { return true; }

 private:
  bool compatibility_;
  bool compose_;
};

class Lowercase : public Normalizer {
 public:
  void apply(std::string_view text, std::string& result) const override {
    result.reserve(result.size() + text.size());
    for (std::size_t at = 0; at < text.size();) {
      const CodePoint code = next_code_point(text, at);
      if (code == kDottedCapitalI) {
        result.append(kDottedCapitalILower);
      } else {
        append(result, to_lower(code));
      }
    }
  }
  bool keeps_start() const override { return true; }
};

class StripAccents : public Normalizer {
 public:
  void apply(std::string_view text, std::string& result) const override {
    for (std::size_t at = 0; at < text.size();) {
      const CodePoint code = next_code_point(text, at);
      if (!is_combining_mark(code)) append(result, code);
    }
  }
};

class Strip : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  void apply(std::string_view text, std::string& result) const override {
    std::size_t begin = 0;
    for (std::size_t at = 0;
         left_ && at < text.size() && is_white_space(next_code_point(text, at));) {
      begin = at;
    }
    std::size_t end = text.size();
    for (std::size_t at = end;
         right_ && at > begin && is_white_space(previous_code_point(text, at));) {
      end = at;
    }
    result.append(text.substr(begin, end - begin));
  }
  bool keeps_start() const override { return !left_; }

 private:
  bool left_;
  bool right_;
};

// Removes control characters and makes spaces of others, as the rule set nmt of SentencePiece.
class Nmt : public Normalizer {
 public:
  void apply(std::string_view text, std::string& result) const override {
    for (std::size_t at = 0; at < text.size();) {
      const CodePoint code = next_code_point(text, at);
      if (!is_removed(code)) append(result, is_space(code) ? ' ' : code);
    }
  }

 private:
  static bool is_removed(CodePoint code) {
    return (code >= 0x01 && code <= 0x08) || code == 0x0B || (code >= 0x0E && code <= 0x1F) ||
           code == 0x7F || code == 0x8F || code == 0x9F;
  }
  static bool is_space(CodePoint code) {
    return code == 0x09 || code == 0x0A || code == 0x0C || code == 0x0D || code == 0x1680 ||
           (code >= 0x200B && code <= 0x200F) || code == 0x2028 || code == 0x2029 ||
           code == 0x2581 || code == 0xFEFF || code == 0xFFFD;
  }
};

class Prepend : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  void apply(std::string_view text, std::string& result) const override {
    if (!text.empty()) result.append(prefix_);
    result.append(text);
    check_length(result);
  }
  bool keeps_start() const override { return true; }

 private:
  std::string prefix_;
};

class Replace : public Normalizer {
 public:
  Replace(std::unique_ptr<const Pattern> pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void apply(std::string_view text, std::string& result) const override {
    for (std::size_t at = 0; at < text.size();) {
      const auto [begin, end] = pattern_->find(text, at);
      result.append(text.substr(at, begin - at));
      if (begin < text.size()) result.append(content_);
      check_length(result);
      at = end;
    }
  }
  bool keeps_start() const override { return !content_.empty(); }

 private:
  std::unique_ptr<const Pattern> pattern_;
  std::string content_;
};

class Sequence : public Normalizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<const Normalizer>> parts)
      : parts_(std::move(parts)) {}
  void apply(std::string_view text, std::string& result) const override {
    if (parts_.empty()) {
      result.append(text);
      return;
    }
    std::string current;
    std::string next;
    for (std::size_t index = 0; index + 1 < parts_.size(); ++index) {
      next.clear();
      parts_[index]->apply(index == 0 ? text : current, next);
      current.swap(next);
    }
    parts_.back()->apply(parts_.size() == 1 ? text : current, result);
  }
  bool keeps_start() const override {
    for (const auto& part : parts_) {
      if (!part->keeps_start()) return false;
    }
    return true;
  }

 private:
  std::vector<std::unique_ptr<const Normalizer>> parts_;
};

}  // namespace

std::unique_ptr<const Normalizer> make_normalizer(const std::optional<Json>& definition) {
  if (!definition) return std::make_unique<Unchanged>();
  const std::string& kind = definition->kind();
  if (kind == "BertNormalizer") return make_bert_normalizer(*definition);
  if (kind == "Precompiled") return make_precompiled_normalizer(*definition);
  if (kind == "NFC") return std::make_unique<NormalForm>(false, true);
  if (kind == "NFD") return std::make_unique<NormalForm>(false, false);
  if (kind == "NFKC") return std::make_unique<NormalForm>(true, true);
  if (kind == "NFKD") return std::make_unique<NormalForm>(true, false);
  if (kind == "Lowercase") return std::make_unique<Lowercase>();
  if (kind == "StripAccents") return std::make_unique<StripAccents>();
  if (kind == "Nmt") return std::make_unique<Nmt>();
  if (kind == "Strip") {
    return std::make_unique<Strip>(definition->at("strip_left").boolean(),
                                   definition->at("strip_right").boolean());
  }
  if (kind == "Prepend") return std::make_unique<Prepend>(definition->at("prepend").string());
  if (kind == "Replace") {
    return std::make_unique<Replace>(make_pattern(definition->at("pattern")),
                                     definition->at("content").string());
  }
  if (kind == "Sequence") {
    std::vector<std::unique_ptr<const Normalizer>> parts;
    definition->at("normalizers").for_each_element([&](const Json& part) {
      parts.push_back(make_normalizer(part));
    });
    return std::make_unique<Sequence>(std::move(parts));
  }
  definition->unsupported("is a " + shown(kind) + ".");
}

}  // namespace fastbert::text
