#include "tokenizer/json.h"

#include <nlohmann/json.hpp>

#include "errors.h"
#include "tokenizer/decimal.h"
#include "tokenizer/unicode/code_points.h"

namespace fastbert::text {
namespace {

constexpr std::size_t kDeepest = 127;  // levels, as serde_json reads
constexpr int kNumberTooLarge = 406;   // nlohmann's number of an error
constexpr std::size_t kLongestShown = 60;

// Builds the tree. Differs from nlohmann's own builder in how it reads fractions, in its limit on
// nesting, and in that it refuses a key that an object has twice.
class Builder : public nlohmann::json::json_sax_t {
 public:
  explicit Builder(nlohmann::json& root) : root_(root) {}

  std::string problem;

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(value); }
  bool number_unsigned(number_unsigned_t value) override { return put(value); }
  bool number_float(number_float_t, const string_t& digits) override {
    const std::optional<double> value = parse_decimal(digits);
    return value ? put(*value) : stop("has the number " + digits + ", which is too large");
  }
  bool string(string_t& value) override { return put(std::move(value)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(nlohmann::json::object()); }
  bool key(string_t& value) override {
    if (open_.back()->contains(value))
      return stop("has the key " + shown(value) + " twice in an object");
    key_ = std::move(value);
    return true;
  }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(nlohmann::json::array()); }
  bool end_array() override { return close(); }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception& error) override {
    if (error.id == kNumberTooLarge) {
      return stop("has a number that is too large before byte " + std::to_string(position));
    }
    return stop("is not JSON from byte " + std::to_string(position == 0 ? 0 : position - 1) +
                " on");
  }

 private:
  nlohmann::json* place(nlohmann::json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    nlohmann::json& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    return &(parent[key_] = std::move(value));
  }
  template <typename Value>
  bool put(Value&& value) {
    place(nlohmann::json(std::forward<Value>(value)));
    return true;
  }
  bool open(nlohmann::json container) {
    if (open_.size() == kDeepest) return stop("is nested too deeply");
    open_.push_back(place(std::move(container)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }
  bool stop(std::string reason) {
    if (problem.empty()) problem = std::move(reason);
    return false;
  }

  nlohmann::json& root_;
  std::vector<nlohmann::json*> open_;
  std::string key_;
};

}  // namespace

std::string shown(std::string_view text) {
  std::size_t end = text.size();
  if (end > kLongestShown) {
    end = kLongestShown;
    while (end > 0 && is_continuation(text[end])) --end;
  }
  return "\"" + std::string(text.substr(0, end)) + (end < text.size() ? "...\"" : "\"");
}

Json Json::at(std::string_view key) const {
  if (!value_->is_object()) fail_type("an object");
  const auto found = value_->find(key);
  if (found == value_->end()) fail("has no " + shown(key) + ".");
  return member(*found, key);
}

std::optional<Json> Json::find(std::string_view key) const {
  if (!value_->is_object()) fail_type("an object");
  const auto found = value_->find(key);
  if (found == value_->end() || found->is_null()) return std::nullopt;
  return member(*found, key);
}

bool Json::is_null() const { return value_->is_null(); }
bool Json::is_string() const { return value_->is_string(); }
bool Json::is_array() const { return value_->is_array(); }

const std::string& Json::string() const {
  if (!value_->is_string()) fail_type("a string");
  return value_->get_ref<const std::string&>();
}

bool Json::boolean() const {
  if (!value_->is_boolean()) fail_type("true or false");
  return value_->get<bool>();
}

double Json::number() const {
  if (!value_->is_number()) fail_type("a number");
  return value_->get<double>();
}

std::uint32_t Json::unsigned_integer(std::uint32_t largest) const {
  if (!value_->is_number_unsigned()) fail_type("an integer of 0 or more");
  const auto value = value_->get<std::uint64_t>();
  if (value > largest) {
    fail("is " + std::to_string(value) + ", more than " + std::to_string(largest) + ".");
  }
  return static_cast<std::uint32_t>(value);
}

bool Json::boolean_or(std::string_view key, bool missing) const {
  const auto found = find(key);
  return found ? found->boolean() : missing;
}

std::string Json::string_or(std::string_view key, std::string_view missing) const {
  const auto found = find(key);
  return found ? found->string() : std::string(missing);
}

std::size_t Json::size() const {
  if (!value_->is_array()) fail_type("an array");
  return value_->size();
}

Json Json::element(std::size_t index) const {
  if (index >= size()) fail("has " + std::to_string(size()) + " elements, fewer than expected.");
  return Json((*value_)[index], this, {}, index);
}

void Json::for_each_element(const std::function<void(const Json&)>& visit) const {
  const std::size_t count = size();
  for (std::size_t index = 0; index < count; ++index) visit(element(index));
}

void Json::for_each_member(
    const std::function<void(const std::string&, const Json&)>& visit) const {
  if (!value_->is_object()) fail_type("an object");
  for (const auto& item : value_->items()) visit(item.key(), member(item.value(), item.key()));
}

std::string Json::path() const {
  if (parent_ == nullptr) return {};
  std::string path = parent_->path();
  if (parent_->is_array()) return path + "[" + std::to_string(index_) + "]";
  if (!path.empty()) path += ".";
  return path + std::string(key_);
}

void Json::fail(const std::string& problem) const {
  const std::string where = path();
  throw BundleError((where.empty() ? "The document" : where) + " " + problem);
}

void Json::fail_type(std::string_view wanted) const {
  const std::string found = value_->is_object()  ? "an object"
                            : value_->is_array() ? "an array"
                                                 : shown(value_->dump());
  fail("is " + found + ", not " + std::string(wanted) + ".");
}

void Json::unsupported(const std::string& problem) const {
  throw Unsupported("tokenizer.json has a part that the C library does not have: " + path() + " " +
                    problem + " Tokenize with another library, and pass ids.");
}

JsonDocument::JsonDocument(std::string_view text) : value_(std::make_unique<nlohmann::json>()) {
  Builder builder(*value_);
  const bool parsed = nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
  if (!parsed) throw BundleError("The document " + builder.problem + ".");
  root_.emplace(*value_, nullptr, std::string_view{}, 0);
}

JsonDocument::~JsonDocument() = default;

}  // namespace fastbert::text
