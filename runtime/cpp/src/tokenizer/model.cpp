#include "tokenizer/model.h"

#include "tokenizer/vocabulary.h"

namespace fastbert::text {

Vocabulary read_vocabulary(const Json& definition) {
  Vocabulary vocabulary;
  definition.for_each_member([&](const std::string& token, const Json& id) {
    vocabulary.emplace_back(token, static_cast<std::int32_t>(id.unsigned_integer(INT32_MAX)));
  });
  return vocabulary;
}

std::unique_ptr<const Model> make_model(const Json& definition) {
  // Older files do not name the kind.
  const auto named = definition.find("type");
  if (!named) definition.unsupported("has no type.");
  const std::string& kind = named->string();
  if (kind == "WordPiece") return make_wordpiece(definition);
  if (kind == "BPE") return make_bpe(definition);
  if (kind == "Unigram") return make_unigram(definition);
  named->unsupported("is " + shown(kind) + ".");
}

}  // namespace fastbert::text
