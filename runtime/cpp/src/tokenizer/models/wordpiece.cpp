// WordPiece: the longest token that a word begins with, then the longest that the rest begins with,
// and so on.
#include <string>
#include <utility>

#include "tokenizer/models/model.h"
#include "tokenizer/models/trie.h"
#include "tokenizer/models/vocabulary.h"
#include "tokenizer/unicode/code_points.h"

namespace fastbert::text {
namespace {

class WordPiece : public Model {
 public:
  WordPiece(const Vocabulary& vocabulary, std::int32_t unknown, std::size_t longest_word,
            std::string_view prefix)
      : trie_(vocabulary),
        size_(vocabulary.size()),
        unknown_(unknown),
        longest_word_(longest_word),
        continuing_(trie_.walk(prefix)) {}

  void tokenize(std::string_view piece, std::vector<std::int64_t>& ids,
                ModelMemory&) const override {
    // A character has at least one byte.
    if (piece.size() > longest_word_ && count_code_points(piece) > longest_word_) {
      ids.push_back(unknown_);
      return;
    }
    const std::size_t known = ids.size();
    Trie::Node start = Trie::kRoot;
    for (std::size_t at = 0; at < piece.size(); start = continuing_) {
      std::int32_t longest = Trie::kNoValue;
      std::size_t end = at;
      Trie::Node node = start;
      for (std::size_t next = at; node != Trie::kNone && next < piece.size();) {
        node = trie_.step(node, piece[next++]);
        if (node != Trie::kNone && trie_.value(node) != Trie::kNoValue) {
          longest = trie_.value(node);
          end = next;
        }
      }
      if (longest == Trie::kNoValue) {
        ids.resize(known);
        ids.push_back(unknown_);
        return;
      }
      ids.push_back(longest);
      at = end;
    }
  }

  std::int32_t find(std::string_view token) const override { return trie_.find(token); }
  std::size_t size() const override { return size_; }

 private:
  Trie trie_;
  std::size_t size_;
  std::int32_t unknown_;
  std::size_t longest_word_;  // characters
  Trie::Node continuing_;     // where tokens that continue a word begin
};

}  // namespace

std::unique_ptr<const Model> make_wordpiece(const Json& definition) {
  const Vocabulary vocabulary = read_vocabulary(definition.at("vocab"));
  const Json name = definition.at("unk_token");
  std::int32_t unknown = Model::kNoToken;
  for (const auto& [token, id] : vocabulary) {
    if (token == name.string()) unknown = id;
  }
  if (unknown == Model::kNoToken) {
    name.fail("is " + shown(name.string()) + ", which is not in the vocabulary.");
  }
  return std::make_unique<WordPiece>(vocabulary, unknown,
                                     definition.at("max_input_chars_per_word").unsigned_integer(),
                                     definition.at("continuing_subword_prefix").string());
}

}  // namespace fastbert::text
