// Operating points: named speeds in a bundle's manifest, which `fastbert tune` writes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fastbert {

class Field;
struct Manifest;
struct Variant;

// A named speed. It belongs to the engines that it was tuned on.
struct OperatingPoint {
  std::string name;
  double speed = 0;            // in [0, 1]
  std::string variant;         // the name of the variant that it was tuned on
  std::string variant_sha256;  // `variant_digest` of that variant then
  // What it was tuned for, as options of `fastbert tune`, such as "--max-drop 0.5"; empty where the
  // manifest does not say.
  std::string target;
};

// Reads the manifest's `operating_points`, in the order of the document; none if the field is
// missing. Members that this library does not use are ignored. Throws Unfit.
std::vector<OperatingPoint> read_operating_points(const Field& field);

// Returns the sha256, 64 hexadecimal digits in lower case, of one line "PATH SHA256" for the
// variant's embeddings and for each stage, in order: the files that hold weights of the model. `row`
// and `chain` read theirs from these. (Only a TensorRT variant's `row` holds its own and has a line
// too; this library runs none.) Every file of the variant must be in the manifest.
std::string variant_digest(const Manifest& manifest, const Variant& variant);

// Returns the speed of the operating point `name` for a variant.
//
// Throws UsageError: there is no such point, it was tuned on another variant, or the variant was
// exported again since.
double operating_point_speed(const Manifest& manifest, const Variant& variant,
                             std::string_view name);

}  // namespace fastbert
