#include "bundle/manifest.h"

#include <algorithm>
#include <functional>
#include <string_view>

#include "bundle/fields.h"
#include "bundle/files.h"
#include "bundle/texts.h"
#include "errors.h"

namespace fastbert {
namespace {

constexpr std::string_view kSchema = "fastbert-bundle/1";
constexpr std::int64_t kMost = INT32_MAX;

// Engine and device, and the field of a variant's `tensorrt` that says which GPUs its plans are
// for. This library runs neither; it checks them as every reader does.
struct Plans {
  std::string_view engine;
  std::string_view gpus;
};
constexpr Plans kPlans[] = {{"tensorrt", "sm"}, {"tensorrt-rtx", "compute_capabilities"}};

// Such as 8.9, or >12.0 for all later ones.
bool is_compute_capability(std::string_view text) {
  const auto is_digit = [](char symbol) { return symbol >= '0' && symbol <= '9'; };
  if (!text.empty() && text.front() == '>') text.remove_prefix(1);
  const std::size_t dot = text.find('.');
  return dot >= 1 && dot <= 3 && text.size() == dot + 2 && is_digit(text.back()) &&
         std::all_of(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(dot), is_digit);
}

bool is_side(std::string_view text) { return text == "left" || text == "right"; }

std::int32_t count(const Field& field, std::int64_t low = 1) {
  return static_cast<std::int32_t>(field.integer(low, kMost));
}

void check_coefficients(const Field& field) {
  field.list("a list of three numbers [c0, c1, c2], none below 0", 3, 3);
  for (std::size_t item = 0; item < 3; ++item) field.item(item).number(0, 1e18);
}

std::vector<std::string> read_texts(const Field& field, std::string_view expected,
                                    std::size_t least, std::string_view each,
                                    bool (*fits)(std::string_view)) {
  std::vector<std::string> texts;
  const std::size_t size = field.list(expected, least).size();
  for (std::size_t item = 0; item < size; ++item)
    texts.push_back(field.item(item).text(each, fits));
  return texts;
}

bool all_differ(std::vector<std::string> texts) {
  std::sort(texts.begin(), texts.end());
  return std::adjacent_find(texts.begin(), texts.end()) == texts.end();
}

std::optional<std::string> read_optional_path(const Field& field) {
  if (field.is_missing_or_null()) return std::nullopt;
  return field.text(kPath, is_path);
}

void check_tensorrt(const Field& field) {
  if (field.is_missing()) return;
  field.object("an object with source, version and profiles, which fastbert build writes");
  field["source"].text(kName, is_name);
  field["version"].text(kNotEmpty, is_not_empty);
  const Field sm = field["sm"];
  if (!sm.is_missing()) sm.text(kNotEmpty, is_not_empty);
  const Field capabilities = field["compute_capabilities"];
  if (!capabilities.is_missing())
    read_texts(capabilities, "a list of at least one compute capability", 1,
               "a compute capability, such as \"8.9\", or \">12.0\" for all later ones",
               is_compute_capability);
  const Field level = field["optimization_level"];
  if (!level.is_missing()) level.integer(0, 5);
  const Field profiles = field["profiles"];
  const std::size_t size = profiles.list("a list of at least one profile", 1).size();
  for (std::size_t item = 0; item < size; ++item) {
    const Field profile = profiles.item(item);
    profile.object("an object with batch and sequence");
    const Field batch = profile["batch"];
    batch.list("a list [smallest, largest]", 2, 2);
    count(batch.item(0));
    count(batch.item(1));
    count(profile["sequence"]);
  }
}

Variant read_variant(const std::string& name, const Field& field) {
  field.object("an object with precision, devices, engine, embeddings and stages");
  Variant variant;
  variant.name = name;
  field["precision"].text(kNotEmpty, is_not_empty);
  const Field exact = field["exact"];
  if (!exact.is_missing()) exact.flag();
  variant.devices = read_texts(field["devices"], "a list of devices, such as cpu", 0,
                               kNotEmpty, is_not_empty);
  variant.engine = field["engine"].text(kNotEmpty, is_not_empty);
  variant.embeddings = field["embeddings"].text(kPath, is_path);
  variant.stages = read_texts(field["stages"], "a list of at least one path", 1, kPath, is_path);
  variant.compaction = read_optional_path(field["compaction"]);
  variant.chain = read_optional_path(field["chain"]);
  variant.row = read_optional_path(field["row"]);
  const Field saturates = field["saturates"];
  if (!saturates.is_missing()) variant.saturates = saturates.flag();
  check_tensorrt(field["tensorrt"]);
  return variant;
}

void read_flops(const Field& field) {
  field.object("an object with layer and exits");
  check_coefficients(field["layer"]);
  const Field exits = field["exits"];
  const std::size_t size = exits.list("a list of coefficients, one entry per layer", 0).size();
  for (std::size_t item = 0; item < size; ++item) check_coefficients(exits.item(item));
}

void read_variants(const Field& field, Manifest& manifest) {
  const char* expected = "an object of at least one variant, keyed by name";
  const JsonObject& variants = field.object(expected);
  if (variants.empty()) field.fail(expected);
  field.check_keys(kName, is_name);
  for (const auto& [name, value] : variants)
    manifest.variants.push_back(read_variant(name, field.member(name, value)));
}

void read_files(const Field& field, Manifest& manifest) {
  const JsonObject& files =
      field.object("an object of every file's bytes and sha256, keyed by path");
  field.check_keys(kPath, is_path);
  for (const auto& [path, value] : files) {
    const Field entry = field.member(path, value);
    entry.object("an object with bytes and sha256");
    FileRecord record;
    record.bytes = entry["bytes"].integer(0, INT64_MAX);
    record.sha256 = to_lower_hex(entry["sha256"].text(kSha256, is_sha256));
    manifest.files.emplace(path, std::move(record));
  }
}

// Checks what fields must be relative to each other.
void check_relations(const Field& document, const Manifest& manifest) {
  if (manifest.max_length > manifest.max_positions)
    document["max_length"].fail("at most max_positions, which is " +
                                std::to_string(manifest.max_positions));
  if (manifest.pad_token_id >= manifest.vocab_size)
    document["pad_token_id"].fail("less than vocab_size, which is " +
                                  std::to_string(manifest.vocab_size));
  if (manifest.default_token_type >= manifest.type_vocab_size)
    document["default_token_type"].fail("less than type_vocab_size, which is " +
                                        std::to_string(manifest.type_vocab_size));
  const bool ascending = std::adjacent_find(manifest.exits.begin(), manifest.exits.end(),
                                            std::greater_equal<>()) == manifest.exits.end();
  if (!ascending || manifest.exits.back() != manifest.layers - 1)
    document["exits"].fail(
        "layers in ascending order, counted from 0, the last one being the last of the " +
        std::to_string(manifest.layers) + " layers");
  const Field flops = document["flops"];
  const Field costs = flops["exits"];
  if (costs.list("a list", 0).size() != static_cast<std::size_t>(manifest.layers))
    costs.fail("one entry for each of the " + std::to_string(manifest.layers) + " layers");
}

std::string shown_exits(const std::vector<std::int32_t>& exits) {
  std::string text = "[";
  for (const std::int32_t layer : exits)
    text += (text.size() > 1 ? ", " : "") + std::to_string(layer);
  return text + "]";
}

void check_variant(const Field& document, const Field& field, const Manifest& manifest,
                   const Variant& variant) {
  if (variant.stages.size() != manifest.exits.size())
    field["stages"].fail("one stage for each of the exits " + shown_exits(manifest.exits));
  if (!all_differ(variant.files())) field["stages"].fail("files that the variant names only once");
  for (const auto& [engine, gpus] : kPlans) {
    if (variant.runs_on(engine) && variant.engine != engine)
      field["engine"].fail(
          "the same as in devices: plans of TensorRT and of TensorRT for RTX cannot be exchanged");
  }
  for (const auto& [engine, gpus] : kPlans) {
    if (variant.engine != engine) continue;
    const Field build = field["tensorrt"];
    if (build.is_missing() || build[gpus].is_missing())
      build.fail(
          "the object that fastbert build writes for a TensorRT variant, with sm or, for "
          "tensorrt-rtx, compute_capabilities");
    if (!variant.compaction)
      field["compaction"].fail("the path of a file, which a TensorRT variant needs");
  }
  const Field files = document["files"];
  for (const std::string& file : variant.files()) {
    if (manifest.files.count(file) == 0)
      files[file].fail("bytes and sha256 of a file of the variant " + variant.name);
  }
}

Manifest read_document(const Field& document) {
  Manifest manifest;
  manifest.labels = read_texts(document["labels"], "a list of at least one label, all different", 1,
                               kNotEmpty, is_not_empty);
  if (!all_differ(manifest.labels))
    document["labels"].fail("a list of at least one label, all different");
  manifest.max_length = count(document["max_length"]);
  manifest.max_positions = count(document["max_positions"]);
  manifest.vocab_size = count(document["vocab_size"]);
  manifest.type_vocab_size = count(document["type_vocab_size"]);
  const Field default_type = document["default_token_type"];
  if (!default_type.is_missing()) manifest.default_token_type = count(default_type, 0);
  manifest.pad_token_id = count(document["pad_token_id"], 0);
  const Field side = document["truncation_side"];
  if (!side.is_missing())
    manifest.truncates_left = side.text("\"left\" or \"right\"", is_side) == "left";
  manifest.layers = count(document["layers"]);
  count(document["hidden_size"]);
  const Field exits = document["exits"];
  const std::size_t size = exits.list("a list of at least one layer", 1).size();
  for (std::size_t item = 0; item < size; ++item)
    manifest.exits.push_back(count(exits.item(item), 0));
  const Field uncertainty = document["uncertainty"];  // the engines compute it, whatever it is
  if (!uncertainty.is_missing()) uncertainty.text(kNotEmpty, is_not_empty);
  manifest.default_speed = document["default_speed"].number(0, 1);
  manifest.operating_points = read_operating_points(document["operating_points"]);
  read_flops(document["flops"]);
  const Field variants = document["variants"];
  read_variants(variants, manifest);
  read_files(document["files"], manifest);
  check_relations(document, manifest);
  for (const Variant& variant : manifest.variants)
    check_variant(document, variants[variant.name], manifest, variant);
  return manifest;
}

// Reads the file, or says why the directory is not a bundle.
std::string read_content(const std::filesystem::path& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  const std::string folder = path.parent_path().string();
  if (std::filesystem::is_regular_file(status)) return read_file(path);
  if (status.type() == std::filesystem::file_type::not_found || std::filesystem::exists(status)) {
    const char* what = std::filesystem::exists(status) ? " is not a file" : " is missing";
    throw BundleError(folder + " is not a bundle: " + path.string() + what +
                      ". Create one with: fastbert export MODEL --output " + folder);
  }
  throw BundleError(path.string() + " cannot be read: " + error.message() +
                    ". Name a bundle that this user can read.");
}

}  // namespace

bool Variant::runs_on(std::string_view device) const {
  return std::find(devices.begin(), devices.end(), device) != devices.end();
}

std::vector<std::string> Variant::files() const {
  std::vector<std::string> paths = {embeddings};
  paths.insert(paths.end(), stages.begin(), stages.end());
  for (const auto* optional : {&compaction, &chain, &row}) {
    if (*optional) paths.push_back(**optional);
  }
  return paths;
}

const Variant& Manifest::variant_for_cpu(const char* name) const {
  std::string held;
  for (const Variant& variant : variants) {
    const bool wanted = name == nullptr || variant.name == name;
    if (wanted && variant.runs_on("cpu") && variant.engine == "onnxruntime") return variant;
    std::string devices;
    for (const std::string& device : variant.devices)
      devices += (devices.empty() ? "" : ", ") + device;
    held += (held.empty() ? "" : "; ") + variant.name + " for " +
            (devices.empty() ? "fastbert build" : devices);
  }
  throw UsageError("The bundle has no variant " +
                   (name == nullptr ? "" : shown(std::string_view(name)) + " ") +
                   "for device \"cpu\". It has: " + held + ".");
}

Manifest parse_manifest(std::string_view content, const std::string& path) {
  const JsonValue value{JsonValue::Content(parse_json_object(content))};
  const Field document(value);
  const Field schema = document["schema"];
  const std::string expected = shown(kSchema);
  if (schema.is_missing()) schema.fail(expected);
  const std::string* text = schema.value()->as<std::string>();
  if (text == nullptr || std::string_view(*text).substr(0, text->find('.')) != kSchema) {
    throw BundleError(path + " has the schema " + shown(*schema.value()) +
                      "; this fastbert reads " + expected +
                      ". Export the bundle again, or use the version of fastbert that wrote it.");
  }
  return read_document(document);
}

Manifest read_manifest(const std::filesystem::path& bundle) {
  const std::filesystem::path path = bundle / kManifestFile;
  try {
    return parse_manifest(read_content(path), path.string());
  } catch (const Unfit& problem) {
    throw BundleError(path.string() + " is damaged: " + problem.what() +
                      ". Export the bundle again, or correct the file if you wrote it yourself.");
  }
}

}  // namespace fastbert
