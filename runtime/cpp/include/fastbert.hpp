// fastbert.hpp: early-exit text classification in C++17, over the C functions of fastbert.h.
//
//     const fastbert::Model model("bundle");
//     fastbert::Session session(model);
//     const fastbert::Prediction prediction = session.classify_text("what a lovely film");
//     std::cout << prediction.label << " after " << prediction.layers_run() << " layers\n";
//
// Threads: a Model may be used by any number of threads at once; a Session by one at a time. Errors
// are exceptions, of the classes below. fastbert.h and docs/embedding.md have the details.
#ifndef FASTBERT_HPP
#define FASTBERT_HPP

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "fastbert.h"

#if !defined(_MSC_VER) && __cplusplus < 201703L
#error "fastbert.hpp needs C++17: compile with -std=c++17 or later, or use fastbert.h"
#endif

// An exception that one shared library throws can be caught in another only if its type is visible.
#if defined(__GNUC__)
#define FASTBERT_EXCEPTION __attribute__((visibility("default")))
#else
#define FASTBERT_EXCEPTION
#endif

namespace fastbert {

// Pass as a speed to use the bundle's default_speed.
inline constexpr double kDefaultSpeed = FASTBERT_DEFAULT_SPEED;

// A function of fastbert.h failed. what() says what was asked, what was found, and what to do.
class FASTBERT_EXCEPTION Error : public std::runtime_error {
 public:
  Error(fastbert_status status, const std::string& message)
      : std::runtime_error(message), status_(status) {}
  fastbert_status status() const noexcept { return status_; }

 private:
  fastbert_status status_;
};

// An argument is not valid.
class FASTBERT_EXCEPTION UsageError : public Error {
 public:
  explicit UsageError(const std::string& message) : Error(FASTBERT_USAGE_ERROR, message) {}
};

// The bundle is missing, damaged, replaced, or of another schema.
class FASTBERT_EXCEPTION BundleError : public Error {
 public:
  explicit BundleError(const std::string& message) : Error(FASTBERT_BUNDLE_ERROR, message) {}
};

// ONNX Runtime is missing or too old, or failed; or libfastbert has another ABI than this header.
class FASTBERT_EXCEPTION EngineError : public Error {
 public:
  explicit EngineError(const std::string& message) : Error(FASTBERT_ENGINE_ERROR, message) {}
};

// The library does not have the bundle's kind of tokenizer. Token ids work.
class FASTBERT_EXCEPTION UnsupportedError : public Error {
 public:
  explicit UnsupportedError(const std::string& message) : Error(FASTBERT_UNSUPPORTED, message) {}
};

// A view of values in a row: of a vector, an array or a std::span (C++20), which it must not
// outlive.
template <class T>
class Span {
 public:
  constexpr Span() noexcept = default;
  constexpr Span(const T* data, std::size_t size) noexcept : data_(data), size_(size) {}
  template <std::size_t N>
  constexpr Span(const T (&array)[N]) noexcept : data_(array), size_(N) {}
  template <class Container, class = std::enable_if_t<std::is_convertible_v<
                                 decltype(std::declval<const Container&>().data()), const T*>>>
  constexpr Span(const Container& container) noexcept
      : data_(container.data()), size_(container.size()) {}

  constexpr const T* data() const noexcept { return data_; }
  constexpr std::size_t size() const noexcept { return size_; }
  constexpr bool empty() const noexcept { return size_ == 0; }
  constexpr const T* begin() const noexcept { return data_; }
  constexpr const T* end() const noexcept { return data_ + size_; }
  constexpr const T& operator[](std::size_t index) const noexcept { return data_[index]; }

 private:
  const T* data_ = nullptr;
  std::size_t size_ = 0;
};

// How to load a model.
struct ModelOptions {
  std::string variant;              // name of a variant; empty: the first one for the CPU
  std::int32_t threads = 0;         // of one call; 0: the cores that this process may use
  bool batches = false;             // load the engines for batches now, not the one for single rows
  bool check_contents = true;       // compare the sha256 of the bundle's files with the manifest
  std::string onnxruntime_library;  // path of ONNX Runtime's library; empty: it is searched
  const void* ort_api = nullptr;    // the host's own ONNX Runtime: a `const OrtApi*` and ...
  void* ort_env = nullptr;          // ... an `OrtEnv*`, both or neither
  bool host_thread_pool = false;    // use the thread pool of ort_env instead of own threads
};

// Token ids: arrays of [rows, sequence], row after row, padded on the right.
template <class Id>
struct Batch {
  static_assert(std::is_same_v<Id, std::int64_t> || std::is_same_v<Id, std::int32_t>,
                "ids are std::int64_t or std::int32_t");
  Span<Id> input_ids{};       // 0 to vocab_size - 1
  Span<Id> attention_mask{};  // 1 for tokens, 0 for padding; empty: no padding
  Span<Id> token_type_ids{};  // empty: the bundle's default_token_type
  std::size_t rows = 1;
};

// Two texts that are classified together.
using TextPair = std::pair<std::string_view, std::string_view>;

// The answer for one row.
struct Prediction {
  std::string label;                 // name of the class with the highest logit
  std::int32_t label_index = 0;      // its number
  std::vector<float> probabilities;  // [classes]
  std::int32_t exit_layer = 0;       // 0-based layer of the exit that answered
  float uncertainty = 0;             // of that exit, in [0, 1]
  bool truncated = false;            // whether the text was cut to max_length

  std::int32_t layers_run() const noexcept { return exit_layer + 1; }
  float probability() const { return probabilities.at(static_cast<std::size_t>(label_index)); }
};

// Token ids of texts: arrays of [rows, sequence], row after row, padded on the right.
struct Encoding {
  std::size_t rows = 0;
  std::size_t sequence = 0;  // tokens of the longest row
  std::vector<std::int64_t> input_ids;
  std::vector<std::int64_t> attention_mask;
  std::vector<std::int64_t> token_type_ids;
  std::vector<bool> truncated;  // [rows]

  Batch<std::int64_t> batch() const { return {input_ids, attention_mask, token_type_ids, rows}; }
};

namespace internal {

struct Free {
  void operator()(fastbert_model* model) const noexcept { fastbert_model_free(model); }
  void operator()(fastbert_session* session) const noexcept { fastbert_session_free(session); }
};

// Throws what a status stands for.
inline void check(fastbert_status status) {
  if (status == FASTBERT_OK) return;
  const std::string message = fastbert_last_error();
  switch (status) {
    case FASTBERT_USAGE_ERROR:
      throw UsageError(message);
    case FASTBERT_BUNDLE_ERROR:
      throw BundleError(message);
    case FASTBERT_ENGINE_ERROR:
      throw EngineError(message);
    case FASTBERT_UNSUPPORTED:
      throw UnsupportedError(message);
    case FASTBERT_OUT_OF_MEMORY:
      throw std::bad_alloc();
    default:
      throw Error(status, message);
  }
}

inline void check_abi() {
  const std::uint32_t found = fastbert_abi_version();
  if (found == FASTBERT_ABI_VERSION) return;
  const std::string expected = std::to_string(FASTBERT_ABI_VERSION);
  throw EngineError("libfastbert " + std::string(fastbert_version()) + " has the ABI version " +
                    std::to_string(found) + "; this program was compiled for version " + expected +
                    ". Compile it again with that library's headers, or let it find the library "
                    "of version " +
                    expected + ".");
}

// Throws if C would take only a part of a text.
inline void check_no_nul(const char* parameter, const std::string& text) {
  const std::size_t nul = text.find('\0');
  if (nul == std::string::npos) return;
  throw UsageError("`" + std::string(parameter) + "` has a NUL at byte " + std::to_string(nul) +
                   ". Give the text without it.");
}

inline fastbert_text view(std::string_view text) noexcept { return {text.data(), text.size()}; }

template <class Range>
using Element = decltype(*std::begin(std::declval<const Range&>()));

// Holds for a range of texts or of pairs of texts, and not for a text, which is a range of chars.
// The elements must exist while the range does: strings that an iterator makes would be gone.
template <class Range>
using IfTexts = std::enable_if_t<!std::is_convertible_v<const Range&, std::string_view> &&
                                 (std::is_convertible_v<Element<Range>, std::string_view> ||
                                  std::is_convertible_v<Element<Range>, TextPair>) &&
                                 (std::is_lvalue_reference_v<Element<Range>> ||
                                  std::is_trivially_copyable_v<Element<Range>>)>;

}  // namespace internal

// A loaded bundle: immutable, shared by threads.
class Model {
 public:
  // Loads a bundle, the directory that `fastbert export` writes; `bundle` is UTF-8.
  // Throws UsageError, BundleError, EngineError, std::bad_alloc.
  explicit Model(const std::string& bundle, const ModelOptions& options = {}) {
    internal::check_abi();
    internal::check_no_nul("bundle", bundle);
    const auto or_null = [](const std::string& text) {
      return text.empty() ? nullptr : text.c_str();
    };
    fastbert_model_options given = FASTBERT_MODEL_OPTIONS_INIT;
    given.variant = or_null(options.variant);
    given.threads = options.threads;
    given.batches = options.batches ? 1 : 0;
    given.skip_checksums = options.check_contents ? 0 : 1;
    given.onnxruntime_library = or_null(options.onnxruntime_library);
    given.ort_api = options.ort_api;
    given.ort_env = options.ort_env;
    given.host_thread_pool = options.host_thread_pool ? 1 : 0;
    fastbert_model* model = nullptr;
    internal::check(fastbert_model_load(bundle.c_str(), &given, &model));
    model_.reset(model);
    internal::check(fastbert_model_get_info(model, &info_));
    std::vector<std::string> labels;
    for (std::size_t index = 0; const char* label = fastbert_model_label(model, index); ++index) {
      labels.emplace_back(label);
    }
    labels_ = std::make_shared<const std::vector<std::string>>(std::move(labels));
    for (std::size_t exit = 0; exit < static_cast<std::size_t>(info_.exits); ++exit) {
      exits_.push_back(fastbert_model_exit_layer(model, exit));
    }
    for (std::size_t index = 0;
         const char* name = fastbert_model_operating_point_name(model, index); ++index) {
      operating_points_.emplace_back(name);
    }
  }

  // Class names by index.
  const std::vector<std::string>& labels() const noexcept { return *labels_; }
  // 0-based layer of each exit.
  const std::vector<std::int32_t>& exits() const noexcept { return exits_; }
  // Names of the operating points: speeds that `fastbert tune` wrote into the bundle.
  const std::vector<std::string>& operating_points() const noexcept { return operating_points_; }
  // The speed of an operating point, to classify at. Throws UsageError if there is no such point, or
  // if it was tuned on other engines than those that run.
  double speed(const std::string& name) const {
    internal::check_no_nul("name", name);
    double found = 0;
    internal::check(fastbert_model_operating_point(get(), name.c_str(), &found));
    return found;
  }
  // What the model is. Its strings belong to the model.
  const fastbert_model_info& info() const noexcept { return info_; }
  // For the functions of fastbert.h.
  const fastbert_model* get() const noexcept { return model_.get(); }

 private:
  friend class Session;
  std::unique_ptr<fastbert_model, internal::Free> model_;
  fastbert_model_info info_ = FASTBERT_MODEL_INFO_INIT;
  std::shared_ptr<const std::vector<std::string>> labels_;
  std::vector<std::int32_t> exits_;
  std::vector<std::string> operating_points_;
};

// One thread's buffers for a model. It may outlive its Model. One that was moved from may only be
// assigned to or destroyed, as a Model.
//
// `speed`, of each function: in [0, 1]; a row exits at the first exit whose uncertainty is below
// it, at the latest at the last one. 0: every row runs all layers. kDefaultSpeed: the bundle's.
// Model::speed gives a named one.
// All throw UsageError, BundleError, EngineError and std::bad_alloc; for texts, UnsupportedError.
class Session {
 public:
  explicit Session(const Model& model)
      : labels_(model.labels_), max_length_(static_cast<std::size_t>(model.info_.max_length)) {
    fastbert_session* session = nullptr;
    internal::check(fastbert_session_create(model.get(), &session));
    session_.reset(session);
  }

  // Classifies a single row of token ids.
  Prediction classify(Span<std::int64_t> ids, double speed = kDefaultSpeed) {
    return std::move(classify(Batch<std::int64_t>{ids, {}, {}, 1}, speed).front());
  }
  Prediction classify(Span<std::int32_t> ids, double speed = kDefaultSpeed) {
    return std::move(classify(Batch<std::int32_t>{ids, {}, {}, 1}, speed).front());
  }

  // Classifies token ids; one prediction per row.
  std::vector<Prediction> classify(const Batch<std::int64_t>& batch, double speed = kDefaultSpeed) {
    return classify_ids(batch, FASTBERT_INT64, speed);
  }
  std::vector<Prediction> classify(const Batch<std::int32_t>& batch, double speed = kDefaultSpeed) {
    return classify_ids(batch, FASTBERT_INT32, speed);
  }

  // Classifies a text in UTF-8.
  Prediction classify_text(std::string_view text, double speed = kDefaultSpeed) {
    return std::move(classify_views({{internal::view(text)}, {}}, speed).front());
  }
  // Classifies a pair of texts.
  Prediction classify_text(std::string_view text, std::string_view text_pair,
                           double speed = kDefaultSpeed) {
    return std::move(
        classify_views({{internal::view(text)}, {internal::view(text_pair)}}, speed).front());
  }
  // Classifies a range of texts, such as a vector of strings, or of TextPairs; one prediction per
  // text. Texts of similar length run together.
  template <class Texts, class = internal::IfTexts<Texts>>
  std::vector<Prediction> classify_text(const Texts& texts, double speed = kDefaultSpeed) {
    return classify_views(Views(texts), speed);
  }

  // Turns a text, or a range of texts or TextPairs, into token ids, as classify_text does.
  Encoding encode(std::string_view text) { return encode_views({{internal::view(text)}, {}}); }
  template <class Texts, class = internal::IfTexts<Texts>>
  Encoding encode(const Texts& texts) {
    return encode_views(Views(texts));
  }

  // For the functions of fastbert.h, such as fastbert_classify, which writes into given arrays.
  fastbert_session* get() const noexcept { return session_.get(); }

 private:
  // Texts as the C functions take them.
  struct Views {
    Views(std::vector<fastbert_text> first, std::vector<fastbert_text> second)
        : texts(std::move(first)), pairs(std::move(second)) {}
    template <class Texts>
    explicit Views(const Texts& given) {
      for (const auto& element : given) {
        if constexpr (std::is_convertible_v<decltype(element), std::string_view>) {
          texts.push_back(internal::view(element));
        } else {
          texts.push_back(internal::view(element.first));
          pairs.push_back(internal::view(element.second));
        }
      }
    }
    const fastbert_text* pairs_or_null() const noexcept {
      return pairs.empty() ? nullptr : pairs.data();
    }

    std::vector<fastbert_text> texts, pairs;
  };

  // Where a call's answers go.
  struct Outputs {
    Outputs(std::size_t rows, std::size_t classes)
        : probabilities(rows * classes),
          uncertainty(rows),
          label(rows),
          exit_layer(rows),
          truncated(rows) {
      answers.probabilities = probabilities.data();
      answers.label = label.data();
      answers.exit_layer = exit_layer.data();
      answers.uncertainty = uncertainty.data();
      answers.truncated = truncated.data();
    }
    Outputs(const Outputs&) = delete;
    Outputs& operator=(const Outputs&) = delete;

    std::vector<float> probabilities, uncertainty;
    std::vector<std::int32_t> label, exit_layer;
    std::vector<std::uint8_t> truncated;
    fastbert_answers answers = FASTBERT_ANSWERS_INIT;
  };

  template <class Id>
  std::vector<Prediction> classify_ids(const Batch<Id>& batch, fastbert_id_type type,
                                       double speed) {
    const std::size_t size = batch.input_ids.size();
    if (batch.rows == 0 ? size != 0 : size % batch.rows != 0) {
      throw UsageError("`input_ids` has " + std::to_string(size) + " ids, which are not " +
                       std::to_string(batch.rows) +
                       " rows of one length. Pad the rows on the right.");
    }
    require_size("attention_mask", batch.attention_mask.size(), size);
    require_size("token_type_ids", batch.token_type_ids.size(), size);
    fastbert_batch given = FASTBERT_BATCH_INIT;
    given.rows = batch.rows;
    given.sequence = batch.rows == 0 ? 0 : size / batch.rows;
    given.type = type;
    given.input_ids = batch.input_ids.data();
    given.attention_mask = batch.attention_mask.empty() ? nullptr : batch.attention_mask.data();
    given.token_type_ids = batch.token_type_ids.empty() ? nullptr : batch.token_type_ids.data();
    Outputs outputs(batch.rows, labels_->size());
    internal::check(fastbert_classify(get(), &given, speed, &outputs.answers));
    return predictions(outputs);
  }

  static void require_size(const char* name, std::size_t found, std::size_t expected) {
    if (found == 0 || found == expected) return;
    throw UsageError("`" + std::string(name) + "` has " + std::to_string(found) +
                     " values; `input_ids` has " + std::to_string(expected) +
                     " ids. Give one value for each id, or none.");
  }

  std::vector<Prediction> classify_views(const Views& views, double speed) {
    const std::size_t rows = views.texts.size();
    Outputs outputs(rows, labels_->size());
    internal::check(fastbert_classify_text(get(), views.texts.data(), views.pairs_or_null(), rows,
                                           speed, &outputs.answers));
    return predictions(outputs);
  }

  Encoding encode_views(const Views& views) {
    const std::size_t rows = views.texts.size();
    std::vector<std::int64_t> ids(rows * max_length_), mask(ids.size()), types(ids.size());
    std::vector<std::uint8_t> truncated(rows);
    fastbert_encoding given = FASTBERT_ENCODING_INIT;
    given.capacity = max_length_;
    given.input_ids = ids.data();
    given.attention_mask = mask.data();
    given.token_type_ids = types.data();
    given.truncated = truncated.data();
    internal::check(
        fastbert_encode(get(), views.texts.data(), views.pairs_or_null(), rows, &given));
    const auto cut = [&](const std::vector<std::int64_t>& from) {  // to the longest row
      std::vector<std::int64_t> kept;
      kept.reserve(rows * given.sequence);
      for (std::size_t row = 0; row < rows; ++row) {
        const std::int64_t* const start = from.data() + row * max_length_;
        kept.insert(kept.end(), start, start + given.sequence);
      }
      return kept;
    };
    return {rows,      given.sequence, cut(ids),
            cut(mask), cut(types),     {truncated.begin(), truncated.end()}};
  }

  std::vector<Prediction> predictions(const Outputs& outputs) const {
    std::vector<Prediction> result(outputs.label.size());
    const float* probabilities = outputs.probabilities.data();
    for (std::size_t row = 0; row < result.size(); ++row, probabilities += labels_->size()) {
      Prediction& prediction = result[row];
      prediction.label_index = outputs.label[row];
      prediction.label = labels_->at(static_cast<std::size_t>(prediction.label_index));
      prediction.probabilities.assign(probabilities, probabilities + labels_->size());
      prediction.exit_layer = outputs.exit_layer[row];
      prediction.uncertainty = outputs.uncertainty[row];
      prediction.truncated = outputs.truncated[row] != 0;
    }
    return result;
  }

  std::unique_ptr<fastbert_session, internal::Free> session_;
  std::shared_ptr<const std::vector<std::string>> labels_;
  std::size_t max_length_;
};

}  // namespace fastbert

#endif  // FASTBERT_HPP
