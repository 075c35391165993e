#include "tokenizer/models/model.h"

#include "tokenizer/models/vocabulary.h"

namespace fastbert::text {

Vocabulary read_vocabulary(const Json& definition) {
  Vocabulary vocabulary;
  definition.for_each_member([&](const std::string& token, const Json& id) {
    vocabulary.emplace_back(token, static_cast<std::int32_t>(id.unsigned_integer(INT32_MAX)));
  });
  return vocabulary;
}

namespace {

// The kind of a model of an older file, which does not name it.
std::string kind_by_fields(const Json& definition) {
  const auto vocab = definition.find("vocab");
  if (vocab && vocab->is_array()) return "Unigram";
  if (vocab && definition.find("merges")) return "BPE";
  if (vocab && definition.find("max_input_chars_per_word")) return "WordPiece";
  definition.unsupported("has no type.");
}

}  // namespace

std::unique_ptr<const Model> make_model(const Json& definition) {
  const auto named = definition.find("type");
  const std::string kind = named ? named->string() : kind_by_fields(definition);
  if (kind == "WordPiece") return make_wordpiece(definition);
  if (kind == "BPE") return make_bpe(definition);
  if (kind == "Unigram") return make_unigram(definition);
  definition.at("type").unsupported("is " + shown(kind) + ".");
}

}  // namespace fastbert::text
