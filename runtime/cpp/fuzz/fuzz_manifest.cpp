// Any bytes as a manifest.json: refused with a reason, or a manifest whose relations hold.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "bundle/fields.h"
#include "bundle/manifest.h"
#include "errors.h"
#include "system/utf8.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

// What the rest of the library takes for granted.
void check(const fastbert::Manifest& manifest) {
  require(!manifest.labels.empty() && !manifest.variants.empty());
  require(manifest.max_length >= 1 && manifest.max_length <= manifest.max_positions);
  require(manifest.pad_token_id >= 0 && manifest.pad_token_id < manifest.vocab_size);
  require(manifest.default_token_type >= 0 &&
          manifest.default_token_type < manifest.type_vocab_size);
  require(manifest.default_speed >= 0 && manifest.default_speed <= 1);
  require(manifest.exits.back() == manifest.layers - 1);
  for (const fastbert::OperatingPoint& point : manifest.operating_points) {
    require(point.speed >= 0 && point.speed <= 1 && point.variant_sha256.size() == 64);
    require(!point.name.empty() && point.name.size() <= 64);
  }
  for (const fastbert::Variant& variant : manifest.variants) {
    require(variant.stages.size() == manifest.exits.size());
    for (const std::string& file : variant.files()) {
      require(file.front() != '/' && file.find("..") != 0 &&
              file.find("/../") == std::string::npos);
      require(manifest.files.at(file).bytes >= 0 && manifest.files.at(file).sha256.size() == 64);
    }
  }
}

// A point is either a speed or refused in words.
void check_points(const fastbert::Manifest& manifest, const fastbert::Variant& variant) {
  for (const fastbert::OperatingPoint& point : manifest.operating_points) {
    try {
      require(fastbert::operating_point_speed(manifest, variant, point.name) == point.speed);
    } catch (const fastbert::UsageError&) {
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view content(reinterpret_cast<const char*>(data), size);
  try {
    const fastbert::Manifest manifest = fastbert::parse_manifest(content, "manifest.json");
    check(manifest);
    try {
      const fastbert::Variant& variant = manifest.variant_for_cpu(nullptr);
      require(variant.runs_on("cpu"));
      check_points(manifest, variant);
    } catch (const fastbert::UsageError&) {
    }
  } catch (const fastbert::Unfit& problem) {
    require(fastbert::valid_utf8(problem.what()) == std::string_view(problem.what()).size());
  } catch (const fastbert::BundleError&) {
  }
  return 0;
}
