// Times fastbert_classify against the bare call of ONNX Runtime that it makes, on the same session:
//
//     fastbert_timer BUNDLE VARIANT TOKENS THREADS SPEED ROUNDS
//
// The two take turns. Prints a line for each round: nanoseconds of the bare call, nanoseconds of
// fastbert_classify.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "fastbert.h"
#include "handles.h"
#include "onnxruntime/tensors.h"

namespace {

using Clock = std::chrono::steady_clock;

long long nanoseconds(Clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count();
}

// What a program without fastbert would call: one session, with tensors that it keeps.
class Bare {
 public:
  Bare(const fastbert::Model& model, std::vector<std::int64_t>& ids,
       std::vector<std::int64_t>& types, float speed)
      : engine_(model.row()->engine), speed_(speed), logits_(model.row()->classes) {
    const fastbert::OnnxRuntime& runtime = model.runtime();
    inputs_[0] = fastbert::make_tensor(runtime, ids.data(), {1, ids.size()});
    inputs_[1] = fastbert::make_tensor(runtime, types.data(), {1, types.size()});
    inputs_[2] = fastbert::make_tensor(runtime, &speed_, {1});
    outputs_[0] = fastbert::make_tensor(runtime, logits_.data(), {1, logits_.size()});
    outputs_[1] = fastbert::make_tensor(runtime, &exit_layer_, {1});
    outputs_[2] = fastbert::make_tensor(runtime, &uncertainty_, {1});
  }

  void run() {
    const OrtValue* const inputs[] = {inputs_[0].get(), inputs_[1].get(), inputs_[2].get()};
    OrtValue* outputs[] = {outputs_[0].get(), outputs_[1].get(), outputs_[2].get()};
    engine_.run(fastbert::kRowInputNames, inputs, 3, fastbert::kRowOutputNames, outputs, 3);
  }

 private:
  const fastbert::Engine& engine_;
  float speed_;
  std::vector<float> logits_;
  std::int64_t exit_layer_ = 0;
  float uncertainty_ = 0;
  fastbert::Handle<OrtValue> inputs_[3];
  fastbert::Handle<OrtValue> outputs_[3];
};

int fail() {
  std::fprintf(stderr, "%s\n", fastbert_last_error());
  return 1;
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 7) return 2;
  const std::size_t tokens = std::strtoul(arguments[3], nullptr, 10);
  const double speed = std::strtod(arguments[5], nullptr);
  fastbert_model_options options = FASTBERT_MODEL_OPTIONS_INIT;
  options.variant = arguments[2];
  options.threads = std::atoi(arguments[4]);
  fastbert_model* model = nullptr;
  fastbert_session* session = nullptr;
  if (fastbert_model_load(arguments[1], &options, &model) != FASTBERT_OK) return fail();
  if (fastbert_session_create(model, &session) != FASTBERT_OK) return fail();

  std::vector<std::int64_t> ids(tokens, 2);
  std::vector<std::int64_t> mask(tokens, 1);
  std::vector<std::int64_t> types(tokens, 0);
  std::vector<float> logits(model->model->row()->classes);
  std::int32_t exit_layer = 0;
  float uncertainty = 0;
  fastbert_batch batch = FASTBERT_BATCH_INIT;
  batch.rows = 1;
  batch.sequence = tokens;
  batch.input_ids = ids.data();
  batch.attention_mask = mask.data();
  batch.token_type_ids = types.data();
  fastbert_answers answers = FASTBERT_ANSWERS_INIT;
  answers.logits = logits.data();
  answers.exit_layer = &exit_layer;
  answers.uncertainty = &uncertainty;
  Bare bare(*model->model, ids, types, static_cast<float>(speed));

  const int rounds = std::atoi(arguments[6]);
  constexpr int kWarmUp = 50;
  for (int round = -kWarmUp; round < rounds; ++round) {
    long long taken[2] = {};
    for (int turn = 0; turn < 2; ++turn) {  // each goes first as often as the other
      const bool is_bare = (turn + round) % 2 == 0;
      const Clock::time_point start = Clock::now();
      if (is_bare) {
        bare.run();
      } else if (fastbert_classify(session, &batch, speed, &answers) != FASTBERT_OK) {
        return fail();
      }
      taken[is_bare ? 0 : 1] = nanoseconds(start);
    }
    if (round >= 0) std::printf("%lld %lld\n", taken[0], taken[1]);
  }
  fastbert_session_free(session);
  fastbert_model_free(model);
  return 0;
}
