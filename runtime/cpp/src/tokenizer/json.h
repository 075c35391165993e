// tokenizer.json as a tree whose parts know where they are, so that errors name them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace fastbert::text {

// A value in a document. Refers to the document and, for its path, to the value that it was taken
// from: both must outlive it. Functions throw BundleError where the value is not what was asked
// for; the message begins with the value's path.
class Json {
 public:
  Json(const nlohmann::json& value, const Json* parent, std::string_view key, std::size_t index)
      : value_(&value), parent_(parent), key_(key), index_(index) {}

  // The member `key`. `at` requires it; `find` returns nothing if it is missing or null.
  Json at(std::string_view key) const;
  std::optional<Json> find(std::string_view key) const;

  bool is_null() const;
  bool is_string() const;
  bool is_array() const;
  const std::string& string() const;
  bool boolean() const;
  double number() const;
  // An integer from 0 to `largest`.
  std::uint32_t unsigned_integer(std::uint32_t largest = UINT32_MAX) const;

  bool boolean_or(std::string_view key, bool missing) const;
  std::string string_or(std::string_view key, std::string_view missing) const;

  std::size_t size() const;
  Json element(std::size_t index) const;
  void for_each_element(const std::function<void(const Json&)>& visit) const;
  void for_each_member(const std::function<void(const std::string&, const Json&)>& visit) const;

  // The value of `type`, which names the kind of a part.
  const std::string& kind() const { return at("type").string(); }

  // Where the value is, such as "pre_tokenizer.pretokenizers[1].type".
  std::string path() const;

  // Throw, naming this value's path. `problem` continues a sentence: "is 3, which ...".
  [[noreturn]] void fail(const std::string& problem) const;
  [[noreturn]] void unsupported(const std::string& problem) const;

 private:
  Json member(const nlohmann::json& value, std::string_view key) const {
    return Json(value, this, key, 0);
  }
  [[noreturn]] void fail_type(std::string_view wanted) const;

  const nlohmann::json* value_;
  const Json* parent_;
  std::string_view key_;
  std::size_t index_;
};

// A parsed file.
class JsonDocument {
 public:
  // Throws BundleError if `text` is not JSON.
  explicit JsonDocument(std::string_view text);
  ~JsonDocument();
  JsonDocument(const JsonDocument&) = delete;
  JsonDocument& operator=(const JsonDocument&) = delete;

  const Json& root() const { return *root_; }

 private:
  std::unique_ptr<nlohmann::json> value_;
  std::optional<Json> root_;
};

// `text` in quotes, for a message; of a long one, the start.
std::string shown(std::string_view text);

}  // namespace fastbert::text
