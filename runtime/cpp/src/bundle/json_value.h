// A parsed JSON document.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace fastbert {

class JsonValue;

// A number without a fraction or an exponent that fits in neither int64 nor uint64 is kept as
// `double`, but is an integer where a message shows it.
struct JsonFloat {
  double value;
  std::string text;  // as it is written in the document
};

using JsonList = std::vector<JsonValue>;
// In the order of the document; no key twice.
using JsonObject = std::vector<std::pair<std::string, JsonValue>>;

class JsonValue {
 public:
  using Content = std::variant<std::nullptr_t, bool, std::int64_t, std::uint64_t, JsonFloat,
                               std::string, JsonList, JsonObject>;

  JsonValue() : content(nullptr) {}
  explicit JsonValue(Content given) : content(std::move(given)) {}

  // Returns the content if it is of this type, otherwise null.
  template <typename Type>
  const Type* as() const noexcept {
    return std::get_if<Type>(&content);
  }

  Content content;
};

// Parses a JSON object in UTF-8 from an untrusted writer. Nests at most 64 lists and objects.
//
// Throws Unfit (fields.h) with the reason: not UTF-8, not JSON, not an object, a key twice.
JsonObject parse_json_object(std::string_view content);

// Returns a value as JSON, shortened in the middle if it is long.
std::string shown(const JsonValue& value);
std::string shown(std::string_view text);

}  // namespace fastbert
