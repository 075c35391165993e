// Fields of a JSON document, read against what they must be. A field knows the path that led to it.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "bundle/json_value.h"

namespace fastbert {

// A document, or a value in it, is not what it must be. The message continues "PATH is damaged: ".
class Unfit : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A value of a document, or the absence of one. Valid while the document and the outer fields are.
class Field {
 public:
  // The document itself.
  explicit Field(const JsonValue& document) : value_(&document) {}

  // Null: the value is missing.
  const JsonValue* value() const noexcept { return value_; }
  bool is_missing() const noexcept { return value_ == nullptr; }
  bool is_missing_or_null() const noexcept {
    return is_missing() || value_->as<std::nullptr_t>() != nullptr;
  }

  // Throws Unfit: "PATH is FOUND; expected EXPECTED".
  [[noreturn]] void fail(std::string_view expected) const;

  // Returns a member of this object; missing if there is none. This must be an object (see
  // `object`).
  Field operator[](std::string_view name) const;
  // The same for a member that was found already.
  Field member(const std::string& name, const JsonValue& value) const {
    return {&value, this, name, SIZE_MAX};
  }
  // Returns an item of this list, by its number.
  Field item(std::size_t index) const;

  // Each returns the value, or throws Unfit if it is of another type or outside the range.
  const JsonObject& object(std::string_view expected) const;
  // Throws Unfit if a key of this object is not what a key must be. This must be an object.
  void check_keys(std::string_view expected, bool (*fits)(std::string_view)) const;
  const JsonList& list(std::string_view expected, std::size_t least,
                       std::size_t most = SIZE_MAX) const;
  std::int64_t integer(std::int64_t low, std::int64_t high) const;
  double number(double low, double high) const;
  bool flag() const;
  const std::string& text(std::string_view expected, bool (*fits)(std::string_view)) const;

 private:
  Field(const JsonValue* value, const Field* outer, std::string_view name, std::size_t index)
      : value_(value), outer_(outer), name_(name), index_(index) {}
  std::string path() const;

  const JsonValue* value_ = nullptr;
  const Field* outer_ = nullptr;
  std::string_view name_;         // of a member
  std::size_t index_ = SIZE_MAX;  // of an item; SIZE_MAX: it is a member
};

}  // namespace fastbert
