#include "bundle/json_value.h"

#include <charconv>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_set>

#include "bundle/fields.h"
#include "system/utf8.h"

namespace fastbert {
namespace {

constexpr std::size_t kDeepest = 64;  // nested lists and objects: they are destroyed by recursion
constexpr std::size_t kShown = 80;    // code points of a value in a message

// Builds a JsonValue from the events of nlohmann's parser, which keeps the order of keys and sees
// repeated ones.
class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return add(JsonValue()); }
  bool boolean(bool value) override { return add(JsonValue(value)); }
  bool number_integer(std::int64_t value) override { return add(JsonValue(value)); }
  bool number_unsigned(std::uint64_t value) override {
    if (value <= INT64_MAX) return add(JsonValue(static_cast<std::int64_t>(value)));
    return add(JsonValue(value));
  }
  // The value is read again from its text: nlohmann reads it by the locale of the process.
  bool number_float(double, const std::string& text) override {
    std::string plain = text;
    for (char& symbol : plain) {
      if (std::string_view("0123456789+-eE").find(symbol) == std::string_view::npos) symbol = '.';
    }
    double value = 0;
    const auto read = std::from_chars(plain.data(), plain.data() + plain.size(), value);
    if (read.ec != std::errc())
      value = 0;  // too small for a double; nlohmann refuses what is too large
    return add(JsonValue(JsonFloat{value, std::move(plain)}));
  }
  bool string(std::string& value) override { return add(JsonValue(std::move(value))); }
  bool binary(nlohmann::json::binary_t&) override { return false; }

  bool start_object(std::size_t) override { return open(JsonValue(JsonObject())); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(JsonValue(JsonList())); }
  bool end_array() override { return close(); }

  bool key(std::string& name) override {
    Open& last = open_.back();
    if (!last.keys.insert(name).second && !repeated_) repeated_ = name;
    last.key = std::move(name);
    return true;
  }

  bool parse_error(std::size_t, const std::string&,
                   const nlohmann::json::exception& error) override {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: ...", which may end within
    // a code point.
    const std::string message = to_valid_utf8(error.what());
    const std::size_t end = message.find("] ");
    problem_ =
        "it is not JSON (" + (end == std::string::npos ? message : message.substr(end + 2)) + ")";
    return false;
  }

  const std::string& problem() const { return problem_; }
  const std::optional<std::string>& repeated() const { return repeated_; }
  JsonValue& root() { return root_; }

 private:
  struct Open {
    JsonValue value;
    std::string key;
    std::unordered_set<std::string> keys;
  };

  bool add(JsonValue value) {
    if (open_.empty()) {
      root_ = std::move(value);
    } else if (auto* list = std::get_if<JsonList>(&open_.back().value.content)) {
      list->push_back(std::move(value));
    } else {
      std::get<JsonObject>(open_.back().value.content)
          .emplace_back(std::move(open_.back().key), std::move(value));
    }
    return true;
  }

  bool open(JsonValue value) {
    if (open_.size() == kDeepest) {
      problem_ = "it nests more than " + std::to_string(kDeepest) + " lists and objects";
      return false;
    }
    open_.push_back({std::move(value), {}, {}});
    return true;
  }

  bool close() {
    JsonValue value = std::move(open_.back().value);
    open_.pop_back();
    return add(std::move(value));
  }

  JsonValue root_;
  std::vector<Open> open_;
  std::string problem_;
  std::optional<std::string> repeated_;
};

void append_string(std::string_view text, std::string& out) {
  static constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  for (const char symbol : text) {
    switch (symbol) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default: {
        const auto byte = static_cast<unsigned char>(symbol);
        if (byte < 0x20) {
          out += "\\u00";
          out += kHex[byte >> 4];
          out += kHex[byte & 15];
        } else {
          out += symbol;
        }
      }
    }
  }
  out += '"';
}

void append(const JsonValue& value, std::string& out);

struct Append {
  std::string& out;

  void operator()(std::nullptr_t) const { out += "null"; }
  void operator()(bool value) const { out += value ? "true" : "false"; }
  void operator()(std::int64_t value) const { out += std::to_string(value); }
  void operator()(std::uint64_t value) const { out += std::to_string(value); }
  void operator()(const JsonFloat& value) const { out += value.text; }
  void operator()(const std::string& value) const { append_string(value, out); }
  void operator()(const JsonList& list) const {
    const char* before = "[";
    for (const JsonValue& item : list) {
      out += before;
      append(item, out);
      before = ", ";
    }
    out += list.empty() ? "[]" : "]";
  }
  void operator()(const JsonObject& object) const {
    const char* before = "{";
    for (const auto& [key, item] : object) {
      out += before;
      append_string(key, out);
      out += ": ";
      append(item, out);
      before = ", ";
    }
    out += object.empty() ? "{}" : "}";
  }
};

void append(const JsonValue& value, std::string& out) { std::visit(Append{out}, value.content); }

// Returns where code point `number` of valid UTF-8 begins.
std::size_t code_point(std::string_view text, std::size_t number) {
  std::size_t at = 0;
  for (std::size_t seen = 0; at < text.size(); ++at) {
    if ((static_cast<unsigned char>(text[at]) & 0xC0) != 0x80 && seen++ == number) break;
  }
  return at;
}

std::string shortened(std::string text) {
  const std::size_t size = count_code_points(text);
  if (size <= kShown) return text;
  const std::size_t half = (kShown - 5) / 2;
  return text.substr(0, code_point(text, half)) + " ... " +
         text.substr(code_point(text, size - half));
}

}  // namespace

JsonObject parse_json_object(std::string_view content) {
  if (content.empty()) throw Unfit("it is empty");
  if (content.substr(0, 3) == "\xEF\xBB\xBF")
    throw Unfit("it starts with a byte order mark, which JSON does not allow");
  const std::size_t valid = valid_utf8(content);
  if (valid < content.size()) {
    char hex[2];
    const auto byte = static_cast<unsigned char>(content[valid]);
    std::to_chars(hex, hex + 2, byte, 16);  // at least 0x80: two digits
    throw Unfit("byte " + std::to_string(valid + 1) + " (0x" + std::string(hex, 2) +
                ") is not UTF-8");
  }
  Builder builder;
  if (!nlohmann::json::sax_parse(content.begin(), content.end(), &builder))
    throw Unfit(builder.problem());
  auto* object = std::get_if<JsonObject>(&builder.root().content);
  if (object == nullptr) throw Unfit("it is " + shown(builder.root()) + ", not an object");
  if (builder.repeated())
    throw Unfit("the field " + shown(*builder.repeated()) + " is repeated in its object");
  return std::move(*object);
}

std::string shown(const JsonValue& value) {
  std::string text;
  append(value, text);
  return shortened(std::move(text));
}

std::string shown(std::string_view text) {
  std::string result;
  append_string(text, result);
  return shortened(std::move(result));
}

}  // namespace fastbert
