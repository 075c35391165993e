#include "onnxruntime/engine.h"

#include <algorithm>
#include <utility>

#include "errors.h"

namespace fastbert {
namespace {

// On a CPU the fused kernel is slower than the operators that it replaces (not reported upstream):
// the report is studies/reports/layer_forms.json.
constexpr const char* kDisabledOptimizers = "SkipLayerNormFusion";

Handle<OrtSessionOptions> make_options(const OnnxRuntime& runtime, const EngineOptions& options) {
  const OnnxRuntimeApi& api = runtime.api();
  const char* what = "ONNX Runtime does not take the options of a session";
  OrtSessionOptions* made = nullptr;
  runtime.check(api.CreateSessionOptions(&made), what);
  Handle<OrtSessionOptions> result(made, {api.ReleaseSessionOptions});
  const auto set = [&](const char* key, const char* value) {
    runtime.check(api.AddSessionConfigEntry(made, key, value), what);
  };
  set("optimization.disable_specified_optimizers", kDisabledOptimizers);
  set("session.use_env_allocators", "1");
  // Makes weights uint8 too, whose products do not saturate. Only on such processors: ONNX Runtime
  // 1.32 follows this entry on others too, where it slows int8 down.
  if (options.saturates) set("session.x64quantprecision", "1");
  if (!options.memory_pattern) runtime.check(api.DisableMemPattern(made), what);
  if (options.host_thread_pool) {
    runtime.check(api.DisablePerSessionThreads(made), what);
  } else {
    runtime.check(api.SetIntraOpNumThreads(made, static_cast<int>(options.threads)), what);
    runtime.check(api.SetInterOpNumThreads(made, 1), what);
    set("session.intra_op.spin_duration_us", std::to_string(options.spin_us).c_str());
  }
  return result;
}

Handle<OrtSession> make_session(const OnnxRuntime& runtime, const std::filesystem::path& path,
                                const EngineOptions& options, const std::string* contents) {
  const OnnxRuntimeApi& api = runtime.api();
  const Handle<OrtSessionOptions> session_options = make_options(runtime, options);
  OrtSession* session = nullptr;
  OrtStatus* status =
      contents == nullptr
          ? api.CreateSession(runtime.env(), path.c_str(), session_options.get(), &session)
          : api.CreateSessionFromArray(runtime.env(), contents->data(), contents->size(),
                                       session_options.get(), &session);
  if (status == nullptr) return Handle<OrtSession>(session, {api.ReleaseSession});
  const std::string message = runtime.take_message(status);
  if (options.host_thread_pool &&
      message.find("CreateEnvWithGlobalThreadPools") != std::string::npos)
    throw EngineError(
        "`host_thread_pool` is set, but `ort_env` has no global thread pool. Make the environment "
        "with CreateEnvWithGlobalThreadPools, or leave `host_thread_pool` at 0. ONNX Runtime "
        "says: " +
        message);
  throw BundleError(path.string() + " could not be loaded by ONNX Runtime " + runtime.version() +
                    ": " + message);
}

using GetCount = OrtStatus* (*)(const OrtSession*, std::size_t*) noexcept;
using GetName = OrtStatus* (*)(const OrtSession*, std::size_t, OrtAllocator*, char**) noexcept;
using GetType = OrtStatus* (*)(const OrtSession*, std::size_t, OrtTypeInfo**) noexcept;

TensorInfo describe(const OnnxRuntime& runtime, const OrtSession* session, std::size_t index,
                    GetName get_name, GetType get_type) {
  const OnnxRuntimeApi& api = runtime.api();
  const char* what = "ONNX Runtime does not describe an engine";
  TensorInfo info;
  OrtAllocator* allocator = nullptr;
  runtime.check(api.GetAllocatorWithDefaultOptions(&allocator), what);
  char* name = nullptr;
  runtime.check(get_name(session, index, allocator, &name), what);
  info.name = name;
  runtime.check(api.AllocatorFree(allocator, name), what);
  OrtTypeInfo* made = nullptr;
  runtime.check(get_type(session, index, &made), what);
  const Handle<OrtTypeInfo> type(made, {api.ReleaseTypeInfo});
  const OrtTensorTypeAndShapeInfo* tensor = nullptr;
  runtime.check(api.CastTypeInfoToTensorInfo(made, &tensor), what);
  if (tensor == nullptr) return info;
  runtime.check(api.GetTensorElementType(tensor, &info.type), what);
  std::size_t dimensions = 0;
  runtime.check(api.GetDimensionsCount(tensor, &dimensions), what);
  info.shape.resize(dimensions);
  runtime.check(api.GetDimensions(tensor, info.shape.data(), dimensions), what);
  return info;
}

std::vector<TensorInfo> describe_all(const OnnxRuntime& runtime, const OrtSession* session,
                                     GetCount get_count, GetName get_name, GetType get_type) {
  std::size_t count = 0;
  runtime.check(get_count(session, &count), "ONNX Runtime does not describe an engine");
  std::vector<TensorInfo> infos;
  for (std::size_t index = 0; index < count; ++index)
    infos.push_back(describe(runtime, session, index, get_name, get_type));
  return infos;
}

template <typename Named>
std::string joined_names(const std::vector<Named>& tensors) {
  std::string names;
  for (const Named& tensor : tensors) names += (names.empty() ? "" : ", ") + tensor.name;
  return names.empty() ? "nothing" : names;
}

template <typename Named>
const Named* find(const std::vector<Named>& tensors, const std::string& name) {
  const auto found = std::find_if(tensors.begin(), tensors.end(),
                                  [&](const Named& one) { return one.name == name; });
  return found == tensors.end() ? nullptr : &*found;
}

const char* type_name(int type) {
  switch (type) {
    case kOrtFloat:
      return "float32";
    case kOrtInt64:
      return "int64";
    case kOrtBool:
      return "bool";
    default:
      return "of another type";
  }
}

}  // namespace

Engine::Engine(const OnnxRuntime& runtime, const std::filesystem::path& path,
               const EngineOptions& options, const std::string* contents)
    : runtime_(&runtime),
      path_(path.string()),
      session_(make_session(runtime, path, options, contents)) {
  const OnnxRuntimeApi& api = runtime.api();
  inputs_ = describe_all(runtime, session_.get(), api.SessionGetInputCount, api.SessionGetInputName,
                         api.SessionGetInputTypeInfo);
  outputs_ = describe_all(runtime, session_.get(), api.SessionGetOutputCount,
                          api.SessionGetOutputName, api.SessionGetOutputTypeInfo);
}

void Engine::check(const std::vector<TensorRule>& inputs,
                   const std::vector<TensorRule>& outputs) const {
  const auto fail = [&](const std::string& problem) {
    throw BundleError(path_ + " " + problem + ". It takes " + joined_names(inputs_) +
                      " and returns " + joined_names(outputs_) + "; expected " +
                      joined_names(inputs) + " and " + joined_names(outputs) +
                      ". The manifest names the wrong file. Export the bundle again.");
  };
  const auto check_all = [&](const std::vector<TensorRule>& rules,
                             const std::vector<TensorInfo>& infos, const std::string& kind) {
    for (const TensorRule& rule : rules) {
      const TensorInfo* info = find(infos, rule.name);
      if (info == nullptr) {
        fail("has no " + kind + " `" + rule.name + "`");
      } else if (info->type != rule.type || info->shape.size() != rule.dimensions) {
        fail("has the " + kind + " `" + rule.name + "`, which is " + type_name(info->type) +
             " with " + std::to_string(info->shape.size()) + " dimensions and must be " +
             type_name(rule.type) + " with " + std::to_string(rule.dimensions));
      }
    }
  };
  check_all(inputs, inputs_, "input");
  check_all(outputs, outputs_, "output");
  for (const TensorInfo& info : inputs_) {
    if (find(inputs, info.name) == nullptr) fail("has the unknown input `" + info.name + "`");
  }
}

std::size_t Engine::last_size(const std::string& output) const {
  const TensorInfo* info = find(outputs_, output);
  const std::int64_t size = info == nullptr || info->shape.empty() ? -1 : info->shape.back();
  if (size < 1)
    throw BundleError(path_ + " does not fix the last size of its output `" + output +
                      "`. Export the bundle again.");
  return static_cast<std::size_t>(size);
}

void Engine::run(const char* const* input_names, const OrtValue* const* inputs,
                 std::size_t input_count, const char* const* output_names, OrtValue** outputs,
                 std::size_t output_count) const {
  OrtStatus* status = runtime_->api().Run(session_.get(), nullptr, input_names, inputs, input_count,
                                          output_names, output_count, outputs);
  if (status != nullptr)
    throw EngineError(
        "ONNX Runtime could not run the bundle's engines on this input: " +
        runtime_->take_message(status) +
        ". If the manifest names more tokens, token types or positions than the engines have, it "
        "belongs to another model: export the bundle again.");
}

Handle<OrtValue> make_tensor(const OnnxRuntime& runtime, void* data, std::size_t bytes,
                             std::initializer_list<std::size_t> shape, OrtElementType type) {
  std::int64_t sizes[4] = {};
  std::size_t dimensions = 0;
  for (const std::size_t size : shape) sizes[dimensions++] = static_cast<std::int64_t>(size);
  OrtValue* value = nullptr;
  runtime.check(runtime.api().CreateTensorWithDataAsOrtValue(runtime.cpu(), data, bytes, sizes,
                                                             dimensions, type, &value),
                "ONNX Runtime could not make a tensor");
  return Handle<OrtValue>(value, {runtime.api().ReleaseValue});
}

}  // namespace fastbert
