#include "chain/engine_plan.h"

#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "errors.h"
#include "onnxruntime/tensors.h"
#include "system/hardware.h"
#include "system/parallel.h"
#include "system/process_memory.h"

namespace fastbert {
namespace {

// How long a pool's idle threads spin after a run, in microseconds:
// studies/reports/thread_pools.json. In one session, long enough to bridge the gaps within a
// request. With one session per stage each has its own pool, whose spinning threads would hold up
// the next one (onnxruntime#17011), so only the gaps between operators are bridged.
constexpr int kSpinUs = 1000;
constexpr int kSpinUsPerStage = 40;
// ONNX Runtime starts all threads at once, and where it cannot, fails without a reason.
constexpr int kMostThreads = 4096;

std::size_t checked_threads(int threads, bool host_thread_pool) {
  if (host_thread_pool && threads != 0)
    throw UsageError(
        "`threads` is " + std::to_string(threads) +
        ", but `host_thread_pool` is set, whose size the host chose. Give one of the two.");
  if (threads < 0 || threads > kMostThreads)
    throw UsageError("`threads` is " + std::to_string(threads) +
                     "; it must be a number from 1 to " + std::to_string(kMostThreads) +
                     ", or 0 for the cores that this process may use.");
  return threads == 0 ? usable_cores() : static_cast<std::size_t>(threads);
}

// Whether the file is a symbolic or a hard link, as in a Hugging Face cache. ONNX Runtime 1.32
// refuses to read a branch's weights from one (onnxruntime#27353).
bool is_link(const std::filesystem::path& path) {
  std::error_code error;
  if (std::filesystem::is_symlink(path, error)) return true;
  const std::uintmax_t names = std::filesystem::hard_link_count(path, error);
  return !error && names > 1;
}

}  // namespace

BatchEngines::BatchEngines(const OnnxRuntime& runtime, std::vector<std::unique_ptr<Engine>> engines,
                           std::size_t stages)
    : engines_(std::move(engines)) {
  const bool joined = stages > 1 && engines_.size() == 2;
  if (joined) {
    for (std::size_t place = 0; (stages - 1) >> place != 0; ++place)
      digit_names_.push_back("digit_" + std::to_string(place));
  }
  embeddings().check(token_rules(), embeddings_output_rules());
  for (std::size_t index = 1; index < engines_.size(); ++index)
    check_stage(*engines_[index], joined);
  if (embeddings().last_size(kHiddenStates) != hidden_size_)
    throw BundleError("The embeddings are " +
                      std::to_string(embeddings().last_size(kHiddenStates)) +
                      " wide and the stages " + std::to_string(hidden_size_) +
                      ": they belong to different models. Export the bundle again.");
  for (std::size_t bit = 0; bit < 2; ++bit) digits_[bit] = make_tensor(runtime, &bits_[bit], {});
  for (std::size_t stage = 0; stage < stages; ++stage) {
    StageRun run;
    run.engine = engines_[joined ? 1 : 1 + stage].get();
    run.inputs = {kHiddenStates, kMask};
    for (std::size_t place = 0; place < digit_names_.size(); ++place) {
      run.inputs.push_back(digit_names_[place].c_str());
      run.digits.push_back(digits_[stage >> place & 1].get());
    }
    run.outputs = joined ? kChainOutputNames : kStageOutputNames;
    stages_.push_back(std::move(run));
  }
}

void BatchEngines::check_stage(const Engine& engine, bool joined) {
  const std::string prefix = joined ? kChainPrefix : "";
  std::vector<TensorRule> inputs = {{kHiddenStates, kOrtFloat, 3}, {kMask, kOrtFloat, 4}};
  for (const std::string& name : digit_names_) inputs.push_back({name, kOrtBool, 0});
  engine.check(inputs, {{prefix + kNextHiddenStates, kOrtFloat, 3},
                        {prefix + kLogits, kOrtFloat, 2},
                        {prefix + kUncertainty, kOrtFloat, 1}});
  const std::size_t hidden_size = engine.last_size(prefix + kNextHiddenStates);
  const std::size_t classes = engine.last_size(prefix + kLogits);
  if (hidden_size_ != 0 && (hidden_size != hidden_size_ || classes != classes_))
    throw BundleError(
        "The stages have different widths or classes: they belong to different models. Export the "
        "bundle again.");
  hidden_size_ = hidden_size;
  classes_ = classes;
}

// One session of all stages needs one thread pool instead of one per stage; with a single thread
// there are no pools, and one session per stage loads faster.
EnginePlan::EnginePlan(const OnnxRuntime& runtime, const std::filesystem::path& bundle,
                       const Variant& variant, int threads, bool host_thread_pool, bool batches)
    : runtime_(&runtime),
      embeddings_(bundle / variant.embeddings),
      threads_(checked_threads(threads, host_thread_pool)),
      host_thread_pool_(host_thread_pool),
      saturates_(variant.saturates && int8_products_saturate()) {
  for (const std::string& stage : variant.stages) stages_.push_back(bundle / stage);
  const bool joinable =
      !is_link(embeddings_) && std::none_of(stages_.begin(), stages_.end(), is_link);
  const bool several_threads = !host_thread_pool && threads_ > 1;
  if (joinable && several_threads && variant.chain) chain_ = bundle / *variant.chain;
  if (joinable && !batches && variant.row) row_ = bundle / *variant.row;
}

std::vector<std::filesystem::path> EnginePlan::batch_files() const {
  std::vector<std::filesystem::path> files = {embeddings_};
  files.insert(files.end(), stages_.begin(), stages_.end());
  if (chain_) files.push_back(*chain_);
  return files;
}

std::unique_ptr<const RowEngine> EnginePlan::load_row() const {
  EngineOptions row_options = options(threads_, kSpinUs);
  row_options.memory_pattern = true;  // few shapes: a row's is its length
  Engine engine(*runtime_, *row_, row_options);
  engine.check(row_rules(), row_output_rules());
  const std::size_t classes = engine.last_size(kLogits);
  auto made = std::make_unique<const RowEngine>(
      RowEngine{std::move(engine), classes, KeptFiles({embeddings_})});
  release_memory();
  return made;
}

std::unique_ptr<const BatchEngines> EnginePlan::load_batches(const KeptFiles& files) const {
  while (true) {
    files.check_unchanged();
    const bool in_place = files.are_in_place();
    const bool joined =
        in_place && chain_;  // elsewhere it would not find the files whose weights it reads
    const EngineOptions for_stages = options(threads_, joined ? kSpinUs : kSpinUsPerStage);
    // Embeddings are too little work to share, and their threads would spin while the stages begin.
    const EngineOptions for_embeddings = host_thread_pool_ ? for_stages : options(1, 0);
    std::vector<std::filesystem::path> paths = {embeddings_};
    if (joined) {
      paths.push_back(*chain_);
    } else {
      paths.insert(paths.end(), stages_.begin(), stages_.end());
    }
    std::vector<std::unique_ptr<Engine>> engines(paths.size());
    try {
      parallel_for(paths.size(), usable_cores(), [&](std::size_t index) {
        const EngineOptions& chosen = index == 0 ? for_embeddings : for_stages;
        if (in_place) {
          engines[index] = std::make_unique<Engine>(*runtime_, paths[index], chosen);
        } else {
          const std::string contents = files.read(paths[index]);
          engines[index] = std::make_unique<Engine>(*runtime_, paths[index], chosen, &contents);
        }
      });
    } catch (const BundleError&) {
      if (in_place && !files.are_in_place()) continue;
      throw;
    }
    if (in_place && !files.are_in_place())
      continue;  // replaced while they were read by their paths
    files.check_unchanged();
    auto made = std::make_unique<const BatchEngines>(*runtime_, std::move(engines), stages_.size());
    release_memory();
    return made;
  }
}

EngineOptions EnginePlan::options(std::size_t threads, int spin_us) const {
  EngineOptions made;
  made.threads = threads;
  made.host_thread_pool = host_thread_pool_;
  made.spin_us = spin_us;
  made.saturates = saturates_;
  return made;
}

void EnginePlan::release_memory() const {
  return_freed_memory();
  if (!chain_ && !row_) return;
  std::vector<std::filesystem::path> files = stages_;
  files.push_back(embeddings_);
  release_mapped_pages(files);
}

}  // namespace fastbert
