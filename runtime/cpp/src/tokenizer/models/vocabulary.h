// The tokens of a vocabulary with their ids.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizer/json.h"

namespace fastbert::text {

// Ids are 0 or more. Tokens refer to the document that they were read from.
using Vocabulary = std::vector<std::pair<std::string_view, std::int32_t>>;

// Reads an object of token -> id.
Vocabulary read_vocabulary(const Json& definition);

}  // namespace fastbert::text
