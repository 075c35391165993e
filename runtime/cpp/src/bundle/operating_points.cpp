#include "bundle/operating_points.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "bundle/fields.h"
#include "bundle/json_value.h"
#include "bundle/manifest.h"
#include "bundle/sha256.h"
#include "bundle/texts.h"
#include "errors.h"

namespace fastbert {
namespace {

constexpr std::string_view kExampleTarget = "--min-agreement 0.99";
constexpr std::size_t kMostWords = 4;  // in the name of a kind of target
constexpr std::size_t kLongestWord = 20;
constexpr std::size_t kLongestNumber = 32;

// Words of lower-case letters with one _ between them, such as max_drop: a kind of target.
bool is_target_kind(std::string_view text) {
  for (std::size_t words = 1; words <= kMostWords; ++words) {
    const std::string_view word = text.substr(0, text.find('_'));
    if (word.empty() || word.size() > kLongestWord ||
        !std::all_of(word.begin(), word.end(), [](char one) { return one >= 'a' && one <= 'z'; }))
      return false;
    if (word.size() == text.size()) return true;
    text.remove_prefix(word.size() + 1);
  }
  return false;
}

// Returns a member of an object; null where it has none, or `value` is null or no object.
const JsonValue* member_of(const JsonValue* value, std::string_view name) {
  const bool is_object = value != nullptr && value->as<JsonObject>() != nullptr;
  return is_object ? Field(*value)[name].value() : nullptr;
}

// Returns a number as the document has it; empty where it is none, or none that a person wrote.
std::string number_text(const JsonValue* value) {
  if (value == nullptr) return {};
  if (const auto* whole = value->as<std::int64_t>()) return std::to_string(*whole);
  const auto* real = value->as<JsonFloat>();
  return real != nullptr && real->text.size() <= kLongestNumber ? real->text : std::string();
}

// Returns what a point was tuned for, as options of `fastbert tune`; empty where its informative
// members do not say.
std::string target_options(const Field& point) {
  const JsonValue* target = point["target"].value();
  const JsonValue* kind = member_of(target, "kind");
  const auto* name = kind == nullptr ? nullptr : kind->as<std::string>();
  const std::string value = number_text(member_of(target, "value"));
  if (name == nullptr || !is_target_kind(*name) || value.empty()) return {};
  std::string option = *name;
  std::replace(option.begin(), option.end(), '_', '-');
  std::string options = "--" + option + " " + value;
  const std::string confidence = number_text(member_of(point["guarantee"].value(), "confidence"));
  if (!confidence.empty()) options += " --confidence " + confidence;
  const JsonValue* threads = member_of(target, "threads");
  if (threads != nullptr && threads->as<std::int64_t>() != nullptr)
    options += " --threads " + number_text(threads);
  return options;
}

OperatingPoint read_point(const std::string& name, const Field& field) {
  field.object("an object with speed, variant and variant_sha256, which fastbert tune writes");
  OperatingPoint point;
  point.name = name;
  point.speed = field["speed"].number(0, 1);
  point.variant = field["variant"].text(kName, is_name);
  point.variant_sha256 = to_lower_hex(field["variant_sha256"].text(kSha256, is_sha256));
  point.target = target_options(field);
  return point;
}

// Returns the command that makes a point of this name on a variant, for a target: options of
// `fastbert tune`, or empty for an example.
std::string tune_command(std::string_view name, const Variant& variant,
                         std::string_view target = {}) {
  return "fastbert tune BUNDLE --data DATA " +
         std::string(target.empty() ? kExampleTarget : target) + " --variant " + variant.name +
         " --name " + std::string(name);
}

std::string held_points(const Manifest& manifest) {
  if (manifest.operating_points.empty()) return "it has none";
  std::string names;
  for (const OperatingPoint& point : manifest.operating_points)
    names += (names.empty() ? "it has " : ", ") + point.name;
  return names;
}

const OperatingPoint& point_named(const Manifest& manifest, const Variant& variant,
                                  std::string_view name) {
  const auto& points = manifest.operating_points;
  const auto found = std::find_if(points.begin(), points.end(), [&](const OperatingPoint& point) {
    return point.name == name;
  });
  if (found != points.end()) return *found;
  if (!is_point_name(name))
    throw UsageError("`name` is " + shown(name) + ", which is no name of an operating point: " +
                     std::string(kPointName) + ". Pass a number as a speed, without this function.");
  throw UsageError("The bundle has no operating point " + shown(name) + ": " +
                   held_points(manifest) + ". Make one with: " + tune_command(name, variant));
}

}  // namespace

std::vector<OperatingPoint> read_operating_points(const Field& field) {
  std::vector<OperatingPoint> points;
  if (field.is_missing()) return points;
  const JsonObject& object = field.object("an object of operating points, keyed by name");
  field.check_keys(kPointName, is_point_name);
  for (const auto& [name, value] : object)
    points.push_back(read_point(name, field.member(name, value)));
  return points;
}

std::string variant_digest(const Manifest& manifest, const Variant& variant) {
  Sha256 digest;
  const auto add = [&](const std::string& path) {
    const std::string line = path + " " + manifest.files.at(path).sha256 + "\n";
    digest.update(line.data(), line.size());
  };
  add(variant.embeddings);
  for (const std::string& stage : variant.stages) add(stage);
  return digest.hex_digest();
}

double operating_point_speed(const Manifest& manifest, const Variant& variant,
                             std::string_view name) {
  const OperatingPoint& point = point_named(manifest, variant, name);
  if (point.variant != variant.name)
    throw UsageError("The operating point " + shown(name) + " was tuned on the variant " +
                     shown(point.variant) + "; this model runs " + shown(variant.name) +
                     ". Load that variant, or tune this one: " +
                     tune_command(std::string(name) + "-" + variant.name, variant, point.target));
  if (point.variant_sha256 != variant_digest(manifest, variant))
    throw UsageError("The variant " + shown(variant.name) +
                     " was exported or built again since the operating point " + shown(name) +
                     " was tuned, so its figures may no longer hold. Tune it again: " +
                     tune_command(name, variant, point.target));
  return point.speed;
}

}  // namespace fastbert
