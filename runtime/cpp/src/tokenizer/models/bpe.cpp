// BPE: a word begins as characters; the neighbours that were learned first are merged first.
#include <algorithm>
#include <array>
#include <optional>
#include <string>

#include "tokenizer/models/byte_tokens.h"
#include "tokenizer/models/model.h"
#include "tokenizer/models/trie.h"
#include "tokenizer/models/vocabulary.h"
#include "tokenizer/unicode/code_points.h"

namespace fastbert::text {
namespace {

using Symbol = ModelMemory::Symbol;
using Merge = ModelMemory::Merge;

// A word of at most this many symbols is searched for its next merge from end to end; a longer one
// has a heap.
constexpr std::size_t kShortWord = 48;

// What two neighbours become: a rank, lower ones first, and the id of the merged token.
struct Merged {
  std::uint32_t rank;
  std::uint32_t id;
};
constexpr std::uint32_t kNoMerge = UINT32_MAX;

// Pairs of ids and what they become: a hash table with open addressing.
class Merges {
 public:
  explicit Merges(std::size_t count) {
    std::size_t size = 16;
    while (size < count * 2) size *= 2;
    entries_.resize(size);
  }

  void set(std::uint32_t left, std::uint32_t right, Merged merged) {
    std::size_t at = place(key(left, right));
    while (entries_[at].key != kEmpty && entries_[at].key != key(left, right)) at = next(at);
    entries_[at] = {key(left, right), merged};
  }

  // What the pair becomes; of rank kNoMerge if it is not merged.
  Merged find(std::uint32_t left, std::uint32_t right) const noexcept {
    const std::uint64_t wanted = key(left, right);
    for (std::size_t at = place(wanted);; at = next(at)) {
      if (entries_[at].key == wanted) return entries_[at].merged;
      if (entries_[at].key == kEmpty) return {kNoMerge, 0};
    }
  }

 private:
  static constexpr std::uint64_t kEmpty = UINT64_MAX;  // ids are at most INT32_MAX

  struct Entry {
    std::uint64_t key = kEmpty;
    Merged merged{kNoMerge, 0};
  };

  static std::uint64_t key(std::uint32_t left, std::uint32_t right) noexcept {
    return (static_cast<std::uint64_t>(left) << 32) | right;
  }
  std::size_t place(std::uint64_t key) const noexcept {
    return static_cast<std::size_t>((key * 0x9E3779B97F4A7C15U) >> 20) & (entries_.size() - 1);
  }
  std::size_t next(std::size_t at) const noexcept { return (at + 1) & (entries_.size() - 1); }

  std::vector<Entry> entries_;
};

struct Options {
  std::string continuing_prefix;
  std::string end_suffix;
  std::int32_t unknown = Model::kNoToken;  // kNoToken: unknown characters are dropped
  bool fuse_unknown = false;
  bool byte_fallback = false;
  bool ignore_merges = false;
};

// Lower ranks first, then what comes first in the word. For a heap, whose top is the greatest.
bool comes_later(const Merge& left, const Merge& right) noexcept {
  return left.rank != right.rank ? left.rank > right.rank : left.at > right.at;
}

class Bpe : public Model {
 public:
  Bpe(Trie trie, std::size_t size, Merges merges, Options options)
      : trie_(std::move(trie)),
        size_(size),
        merges_(std::move(merges)),
        options_(std::move(options)),
        bytes_(options_.byte_fallback ? find_byte_tokens(trie_) : ByteTokens{}) {}

  void tokenize(std::string_view piece, std::vector<std::int64_t>& ids,
                ModelMemory& memory) const override {
    if (options_.ignore_merges) {
      const std::int32_t whole = trie_.find(piece);
      if (whole != Trie::kNoValue) {
        ids.push_back(whole);
        return;
      }
    }
    std::vector<Symbol>& symbols = memory.symbols;
    symbols.clear();
    split(piece, symbols);
    if (symbols.size() <= kShortWord) {
      merge_short(symbols);
      for (const Symbol& symbol : symbols) ids.push_back(symbol.id);
    } else {
      merge_long(symbols, memory.merges);
      for (std::int32_t at = 0; at >= 0; at = symbols[index(at)].next) {
        ids.push_back(symbols[index(at)].id);
      }
    }
  }

  std::int32_t find(std::string_view token) const override { return trie_.find(token); }
  std::size_t size() const override { return size_; }

 private:
  static std::size_t index(std::int32_t at) noexcept { return static_cast<std::size_t>(at); }

  static void add(std::int32_t id, std::vector<Symbol>& symbols) {
    symbols.push_back({static_cast<std::uint32_t>(id), -1, -1});
  }

  // Appends the ids of the characters of a word.
  void split(std::string_view word, std::vector<Symbol>& symbols) const {
    std::string affixed;
    bool pending = false;  // an unknown character, whose token is not added yet
    for (std::size_t at = 0; at < word.size();) {
      std::string_view character = word.substr(at, length_of(word[at]));
      const bool continues = at > 0 && !options_.continuing_prefix.empty();
      at += character.size();
      const bool ends = at == word.size() && !options_.end_suffix.empty();
      if (continues || ends) {
        affixed.clear();
        if (continues) affixed += options_.continuing_prefix;
        affixed += character;
        if (ends) affixed += options_.end_suffix;
        character = affixed;
      }
      const std::int32_t id = trie_.find(character);
      if (id != Trie::kNoValue) {
        if (pending) add(options_.unknown, symbols);
        pending = false;
        add(id, symbols);
      } else if (options_.byte_fallback && bytes_.has_all(character)) {
        // A pending unknown token stays pending, as in `tokenizers`.
        for (const char byte : character) add(bytes_.of(byte), symbols);
      } else if (options_.unknown != kNoToken) {
        if (pending && !options_.fuse_unknown) add(options_.unknown, symbols);
        pending = true;
      }
    }
    if (pending) add(options_.unknown, symbols);
  }

  void merge_short(std::vector<Symbol>& symbols) const {
    std::array<Merged, kShortWord> pairs;  // pairs[at] is what `at` and `at` + 1 become
    std::size_t count = symbols.size();
    for (std::size_t at = 0; at + 1 < count; ++at) {
      pairs[at] = merges_.find(symbols[at].id, symbols[at + 1].id);
    }
    while (count > 1) {
      std::size_t best = 0;
      for (std::size_t at = 1; at + 1 < count; ++at) {
        if (pairs[at].rank < pairs[best].rank) best = at;
      }
      if (pairs[best].rank == kNoMerge) break;
      symbols[best].id = pairs[best].id;
      --count;
      for (std::size_t at = best + 1; at < count; ++at) {
        symbols[at] = symbols[at + 1];
        pairs[at - 1] = pairs[at];
      }
      if (best > 0) pairs[best - 1] = merges_.find(symbols[best - 1].id, symbols[best].id);
      if (best + 1 < count) pairs[best] = merges_.find(symbols[best].id, symbols[best + 1].id);
    }
    symbols.resize(count);
  }

  // Leaves the merged symbols linked from the first one.
  void merge_long(std::vector<Symbol>& symbols, std::vector<Merge>& heap) const {
    const auto count = static_cast<std::int32_t>(symbols.size());
    heap.clear();
    for (std::int32_t at = 0; at < count; ++at) {
      symbols[index(at)].previous = at - 1;
      symbols[index(at)].next = at + 1 < count ? at + 1 : -1;
    }
    const auto propose = [&](std::int32_t at) {
      const Symbol& left = symbols[index(at)];
      const Merged merged = merges_.find(left.id, symbols[index(left.next)].id);
      if (merged.rank == kNoMerge) return;
      heap.push_back({merged.rank, at, merged.id});
      std::push_heap(heap.begin(), heap.end(), comes_later);
    };
    for (std::int32_t at = 0; at + 1 < count; ++at) propose(at);
    while (!heap.empty()) {
      std::pop_heap(heap.begin(), heap.end(), comes_later);
      const Merge merge = heap.back();
      heap.pop_back();
      Symbol& left = symbols[index(merge.at)];
      if (left.id == kRemoved || left.next < 0) continue;
      Symbol& right = symbols[index(left.next)];
      // The neighbours may have changed since the merge was proposed.
      const Merged now = merges_.find(left.id, right.id);
      if (now.rank == kNoMerge || now.id != merge.id) continue;
      left.id = merge.id;
      left.next = right.next;
      right.id = kRemoved;
      if (left.next >= 0) symbols[index(left.next)].previous = merge.at;
      if (left.previous >= 0) propose(left.previous);
      if (left.next >= 0) propose(merge.at);
    }
  }

  static constexpr std::uint32_t kRemoved = UINT32_MAX;

  Trie trie_;
  std::size_t size_;
  Merges merges_;
  Options options_;
  ByteTokens bytes_;
};

// The two tokens of a merge, which older files write as one string.
std::pair<std::string_view, std::string_view> read_pair(const Json& merge) {
  if (!merge.is_string()) {
    if (merge.size() != 2) merge.fail("is not a pair of tokens.");
    return {merge.element(0).string(), merge.element(1).string()};
  }
  const std::string_view text = merge.string();
  const std::size_t space = text.find(' ');
  if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) {
    merge.fail("is " + shown(text) + ", not two tokens with a space between them.");
  }
  return {text.substr(0, space), text.substr(space + 1)};
}

Merges read_merges(const Json& definition, const Trie& trie, std::size_t prefix) {
  Merges merges(definition.size());
  std::uint32_t rank = 0;
  std::string merged;
  definition.for_each_element([&](const Json& merge) {
    if (merge.is_string() && merge.string().compare(0, 8, "#version") == 0) return;
    const auto [left, right] = read_pair(merge);
    const auto id_of = [&](std::string_view token) {
      const std::int32_t id = trie.find(token);
      if (id == Trie::kNoValue)
        merge.fail("has the token " + shown(token) + ", which is not in the vocabulary.");
      return static_cast<std::uint32_t>(id);
    };
    if (right.size() < prefix) merge.fail("has a token without the continuing_subword_prefix.");
    merged.assign(left).append(right.substr(prefix));
    const std::uint32_t left_id = id_of(left);
    const std::uint32_t right_id = id_of(right);
    merges.set(left_id, right_id, {rank++, id_of(merged)});
  });
  return merges;
}

}  // namespace

std::unique_ptr<const Model> make_bpe(const Json& definition) {
  const auto dropout = definition.find("dropout");
  if (dropout && dropout->number() != 0) dropout->unsupported("asks for random merges.");
  const Json vocab = definition.at("vocab");
  const Vocabulary vocabulary = read_vocabulary(vocab);
  Trie trie(vocabulary);
  Options options;
  options.continuing_prefix = definition.string_or("continuing_subword_prefix", "");
  options.end_suffix = definition.string_or("end_of_word_suffix", "");
  options.fuse_unknown = definition.boolean_or("fuse_unk", false);
  options.byte_fallback = definition.boolean_or("byte_fallback", false);
  options.ignore_merges = definition.boolean_or("ignore_merges", false);
  if (const auto unknown = definition.find("unk_token")) {
    options.unknown = trie.find(unknown->string());
    if (options.unknown == Trie::kNoValue) {
      unknown->fail("is " + shown(unknown->string()) + ", which is not in the vocabulary.");
    }
  }
  Merges merges = read_merges(definition.at("merges"), trie, options.continuing_prefix.size());
  return std::make_unique<Bpe>(std::move(trie), vocabulary.size(), std::move(merges),
                               std::move(options));
}

}  // namespace fastbert::text
