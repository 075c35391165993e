#include "tokenizer/post_processor.h"

#include <utility>

namespace fastbert::text {
namespace {

using Part = Template::Part;
using Source = Template::Source;

Part special(std::int32_t id, std::int64_t type_id) { return {Source::kSpecial, id, type_id}; }
Part first(std::int64_t type_id) { return {Source::kFirst, 0, type_id}; }
Part second(std::int64_t type_id) { return {Source::kSecond, 0, type_id}; }

std::int32_t id_of(const Json& id) {
  return static_cast<std::int32_t>(id.unsigned_integer(INT32_MAX));
}

// ["[SEP]", 102]
std::int32_t id_of_named(const Json& named) {
  if (named.size() != 2) named.fail("is not a pair of a token and its id.");
  return id_of(named.element(1));
}

Templates without_special() { return {Template({first(0)}), Template({first(0), second(1)})}; }

Templates bert(const Json& definition) {
  const std::int32_t cls = id_of_named(definition.at("cls"));
  const std::int32_t sep = id_of_named(definition.at("sep"));
  return {Template({special(cls, 0), first(0), special(sep, 0)}),
          Template({special(cls, 0), first(0), special(sep, 0), second(1), special(sep, 1)})};
}

Templates roberta(const Json& definition) {
  const std::int32_t cls = id_of_named(definition.at("cls"));
  const std::int32_t sep = id_of_named(definition.at("sep"));
  return {Template({special(cls, 0), first(0), special(sep, 0)}),
          Template({special(cls, 0), first(0), special(sep, 0), special(sep, 0), second(0),
                    special(sep, 0)})};
}

void read_special(const Json& piece, const Json& tokens, std::vector<Part>& parts) {
  const Json name = piece.at("id");
  const auto token = tokens.find(name.string());
  if (!token) name.fail("is " + shown(name.string()) + ", which special_tokens does not have.");
  const std::int64_t type_id = piece.at("type_id").unsigned_integer();
  token->at("ids").for_each_element(
      [&](const Json& id) { parts.push_back(special(id_of(id), type_id)); });
}

void read_sequence(const Json& piece, bool is_pair, std::vector<Part>& parts) {
  const Json name = piece.at("id");
  const std::int64_t type_id = piece.at("type_id").unsigned_integer();
  if (name.string() == "A") {
    parts.push_back(first(type_id));
  } else if (name.string() == "B" && is_pair) {
    parts.push_back(second(type_id));
  } else {
    name.fail("is " + shown(name.string()) + (is_pair ? ", not A or B." : ", not A."));
  }
}

Template read_template(const Json& pieces, const Json& tokens, bool is_pair) {
  std::vector<Part> parts;
  pieces.for_each_element([&](const Json& piece) {
    if (const auto special_token = piece.find("SpecialToken")) {
      read_special(*special_token, tokens, parts);
    } else {
      read_sequence(piece.at("Sequence"), is_pair, parts);
    }
  });
  return Template(std::move(parts));
}

// A sequence: processors that change no ids, and at most one that does.
Templates read_all(const Json& processors) {
  std::optional<Templates> found;
  processors.for_each_element([&](const Json& processor) {
    if (processor.kind() == "ByteLevel") return;
    if (found) processor.unsupported("is a second one that adds tokens.");
    found = make_templates(processor);
  });
  return found ? *found : without_special();
}

}  // namespace

Template::Template(std::vector<Part> parts) : parts_(std::move(parts)) {
  for (const Part& part : parts_) special_ += part.source == Source::kSpecial ? 1 : 0;
}

Templates make_templates(const std::optional<Json>& definition) {
  if (!definition) return without_special();
  const std::string& kind = definition->kind();
  if (kind == "ByteLevel") return without_special();  // it changes only offsets
  if (kind == "BertProcessing") return bert(*definition);
  if (kind == "RobertaProcessing") return roberta(*definition);
  if (kind == "TemplateProcessing") {
    const Json tokens = definition->at("special_tokens");
    return {read_template(definition->at("single"), tokens, false),
            read_template(definition->at("pair"), tokens, true)};
  }
  if (kind == "Sequence") return read_all(definition->at("processors"));
  definition->unsupported("is a " + shown(kind) + ".");
}

}  // namespace fastbert::text
