#include "bundle/operating_points.h"

#include <algorithm>

#include "bundle/fields.h"
#include "bundle/json_value.h"
#include "bundle/manifest.h"
#include "bundle/sha256.h"
#include "bundle/texts.h"
#include "errors.h"

namespace fastbert {
namespace {

OperatingPoint read_point(const std::string& name, const Field& field) {
  field.object("an object with speed, variant and variant_sha256, which fastbert tune writes");
  OperatingPoint point;
  point.name = name;
  point.speed = field["speed"].number(0, 1);
  point.variant = field["variant"].text(kName, is_name);
  point.variant_sha256 = to_lower_hex(field["variant_sha256"].text(kSha256, is_sha256));
  return point;
}

// Returns the command that makes a point of this name on a variant.
std::string tune_command(std::string_view name, const Variant& variant) {
  return "fastbert tune BUNDLE --data DATA --min-agreement 0.99 --variant " + variant.name +
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
                     ". Load that variant, or tune this one: " + tune_command(name, variant));
  if (point.variant_sha256 != variant_digest(manifest, variant))
    throw UsageError("The variant " + shown(variant.name) +
                     " was exported or built again since the operating point " + shown(name) +
                     " was tuned, so its figures may no longer hold. Tune it again: " +
                     tune_command(name, variant));
  return point.speed;
}

}  // namespace fastbert
