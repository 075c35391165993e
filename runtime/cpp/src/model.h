// A loaded bundle.
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "bundle/manifest.h"
#include "chain/engine_plan.h"
#include "fastbert.h"
#include "onnxruntime/onnxruntime.h"
#include "tokenizer/tokenizer.h"

namespace fastbert {

// Immutable, except for the engines for batches, which are loaded with the first batch. May be
// shared by threads.
class Model {
 public:
  // Throws BundleError, EngineError, UsageError.
  Model(const std::string& bundle, const fastbert_model_options& options);

  const OnnxRuntime& runtime() const noexcept { return *runtime_; }
  const Manifest& manifest() const noexcept { return manifest_; }
  const std::string& variant() const noexcept { return variant_; }
  // Returns the speed of an operating point for this variant. Throws UsageError.
  double operating_point_speed(std::string_view name) const;
  // Null: single rows run as a batch does.
  const RowEngine* row() const noexcept { return row_.get(); }
  // Loads the engines on the first call, which the other threads wait for; after a failure the next
  // call tries again. Throws BundleError if the bundle was written to since it was loaded.
  const BatchEngines& batches() const;

  // Null: `text_problem` says why.
  const Tokenizer* tokenizer() const noexcept { return tokenizer_.get(); }
  const std::string& text_problem() const noexcept { return text_problem_; }

 private:
  void load_engines(const std::filesystem::path& bundle);
  void load_tokenizer(const std::filesystem::path& path);
  void check_classes(std::size_t classes) const;

  std::filesystem::path bundle_;
  Manifest manifest_;
  std::string variant_;
  std::shared_ptr<const OnnxRuntime> runtime_;
  std::unique_ptr<const EnginePlan> plan_;
  std::unique_ptr<const RowEngine> row_;
  std::unique_ptr<const Tokenizer> tokenizer_;
  std::string text_problem_;

  mutable std::mutex loading_;
  mutable std::unique_ptr<const KeptFiles> files_;  // until the engines for batches are loaded
  mutable std::unique_ptr<const BatchEngines> batches_;
  mutable std::atomic<const BatchEngines*> ready_ = nullptr;  // batches_, once it is there
};

}  // namespace fastbert
