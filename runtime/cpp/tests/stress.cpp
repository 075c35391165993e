// Several threads on one model, through fastbert.h, for sanitizers and valgrind:
//
//     fastbert_stress BUNDLE THREADS CALLS [VARIANT [THREADS OF A CALL]]
//
// Each thread makes a session and classifies single rows and batches; all answers of the same row
// and speed must be equal. Prints "ok", or what went wrong.
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "fastbert.h"

namespace {

struct Answer {
  std::vector<float> logits;
  std::int32_t exit_layer = 0;
  float uncertainty = 0;

  friend bool operator==(const Answer& one, const Answer& other) {
    return one.logits == other.logits && one.exit_layer == other.exit_layer &&
           one.uncertainty == other.uncertainty;
  }
};

class Stress {
 public:
  Stress(const fastbert_model* model, std::size_t calls) : model_(model), calls_(calls) {
    fastbert_model_get_info(model, &info_);
  }

  // Runs one thread's calls with its own session.
  void run(std::size_t seed) {
    fastbert_session* session = nullptr;
    if (fastbert_session_create(model_, &session) != FASTBERT_OK)
      return fail(fastbert_last_error());
    for (std::size_t call = 0; call < calls_; ++call) {
      const std::size_t number = seed + call;
      classify(session, number % 3 == 0 ? 1 + number % 7 : 1, number);
      if (number % 11 == 0) classify_wrongly(session);
    }
    fastbert_session_free(session);
  }

  const std::string& problem() const { return problem_; }

 private:
  void classify(fastbert_session* session, std::size_t rows, std::size_t number) {
    const std::size_t sequence = 2 + number % 9;
    std::vector<std::int32_t> ids(rows * sequence);
    std::vector<std::int32_t> mask(rows * sequence);
    for (std::size_t at = 0; at < ids.size(); ++at) {
      const std::size_t row = at / sequence;
      const std::size_t column = at % sequence;
      const bool visible = column == 0 || column < sequence - row % 3;
      mask[at] = visible ? 1 : 0;
      ids[at] = visible ? static_cast<std::int32_t>((at * 7 + number % 5) %
                                                    static_cast<std::size_t>(info_.vocab_size))
                        : info_.pad_token_id;
    }
    const double speed = static_cast<double>(number % 4) / 4;
    const auto classes = static_cast<std::size_t>(info_.classes);
    std::vector<float> logits(rows * classes);
    std::vector<std::int32_t> exit_layer(rows);
    std::vector<float> uncertainty(rows);
    fastbert_batch batch = FASTBERT_BATCH_INIT;
    batch.rows = rows;
    batch.sequence = sequence;
    batch.type = FASTBERT_INT32;
    batch.input_ids = ids.data();
    batch.attention_mask = mask.data();
    fastbert_answers answers = FASTBERT_ANSWERS_INIT;
    answers.logits = logits.data();
    answers.exit_layer = exit_layer.data();
    answers.uncertainty = uncertainty.data();
    if (fastbert_classify(session, &batch, speed, &answers) != FASTBERT_OK)
      return fail(fastbert_last_error());
    for (std::size_t row = 0; row < rows; ++row) {
      const auto begin = logits.begin() + static_cast<std::ptrdiff_t>(row * classes);
      const Answer answer{
          {begin, begin + static_cast<std::ptrdiff_t>(classes)}, exit_layer[row], uncertainty[row]};
      compare({rows, sequence, number % 5, number % 4, row}, answer);
    }
  }

  // An error must leave everything usable.
  void classify_wrongly(fastbert_session* session) {
    const std::int64_t ids[] = {info_.vocab_size};
    fastbert_batch batch = FASTBERT_BATCH_INIT;
    batch.rows = 1;
    batch.sequence = 1;
    batch.input_ids = ids;
    fastbert_answers answers = FASTBERT_ANSWERS_INIT;
    if (fastbert_classify(session, &batch, 0.5, &answers) != FASTBERT_USAGE_ERROR)
      return fail("an unknown id was accepted");
    if (std::string(fastbert_last_error()).find("input_ids") == std::string::npos)
      fail("the message of this thread is another thread's");
  }

  void compare(const std::vector<std::size_t>& what, const Answer& answer) {
    const std::lock_guard<std::mutex> guard(lock_);
    const auto [found, is_new] = answers_.emplace(what, answer);
    if (!is_new && !(found->second == answer))
      problem_ = "two threads have different answers for the same row";
  }

  void fail(const std::string& problem) {
    const std::lock_guard<std::mutex> guard(lock_);
    problem_ = problem;
  }

  const fastbert_model* model_;
  const std::size_t calls_;
  fastbert_model_info info_ = FASTBERT_MODEL_INFO_INIT;
  std::mutex lock_;
  std::map<std::vector<std::size_t>, Answer> answers_;  // of the first thread that ran the row
  std::string problem_;
};

}  // namespace

int main(int count, char** arguments) {
  if (count < 4) return 2;
  fastbert_model_options options = FASTBERT_MODEL_OPTIONS_INIT;
  options.threads = 1;
  if (count > 4) options.variant = arguments[4];
  if (count > 5) options.threads = std::atoi(arguments[5]);
  fastbert_model* model = nullptr;
  if (fastbert_model_load(arguments[1], &options, &model) != FASTBERT_OK) {
    std::fprintf(stderr, "%s\n", fastbert_last_error());
    return 1;
  }
  Stress stress(model, std::strtoul(arguments[3], nullptr, 10));
  std::vector<std::thread> threads;
  for (std::size_t number = 0; number < std::strtoul(arguments[2], nullptr, 10); ++number)
    threads.emplace_back([&stress, number] { stress.run(number * 17); });
  for (std::thread& thread : threads) thread.join();
  fastbert_model_free(model);
  std::puts(stress.problem().empty() ? "ok" : stress.problem().c_str());
  return stress.problem().empty() ? 0 : 1;
}
