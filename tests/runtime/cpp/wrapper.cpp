// Every part of fastbert.hpp, on a bundle: prints "ok", or fails an assertion. Compiled by
// test_hpp.py.
#undef NDEBUG
#include <array>
#include <cassert>
#include <cstring>
#include <fastbert.hpp>
#include <iostream>
#include <string>
#include <type_traits>
#include <vector>
#if __cplusplus >= 202002L
#include <span>
#endif

using fastbert::Batch;
using fastbert::Model;
using fastbert::Prediction;
using fastbert::Session;

static_assert(!std::is_copy_constructible_v<Model> && !std::is_copy_assignable_v<Model>);
static_assert(std::is_nothrow_move_constructible_v<Model> &&
              std::is_nothrow_move_assignable_v<Model>);
static_assert(!std::is_copy_constructible_v<Session> && !std::is_copy_assignable_v<Session>);
static_assert(std::is_nothrow_move_constructible_v<Session> &&
              std::is_nothrow_move_assignable_v<Session>);
static_assert(std::is_base_of_v<std::runtime_error, fastbert::Error>);

template <class Error, class Function>
void throws(fastbert_status status, const char* part, Function function) {
  try {
    function();
  } catch (const Error& error) {
    assert(error.status() == status);
    if (std::strstr(error.what(), part) == nullptr) std::cerr << error.what() << "\n";
    assert(std::strstr(error.what(), part) != nullptr);
    return;
  }
  assert(false && "nothing was thrown");
}

static bool same(const Prediction& a, const Prediction& b) {
  return a.label == b.label && a.label_index == b.label_index && a.exit_layer == b.exit_layer;
}

static void check_ids(const Model& model) {
  Session session(model);
  const std::vector<std::int64_t> ids{1, 5, 6, 2, 1, 9, 2, 0};  // two rows, the second with padding
  const std::vector<std::int64_t> mask{1, 1, 1, 1, 1, 1, 1, 0};
  const std::vector<std::int64_t> types(8, 0);
  const std::vector<Prediction> two = session.classify({ids, mask, types, 2}, 0.5);
  assert(two.size() == 2);
  assert(two[0].label == model.labels()[static_cast<std::size_t>(two[0].label_index)]);
  assert(two[0].probabilities.size() == model.labels().size());
  float sum = 0;
  for (const float probability : two[0].probabilities) sum += probability;
  assert(sum > 0.999F && sum < 1.001F);
  for (const float probability : two[0].probabilities) assert(probability <= two[0].probability());
  assert(two[0].layers_run() == two[0].exit_layer + 1 && !two[0].truncated);
  assert(two[0].uncertainty >= 0 && two[0].uncertainty <= 1);

  // A row alone, in each form that holds values in a row, gives the answer that it has in a batch.
  const std::int64_t array[] = {1, 9, 2};
  const std::array<std::int32_t, 3> narrow{1, 9, 2};
  assert(same(session.classify(std::vector<std::int64_t>{1, 9, 2}, 0.5), two[1]));
  assert(same(session.classify(array, 0.5), two[1]));
  assert(same(session.classify(narrow, 0.5), two[1]));
  assert(same(session.classify(fastbert::Span<std::int64_t>(ids.data() + 4, 3), 0.5), two[1]));
  assert(same(session.classify(Batch<std::int32_t>{narrow, {}, {}, 1}, 0.5).front(), two[1]));
#if __cplusplus >= 202002L
  assert(same(session.classify(std::span(ids).subspan(4, 3), 0.5), two[1]));
#endif
  assert(session.classify(ids, 0).exit_layer == model.exits().back());
  assert(session.classify(Batch<std::int64_t>{{}, {}, {}, 0}).empty());

  using fastbert::UsageError;
  const auto usage = [](const char* part, auto function) {
    throws<UsageError>(FASTBERT_USAGE_ERROR, part, function);
  };
  usage("not 3 rows", [&] { session.classify({ids, {}, {}, 3}); });
  usage("`attention_mask` has 2 values",
        [&] { session.classify({ids, fastbert::Span<std::int64_t>(mask.data(), 2), {}, 2}); });
  usage("`token_type_ids` has 1 values",
        [&] { session.classify({ids, {}, fastbert::Span<std::int64_t>(types.data(), 1), 2}); });
  usage("speed", [&] { session.classify(ids, 2); });
  usage("input_ids", [&] { session.classify(std::vector<std::int64_t>{1, 1 << 20, 2}); });
  assert(same(session.classify(array, 0.5), two[1]));  // the session still works
}

static void check_texts(const Model& model) {
  Session session(model);
  if (!model.info().has_text) {
    throws<fastbert::UnsupportedError>(FASTBERT_UNSUPPORTED, "",
                                       [&] { session.classify_text("good"); });
    return;
  }
  const std::string text = "good film";
  const Prediction alone = session.classify_text(text, 0.5);
  assert(same(session.classify_text(std::string_view(text), 0.5), alone));
  const std::vector<std::string> strings{text, "a dull plot", ""};
  assert(same(session.classify_text(strings, 0.5).at(0), alone));
  const std::vector<std::string_view> views(strings.begin(), strings.end());
  assert(same(session.classify_text(views, 0.5).at(0), alone));
  const char* pointers[] = {"good film", "a dull plot"};
  assert(session.classify_text(pointers, 0.5).size() == 2);
  const std::vector<std::pair<std::string, std::string>> pairs{{"good", "bad"}, {"a", "b"}};
  assert(same(session.classify_text(pairs, 0.5).at(0), session.classify_text("good", "bad", 0.5)));
  assert(session.classify_text(std::vector<std::string>{}).empty());

  const fastbert::Encoding encoding = session.encode(strings);
  assert(encoding.rows == 3 && encoding.input_ids.size() == 3 * encoding.sequence);
  assert(encoding.truncated == std::vector<bool>(3, false));
  assert(same(session.classify(encoding.batch(), 0.5).at(0), alone));
  assert(session.encode(text).rows == 1 && session.encode(pairs).rows == 2);
  std::string long_text;
  for (int i = 0; i < 1000; ++i) long_text += "good ";
  assert(session.classify_text(long_text).truncated);
  throws<fastbert::UsageError>(FASTBERT_USAGE_ERROR, "UTF-8",
                               [&] { session.classify_text("\xff"); });
}

// The bundle has the operating points "balanced", speed 1, and "other", of another variant.
static void check_operating_points(const Model& model) {
  assert((model.operating_points() == std::vector<std::string>{"balanced", "other"}));
  Session session(model);
  const std::vector<std::int64_t> ids{1, 5, 6, 2};
  assert(session.classify(ids, model.speed("balanced")).exit_layer == model.exits().front());
  const auto usage = [&](const char* part, const std::string& name) {
    throws<fastbert::UsageError>(FASTBERT_USAGE_ERROR, part, [&] { model.speed(name); });
  };
  usage("it has balanced, other", "fast");
  usage("tuned on the variant \"int8\"", "other");
  usage("`name` has a NUL at byte 8", std::string("balanced\0", 9));
}

int main(int argc, char** argv) {
  assert(argc == 2);
  throws<fastbert::BundleError>(FASTBERT_BUNDLE_ERROR, "nowhere", [] { Model("nowhere"); });
  throws<fastbert::UsageError>(FASTBERT_USAGE_ERROR, "NUL at byte 3",
                               [] { Model(std::string("abc\0d", 5)); });
  fastbert::ModelOptions options;
  options.threads = 1;
  options.variant = "fp64";
  throws<fastbert::UsageError>(FASTBERT_USAGE_ERROR, "fp64", [&] { Model(argv[1], options); });
  options.variant = "fp32";
  options.check_contents = false;
  Model first(argv[1], options);
  Model model = std::move(first);
  assert(model.info().layers == model.exits().back() + 1);
  assert(model.labels().size() == static_cast<std::size_t>(model.info().classes));
  check_ids(model);
  check_texts(model);
  check_operating_points(model);

  Session session{Model(argv[1])};  // outlives its model
  Session moved = std::move(session);
  assert(moved.classify(std::vector<std::int32_t>{1, 2}).label_index >= 0);
  std::cout << "ok\n";
}
