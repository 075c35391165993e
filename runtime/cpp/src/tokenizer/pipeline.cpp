#include "tokenizer/pipeline.h"

#include <string>

namespace fastbert::text {

Pipeline::Pipeline(const Json& root)
    : normalizer_(make_normalizer(root.find("normalizer"))),
      pre_tokenizer_(make_pre_tokenizer(root.find("pre_tokenizer"), *normalizer_)),
      model_(make_model(root.at("model"))),
      added_(make_added_tokens(root.find("added_tokens"), *model_, *normalizer_)) {}

void Pipeline::tokenize(std::string_view text, std::vector<std::int64_t>& ids,
                        Memory& memory) const {
  added_.before.split(
      text, [&](std::int32_t id) { ids.push_back(id); },
      [&](std::size_t start, std::string_view part) {
        tokenize_part(part, start == 0, ids, memory);
      });
}

void Pipeline::tokenize_part(std::string_view text, bool at_start, std::vector<std::int64_t>& ids,
                             Memory& memory) const {
  std::string normalized;
  normalizer_->apply(text, normalized);
  added_.after.split(
      normalized, [&](std::int32_t id) { ids.push_back(id); },
      [&](std::size_t start, std::string_view part) {
        Pieces& pieces = memory.pieces;
        pieces.text.assign(part);
        pieces.spans.assign(1, {0, part.size()});
        pieces.at_start = at_start && start == 0;
        pre_tokenizer_->split(pieces, memory.spare);
        for (const Span& span : pieces.spans) {
          model_->tokenize(pieces.piece(span), ids, memory.model);
        }
      });
}

}  // namespace fastbert::text
