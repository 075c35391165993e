// Which engines a variant needs on the CPU, and with what options.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bundle/files.h"
#include "bundle/manifest.h"
#include "onnxruntime/engine.h"

namespace fastbert {

// The engine of a single row. Immutable.
struct RowEngine {
  Engine engine;
  std::size_t classes;
  // The session maps the file of the embeddings and keeps reading the table from it.
  KeptFiles embeddings;
};

// How to run a stage: by its own engine, or by the engine of all stages with the digits of its
// number.
struct StageRun {
  const Engine* engine;
  std::vector<const char*> inputs;      // names: hidden states, mask, digits
  std::vector<const OrtValue*> digits;  // values of the digits
  const char* const* outputs;           // names: next hidden states, logits, uncertainty
};

// What runs batches. Immutable.
class BatchEngines {
 public:
  // Throws BundleError if an engine has other inputs or outputs than it should.
  BatchEngines(const OnnxRuntime& runtime, std::vector<std::unique_ptr<Engine>> engines,
               std::size_t stages);
  BatchEngines(const BatchEngines&) = delete;

  const Engine& embeddings() const noexcept { return *engines_[0]; }
  const std::vector<StageRun>& stages() const noexcept { return stages_; }
  std::size_t hidden_size() const noexcept { return hidden_size_; }
  std::size_t classes() const noexcept { return classes_; }

 private:
  void check_stage(const Engine& engine, bool joined);

  std::vector<std::unique_ptr<Engine>> engines_;  // embeddings, then one per stage or one for all
  std::vector<std::string> digit_names_;
  bool bits_[2] = {false, true};
  Handle<OrtValue> digits_[2];
  std::vector<StageRun> stages_;
  std::size_t hidden_size_ = 0;
  std::size_t classes_ = 0;
};

// The files to make engines of, and the threads that these have.
class EnginePlan {
 public:
  // threads: of one run; 0: the cores that this process may use.
  // batches: plan no engine for single rows, which then run as a batch does.
  // Throws UsageError if the number of threads is not valid.
  EnginePlan(const OnnxRuntime& runtime, const std::filesystem::path& bundle,
             const Variant& variant, int threads, bool host_thread_pool, bool batches);

  bool has_row() const noexcept { return row_.has_value(); }
  // The files that `load_batches` reads.
  std::vector<std::filesystem::path> batch_files() const;

  // Loads the engine of a single row. Throws BundleError if the file is not such a model.
  std::unique_ptr<const RowEngine> load_row() const;
  // Loads what runs batches. `files`: `batch_files`, held open.
  std::unique_ptr<const BatchEngines> load_batches(const KeptFiles& files) const;

 private:
  EngineOptions options(std::size_t threads, int spin_us) const;
  void release_memory() const;

  const OnnxRuntime* runtime_;
  std::filesystem::path embeddings_;
  std::vector<std::filesystem::path> stages_;
  std::optional<std::filesystem::path> chain_;
  std::optional<std::filesystem::path> row_;
  std::size_t threads_;
  bool host_thread_pool_;
  bool saturates_;
};

}  // namespace fastbert
