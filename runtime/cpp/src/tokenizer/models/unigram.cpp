// Unigram: the tokens whose scores have the greatest sum.
#include <algorithm>
#include <limits>
#include <string>

#include "tokenizer/models/byte_tokens.h"
#include "tokenizer/models/model.h"
#include "tokenizer/models/trie.h"
#include "tokenizer/models/vocabulary.h"
#include "tokenizer/unicode/code_points.h"

namespace fastbert::text {
namespace {

constexpr double kUnknownPenalty = 10.0;  // below the lowest score

class Unigram : public Model {
 public:
  Unigram(const Vocabulary& vocabulary, std::vector<double> scores, std::int32_t unknown,
          bool byte_fallback)
      : trie_(vocabulary),
        scores_(std::move(scores)),
        unknown_(unknown),
        byte_fallback_(byte_fallback),
        bytes_(byte_fallback ? find_byte_tokens(trie_) : ByteTokens{}) {
    double lowest = std::numeric_limits<double>::infinity();
    for (const double score : scores_) lowest = score < lowest ? score : lowest;
    unknown_score_ = lowest - kUnknownPenalty;
  }

  void tokenize(std::string_view piece, std::vector<std::int64_t>& ids,
                ModelMemory& memory) const override {
    std::vector<Step>& steps = memory.steps;
    steps.assign(piece.size() + 1, {0.0, kUnreached, 0});
    find_best_path(piece, steps);
    // The path leads backwards. Unknown tokens beside each other are one.
    const std::size_t first = ids.size();
    std::size_t end = piece.size();
    while (end > 0) {
      std::size_t start = steps[end].start;
      if (steps[end].id == unknown_) {
        while (start > 0 && steps[start].id == unknown_) start = steps[start].start;
        add_unknown(piece.substr(start, end - start), ids);
      } else {
        ids.push_back(steps[end].id);
      }
      end = start;
    }
    std::reverse(ids.begin() + static_cast<std::ptrdiff_t>(first), ids.end());
  }

  std::int32_t find(std::string_view token) const override { return trie_.find(token); }
  std::size_t size() const override { return scores_.size(); }

 private:
  using Step = ModelMemory::Step;
  static constexpr std::size_t kUnreached = SIZE_MAX;

  // Sets, for the end of each character, the last token of the best path to it. Of equal ones the
  // first found counts.
  void find_best_path(std::string_view piece, std::vector<Step>& steps) const {
    for (std::size_t start = 0; start < piece.size();) {
      const double before = steps[start].score;
      const std::size_t character = length_of(piece[start]);
      bool has_character = false;
      Trie::Node node = Trie::kRoot;
      const auto reach = [&](std::size_t end, double score, std::int32_t id) {
        Step& step = steps[end];
        if (step.start == kUnreached || score > step.score) step = {score, start, id};
      };
      for (std::size_t end = start; end < piece.size();) {
        node = trie_.step(node, piece[end++]);
        if (node == Trie::kNone) break;
        const std::int32_t id = trie_.value(node);
        if (id == Trie::kNoValue) continue;
        reach(end, scores_[static_cast<std::size_t>(id)] + before, id);
        has_character = has_character || end - start == character;
      }
      if (!has_character) reach(start + character, unknown_score_ + before, unknown_);
      start += character;
    }
  }

  // Adds the ids of `text`, last first.
  void add_unknown(std::string_view text, std::vector<std::int64_t>& ids) const {
    const std::int32_t id = trie_.find(text);
    if (id == Trie::kNoValue && byte_fallback_ && bytes_.has_all(text)) {
      for (std::size_t at = text.size(); at > 0; --at) ids.push_back(bytes_.of(text[at - 1]));
    } else {
      ids.push_back(id == Trie::kNoValue ? unknown_ : id);
    }
  }

  Trie trie_;
  std::vector<double> scores_;
  std::int32_t unknown_;
  double unknown_score_ = 0;
  bool byte_fallback_;
  ByteTokens bytes_;
};

}  // namespace

std::unique_ptr<const Model> make_unigram(const Json& definition) {
  const Json vocab = definition.at("vocab");
  Vocabulary vocabulary;
  std::vector<double> scores;
  vocab.for_each_element([&](const Json& entry) {
    if (entry.size() != 2) entry.fail("is not a pair of a token and its score.");
    vocabulary.emplace_back(entry.element(0).string(), static_cast<std::int32_t>(scores.size()));
    scores.push_back(entry.element(1).number());
  });
  const auto unknown = definition.find("unk_id");
  if (!unknown) definition.fail("has no unk_id, so it fails on unknown words.");
  if (scores.empty()) vocab.fail("is empty.");
  const std::uint32_t id = unknown->unsigned_integer(static_cast<std::uint32_t>(scores.size() - 1));
  return std::make_unique<Unigram>(vocabulary, std::move(scores), static_cast<std::int32_t>(id),
                                   definition.boolean_or("byte_fallback", false));
}

}  // namespace fastbert::text
