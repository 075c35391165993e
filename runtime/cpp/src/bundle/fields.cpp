#include "bundle/fields.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace fastbert {
namespace {

// Whether a key needs no quotes in a path. Letters beyond ASCII are quoted.
bool is_plain(std::string_view key) {
  return !key.empty() && std::all_of(key.begin(), key.end(), [](char symbol) {
    return (symbol >= 'a' && symbol <= 'z') || (symbol >= 'A' && symbol <= 'Z') ||
           (symbol >= '0' && symbol <= '9') || symbol == '_' || symbol == '-';
  });
}

std::string shown_number(double value) {
  char digits[32];
  const auto end = std::to_chars(digits, digits + sizeof digits, value, std::chars_format::general);
  return std::string(digits, end.ptr);
}

}  // namespace

std::string Field::path() const {
  if (outer_ == nullptr) return {};
  std::string place = outer_->path();
  if (index_ != SIZE_MAX) return place + "[" + std::to_string(index_) + "]";
  if (!is_plain(name_)) return place + "[" + shown(name_) + "]";
  if (!place.empty()) place += '.';
  return place.append(name_);
}

void Field::fail(std::string_view expected) const {
  std::string place = path();
  if (place.empty()) place = "the document";
  throw Unfit(place + " is " + (value_ == nullptr ? "missing" : shown(*value_)) + "; expected " +
              std::string(expected));
}

Field Field::operator[](std::string_view name) const {
  for (const auto& [key, value] : *value_->as<JsonObject>()) {
    if (key == name) return {&value, this, key, SIZE_MAX};
  }
  return {nullptr, this, name, SIZE_MAX};
}

Field Field::item(std::size_t index) const {
  return {&(*value_->as<JsonList>())[index], this, {}, index};
}

const JsonObject& Field::object(std::string_view expected) const {
  if (is_missing() || value_->as<JsonObject>() == nullptr) fail(expected);
  return *value_->as<JsonObject>();
}

void Field::check_keys(std::string_view expected, bool (*fits)(std::string_view)) const {
  for (const auto& [key, value] : *value_->as<JsonObject>()) {
    if (!fits(key))
      member(key, value).fail("another key: " + shown(key) + " is not " + std::string(expected));
  }
}

const JsonList& Field::list(std::string_view expected, std::size_t least, std::size_t most) const {
  const JsonList* items = is_missing() ? nullptr : value_->as<JsonList>();
  if (items == nullptr || items->size() < least || items->size() > most) fail(expected);
  return *items;
}

std::int64_t Field::integer(std::int64_t low, std::int64_t high) const {
  const std::int64_t* value = is_missing() ? nullptr : value_->as<std::int64_t>();
  if (value == nullptr || *value < low || *value > high)
    fail("a whole number from " + std::to_string(low) + " to " + std::to_string(high));
  return *value;
}

double Field::number(double low, double high) const {
  if (!is_missing()) {
    double value = -HUGE_VAL;
    if (const auto* integer = value_->as<std::int64_t>()) value = static_cast<double>(*integer);
    if (const auto* integer = value_->as<std::uint64_t>()) value = static_cast<double>(*integer);
    if (const auto* real = value_->as<JsonFloat>()) value = real->value;
    if (value >= low && value <= high) return value;
  }
  fail("a number from " + shown_number(low) + " to " + shown_number(high));
}

bool Field::flag() const {
  const bool* value = is_missing() ? nullptr : value_->as<bool>();
  if (value == nullptr) fail("true or false");
  return *value;
}

const std::string& Field::text(std::string_view expected, bool (*fits)(std::string_view)) const {
  const std::string* value = is_missing() ? nullptr : value_->as<std::string>();
  if (value == nullptr || !fits(*value)) fail(expected);
  return *value;
}

}  // namespace fastbert
