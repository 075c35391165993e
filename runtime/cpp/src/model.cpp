#include "model.h"

#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "bundle/files.h"
#include "errors.h"
#include "system/hardware.h"

namespace fastbert {
namespace {

constexpr const char* kTokenizerFile = "tokenizer.json";
constexpr const char* kHostVersion = "of the host";  // its functions do not tell which it is

std::filesystem::path resolved(const std::string& bundle) {
  std::error_code error;
  // One version for the model's life, wherever a link leads later.
  std::filesystem::path path =
      std::filesystem::weakly_canonical(bundle.empty() ? "." : bundle, error);
  if (error)
    throw BundleError(bundle + " cannot be read: " + error.message() +
                      ". Name a bundle that this user can read.");
  return path;
}

std::shared_ptr<const OnnxRuntime> find_runtime(const fastbert_model_options& options) {
  if ((options.ort_api == nullptr) != (options.ort_env == nullptr))
    throw UsageError(std::string("`ort_api` and `ort_env` belong together, but only ") +
                     (options.ort_api == nullptr ? "`ort_env`" : "`ort_api`") +
                     " is given. Give both or neither.");
  if (options.ort_api == nullptr) {
    if (options.host_thread_pool != 0)
      throw UsageError(
          "`host_thread_pool` is set, but `ort_env` is null. Give the environment that has the "
          "pool.");
    return OnnxRuntime::shared(options.onnxruntime_library);
  }
  if (options.onnxruntime_library != nullptr)
    throw UsageError("`onnxruntime_library` and `ort_api` are both given. Give one of the two.");
  return std::make_shared<const OnnxRuntime>(static_cast<const OnnxRuntimeApi*>(options.ort_api),
                                             static_cast<OrtEnv*>(options.ort_env), kHostVersion);
}

using Versions = std::vector<std::optional<FileVersion>>;

Versions versions_of(const std::filesystem::path& bundle, const std::vector<std::string>& names) {
  Versions versions = {file_version(bundle / kManifestFile)};
  for (const std::string& name : names) versions.push_back(file_version(bundle / name));
  return versions;
}

}  // namespace

Model::Model(const std::string& bundle, const fastbert_model_options& options)
    : bundle_(resolved(bundle)), manifest_(read_manifest(bundle_)) {
  const Variant& variant = manifest_.variant_for_cpu(options.variant);
  variant_ = variant.name;
  std::vector<std::string> names = variant.files();
  names.emplace_back(kTokenizerFile);
  const Versions before = versions_of(bundle_, names);
  check_files(bundle_, manifest_, names, options.skip_checksums == 0, usable_cores());
  runtime_ = find_runtime(options);
  plan_ = std::make_unique<const EnginePlan>(*runtime_, bundle_, variant, options.threads,
                                             options.host_thread_pool != 0, options.batches != 0);
  files_ = std::make_unique<const KeptFiles>(plan_->batch_files());
  if (plan_->has_row()) {
    row_ = plan_->load_row();
    check_classes(row_->classes);
  } else {
    batches();
  }
  load_tokenizer(bundle_ / kTokenizerFile);
  if (!(versions_of(bundle_, names) == before))
    throw BundleError(bundle + " was replaced or written to while it was loaded. Load it again.");
}

double Model::operating_point_speed(std::string_view name) const {
  return fastbert::operating_point_speed(manifest_, manifest_.variant_for_cpu(variant_.c_str()),
                                         name);
}

const BatchEngines& Model::batches() const {
  if (const BatchEngines* ready = ready_.load(std::memory_order_acquire)) return *ready;
  const std::lock_guard<std::mutex> guard(loading_);
  if (batches_ == nullptr) {
    auto loaded = plan_->load_batches(*files_);
    check_classes(loaded->classes());
    batches_ = std::move(loaded);
    files_.reset();
    ready_.store(batches_.get(), std::memory_order_release);
  }
  return *batches_;
}

void Model::check_classes(std::size_t classes) const {
  if (classes != manifest_.labels.size())
    throw BundleError(
        (bundle_ / kManifestFile).string() + " has " + std::to_string(manifest_.labels.size()) +
        " labels; the engines have " + std::to_string(classes) +
        " classes. Export the bundle again, or correct the labels if you wrote them yourself.");
}

#if FASTBERT_TEXT
void Model::load_tokenizer(const std::filesystem::path& path) {
  try {
    tokenizer_ = Tokenizer::from_json(read_file(path));
  } catch (const Unsupported& problem) {
    text_problem_ = problem.what();
    return;
  } catch (const BundleError& problem) {
    throw BundleError(path.string() + " could not be read: " + problem.what() +
                      " Copy the whole bundle again.");
  }
  try {
    Encoding encoding;
    const auto side = manifest_.truncates_left ? TruncationSide::kLeft : TruncationSide::kRight;
    tokenizer_->encode("", nullptr, static_cast<std::size_t>(manifest_.max_length), side, encoding);
  } catch (const UsageError& problem) {
    throw BundleError(path.string() + " does not fit the manifest: " + problem.what() +
                      " Export the bundle again.");
  }
}
#else
void Model::load_tokenizer(const std::filesystem::path&) {
  text_problem_ =
      "This libfastbert was built without text support (FASTBERT_TEXT=OFF). Pass token ids to "
      "fastbert_classify, or build it with FASTBERT_TEXT=ON.";
}
#endif

}  // namespace fastbert
