// Tokens that are found in a text before anything else happens to it.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/json.h"
#include "tokenizer/models/model.h"
#include "tokenizer/models/trie.h"
#include "tokenizer/normalizers/normalizer.h"

namespace fastbert::text {

// Finds tokens in a text: from left to right, of several the longest. Immutable; may be shared by
// threads.
class TokenFinder {
 public:
  struct Token {
    std::string content;  // what is looked for
    std::int32_t id;
    bool single_word;
    bool left_strip;
    bool right_strip;
  };

  explicit TokenFinder(std::vector<Token> tokens);

  // Calls `visit_token` with the id of each token, and `visit_text` with the start and the text of
  // each part between them that is not empty, in order.
  template <typename VisitToken, typename VisitText>
  void split(std::string_view text, const VisitToken& visit_token,
             const VisitText& visit_text) const {
    std::size_t rest = 0;
    std::size_t from = 0;
    while (const std::optional<Match> match = find(text, from)) {
      from = match->end;
      const Token& token = *match->token;
      if (token.single_word && !stands_alone(text, *match)) continue;
      const std::size_t begin =
          token.left_strip ? skip_spaces_before(text, match->begin, rest) : match->begin;
      if (rest < begin) visit_text(rest, text.substr(rest, begin - rest));
      visit_token(token.id);
      // Up to `rest`, the text is white space if an earlier token took it.
      rest = token.right_strip ? skip_spaces_after(text, std::max(match->end, rest)) : match->end;
    }
    if (rest < text.size()) visit_text(rest, text.substr(rest));
  }

 private:
  struct Match {
    std::size_t begin;
    std::size_t end;
    const Token* token;
  };

  std::optional<Match> find(std::string_view text, std::size_t from) const;
  static bool stands_alone(std::string_view text, const Match& match);
  // Where the white space before `at` begins, at the earliest at `first`.
  static std::size_t skip_spaces_before(std::string_view text, std::size_t at, std::size_t first);
  // Where the white space from `at` on ends.
  static std::size_t skip_spaces_after(std::string_view text, std::size_t at);

  std::vector<Token> tokens_;
  Trie trie_;                       // content -> index of its token
  std::array<bool, 256> begins_{};  // bytes with which a token begins
};

// The added tokens of a tokenizer: those that are looked for before a text is normalized, and those
// after.
struct AddedTokens {
  TokenFinder before;
  TokenFinder after;
};

// Reads the added tokens of a tokenizer.json, and gives them ids as `tokenizers` does: a token of
// the model keeps its id; others get the next free one, whatever the file says.
AddedTokens make_added_tokens(const std::optional<Json>& definition, const Model& model,
                              const Normalizer& normalizer);

}  // namespace fastbert::text
