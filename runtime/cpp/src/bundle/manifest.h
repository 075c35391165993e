// A bundle's manifest.json: what is in the bundle, read and checked (docs/bundle-format.md).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "bundle/operating_points.h"

namespace fastbert {

constexpr const char* kManifestFile = "manifest.json";

// What the manifest records of a file.
struct FileRecord {
  std::int64_t bytes = 0;
  std::string sha256;  // 64 hexadecimal digits, in lower case
};

// One set of engines of one precision. Paths are relative to the bundle.
struct Variant {
  std::string name;
  std::string engine;                // kind of the files, such as "onnxruntime"
  std::vector<std::string> devices;  // such as "cpu"
  std::string embeddings;
  std::vector<std::string> stages;  // in order, one for each exit
  std::optional<std::string> compaction;
  std::optional<std::string> chain;  // the model of all stages
  std::optional<std::string> row;    // the model of a single row
  // Whether int8 products may overflow on an x86 processor without VNNI.
  bool saturates = true;

  bool runs_on(std::string_view device) const;
  std::vector<std::string> files() const;
};

struct Manifest {
  std::vector<std::string> labels;  // class names by index
  std::int32_t max_length = 0;      // of a text in tokens; longer ones are truncated
  std::int32_t max_positions = 0;   // of a sequence that the engines take
  std::int32_t vocab_size = 0;
  std::int32_t type_vocab_size = 0;
  std::int32_t default_token_type = 0;
  std::int32_t pad_token_id = 0;
  bool truncates_left = false;  // the end of a long text is kept
  std::int32_t layers = 0;
  std::vector<std::int32_t> exits;  // 0-based layer of each stage's exit, ascending
  double default_speed = 0;
  std::vector<OperatingPoint> operating_points;  // in the order of the document
  std::vector<Variant> variants;  // in order of preference
  std::unordered_map<std::string, FileRecord> files;

  // Returns the variant of this name, or the first one for the CPU if `name` is null.
  // Throws UsageError if there is none.
  const Variant& variant_for_cpu(const char* name) const;
};

// Reads manifest.json and checks every field that is used.
// Throws BundleError: it is missing, damaged or of another major version; the message names the
// field.
Manifest read_manifest(const std::filesystem::path& bundle);

// Parses the contents of a manifest.json. Throws Unfit (fields.h), or BundleError for another major
// version.
Manifest parse_manifest(std::string_view content, const std::string& path);

}  // namespace fastbert
