#include "tokenizer/added_tokens.h"

#include <algorithm>
#include <map>
#include <utility>

#include "tokenizer/unicode/unicode.h"

namespace fastbert::text {
namespace {

Trie make_trie(const std::vector<TokenFinder::Token>& tokens) {
  std::vector<std::pair<std::string_view, std::int32_t>> entries;
  for (std::size_t index = 0; index < tokens.size(); ++index) {
    entries.emplace_back(tokens[index].content, static_cast<std::int32_t>(index));
  }
  return Trie(std::move(entries));
}

}  // namespace

TokenFinder::TokenFinder(std::vector<Token> tokens)
    : tokens_(std::move(tokens)), trie_(make_trie(tokens_)) {
  for (const Token& token : tokens_) {
    if (!token.content.empty()) begins_[static_cast<unsigned char>(token.content[0])] = true;
  }
}

std::optional<TokenFinder::Match> TokenFinder::find(std::string_view text, std::size_t from) const {
  if (tokens_.empty()) return std::nullopt;
  for (std::size_t begin = from; begin < text.size(); ++begin) {
    if (!begins_[static_cast<unsigned char>(text[begin])]) continue;
    std::optional<Match> longest;
    Trie::Node node = Trie::kRoot;
    for (std::size_t at = begin; at < text.size();) {
      node = trie_.step(node, text[at++]);
      if (node == Trie::kNone) break;
      const std::int32_t index = trie_.value(node);
      if (index != Trie::kNoValue) longest = {begin, at, &tokens_[static_cast<std::size_t>(index)]};
    }
    if (longest) return longest;
  }
  return std::nullopt;
}

bool TokenFinder::stands_alone(std::string_view text, const Match& match) {
  std::size_t before = match.begin;
  if (before > 0 && is_word(previous_code_point(text, before))) return false;
  std::size_t after = match.end;
  return after == text.size() || !is_word(next_code_point(text, after));
}

std::size_t TokenFinder::skip_spaces_before(std::string_view text, std::size_t at,
                                            std::size_t first) {
  if (at <= first) return first;
  while (at > first) {
    std::size_t before = at;
    if (!is_white_space(previous_code_point(text, before))) break;
    at = before;
  }
  return at;
}

std::size_t TokenFinder::skip_spaces_after(std::string_view text, std::size_t at) {
  while (at < text.size()) {
    std::size_t after = at;
    if (!is_white_space(next_code_point(text, after))) break;
    at = after;
  }
  return at;
}

AddedTokens make_added_tokens(const std::optional<Json>& definition, const Model& model,
                              const Normalizer& normalizer) {
  struct Added {
    TokenFinder::Token token;
    bool normalized;
    std::size_t index;  // in the file
  };
  // By content: of tokens with the same content, the last one counts.
  std::map<std::string, Added> added;
  std::optional<std::int32_t> highest;
  const auto next_id = [&] {
    const auto size = static_cast<std::int32_t>(model.size());
    return highest && (*highest >= size || size == 0) ? *highest + 1 : size;
  };
  const auto read = [&](const Json& token, std::size_t index) {
    const std::string& content = token.at("content").string();
    if (content.empty()) return;
    const auto known = added.find(content);
    std::int32_t id = known != added.end() ? known->second.token.id : model.find(content);
    if (id == Model::kNoToken) {
      if (highest == INT32_MAX) token.fail("gets no id: the highest one is taken.");
      id = next_id();
    }
    highest = std::max(highest.value_or(id), id);
    added[content] = {{content, id, token.at("single_word").boolean(), token.at("lstrip").boolean(),
                       token.at("rstrip").boolean()},
                      token.at("normalized").boolean(),
                      index};
  };
  std::size_t count = 0;
  if (definition) definition->for_each_element([&](const Json& token) { read(token, count++); });

  std::vector<TokenFinder::Token> before;
  std::map<std::string, const Added*> after;
  for (const auto& [content, token] : added) {
    if (!token.normalized) {
      before.push_back(token.token);
      continue;
    }
    std::string normalized;
    normalizer.apply(content, normalized);
    if (normalized.empty()) continue;  // is never found
    const auto [same, is_new] = after.emplace(normalized, &token);
    if (!is_new) {
      // `tokenizers` takes one of them, a different one each time that it loads the file.
      definition->element(token.index)
          .unsupported("is " + shown(content) + ", which becomes " + shown(normalized) + " as " +
                       shown(same->second->token.content) + " does.");
    }
  }
  std::vector<TokenFinder::Token> normalized;
  for (const auto& [content, token] : after) {
    normalized.push_back(token->token);
    normalized.back().content = content;
  }
  return {TokenFinder(std::move(before)), TokenFinder(std::move(normalized))};
}

}  // namespace fastbert::text
