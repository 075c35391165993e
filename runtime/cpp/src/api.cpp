// The functions of fastbert.h: nothing is thrown across them.
#include <cstddef>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>

#include "errors.h"
#include "fastbert.h"
#include "handles.h"
#include "system/log.h"
#include "system/utf8.h"

namespace {

using fastbert::Error;
using fastbert::UsageError;

thread_local std::string last_error;

fastbert_status failed(fastbert_status status, const char* message) noexcept {
  try {
    last_error = fastbert::to_valid_utf8(message);
  } catch (...) {
    last_error.clear();
  }
  return status;
}

// Runs an entry point's work and turns what it throws into a status and a message.
template <typename Work>
fastbert_status guarded(const Work& work) noexcept {
  try {
    work();
    return FASTBERT_OK;
  } catch (const Error& error) {
    return failed(error.status(), error.what());
  } catch (const std::bad_alloc&) {
    return failed(FASTBERT_OUT_OF_MEMORY, "There is not enough memory.");
  } catch (const std::length_error&) {
    return failed(FASTBERT_OUT_OF_MEMORY, "There is not enough memory for an array of this size.");
  } catch (const std::exception& error) {
    return failed(FASTBERT_INTERNAL_ERROR, error.what());
  } catch (...) {
    return failed(FASTBERT_INTERNAL_ERROR, "An unknown exception was thrown.");
  }
}

template <typename Pointer>
void check_not_null(const Pointer* pointer, const char* name) {
  if (pointer == nullptr) throw UsageError("`" + std::string(name) + "` is null.");
}

// Size of a struct in the first release of this ABI: the smallest that a caller may have. When a
// field is appended, its struct's size before that goes here.
template <typename Struct>
constexpr std::size_t kFirstSize = sizeof(Struct);

// Fields are appended, so a struct must not end in padding, which a new field could take without
// changing the size.
template <typename Struct, typename Last>
constexpr bool ends_with(std::size_t offset) {
  return offset + sizeof(Last) == sizeof(Struct);
}
static_assert(ends_with<fastbert_model_options, void*>(offsetof(fastbert_model_options, ort_env)));
static_assert(ends_with<fastbert_model_info, const char*>(offsetof(fastbert_model_info,
                                                                   text_problem)));
static_assert(ends_with<fastbert_batch, const void*>(offsetof(fastbert_batch, token_type_ids)));
static_assert(ends_with<fastbert_answers, std::uint8_t*>(offsetof(fastbert_answers, truncated)));
static_assert(ends_with<fastbert_encoding, std::size_t>(offsetof(fastbert_encoding, sequence)));

template <typename Struct>
void check_struct(const Struct* given, const char* name) {
  check_not_null(given, name);
  if (given->struct_size < kFirstSize<Struct>)
    throw UsageError("The struct_size of `" + std::string(name) + "` is " +
                     std::to_string(given->struct_size) + "; it must be at least " +
                     std::to_string(kFirstSize<Struct>) +
                     ". Initialize the struct with its FASTBERT_..._INIT.");
}

// Returns the fields that the caller's struct has, and the defaults of those it does not have;
// fields that this library does not know are ignored.
template <typename Struct>
Struct known_fields(const Struct* given, const char* name) {
  check_struct(given, name);
  Struct known{};
  std::memcpy(&known, given, std::min(given->struct_size, sizeof(Struct)));
  return known;
}

}  // namespace

extern "C" {

uint32_t fastbert_abi_version(void) { return FASTBERT_ABI_VERSION; }

const char* fastbert_version(void) { return FASTBERT_VERSION; }

const char* fastbert_last_error(void) { return last_error.c_str(); }

void fastbert_set_log(fastbert_log_function function, void* user_data) {
  fastbert::set_log(function, user_data);
}

fastbert_status fastbert_model_load(const char* bundle, const fastbert_model_options* options,
                                    fastbert_model** model) {
  return guarded([&] {
    check_not_null(model, "model");
    *model = nullptr;
    check_not_null(bundle, "bundle");
    const fastbert_model_options known =
        options == nullptr ? fastbert_model_options{} : known_fields(options, "options");
    auto made = std::make_unique<fastbert_model>();
    made->model = std::make_shared<const fastbert::Model>(bundle, known);
    *model = made.release();
  });
}

void fastbert_model_free(fastbert_model* model) { delete model; }

fastbert_status fastbert_model_get_info(const fastbert_model* model, fastbert_model_info* info) {
  return guarded([&] {
    check_not_null(model, "model");
    check_struct(info, "info");
    const fastbert::Manifest& manifest = model->model->manifest();
    fastbert_model_info known{};
    known.struct_size = info->struct_size;
    known.classes = static_cast<std::int32_t>(manifest.labels.size());
    known.layers = manifest.layers;
    known.exits = static_cast<std::int32_t>(manifest.exits.size());
    known.max_length = manifest.max_length;
    known.max_positions = manifest.max_positions;
    known.vocab_size = manifest.vocab_size;
    known.type_vocab_size = manifest.type_vocab_size;
    known.default_token_type = manifest.default_token_type;
    known.pad_token_id = manifest.pad_token_id;
    known.has_text = model->model->tokenizer() == nullptr ? 0 : 1;
    known.default_speed = manifest.default_speed;
    known.variant = model->model->variant().c_str();
    known.text_problem = known.has_text != 0 ? nullptr : model->model->text_problem().c_str();
    std::memcpy(info, &known, std::min(info->struct_size, sizeof known));
  });
}

const char* fastbert_model_label(const fastbert_model* model, size_t index) {
  if (model == nullptr || index >= model->model->manifest().labels.size()) return nullptr;
  return model->model->manifest().labels[index].c_str();
}

int32_t fastbert_model_exit_layer(const fastbert_model* model, size_t exit) {
  if (model == nullptr || exit >= model->model->manifest().exits.size()) return -1;
  return model->model->manifest().exits[exit];
}

const char* fastbert_model_operating_point_name(const fastbert_model* model, size_t index) {
  if (model == nullptr || index >= model->model->manifest().operating_points.size()) return nullptr;
  return model->model->manifest().operating_points[index].name.c_str();
}

fastbert_status fastbert_model_operating_point(const fastbert_model* model, const char* name,
                                               double* speed) {
  return guarded([&] {
    check_not_null(model, "model");
    check_not_null(name, "name");
    check_not_null(speed, "speed");
    *speed = model->model->operating_point_speed(name);
  });
}

fastbert_status fastbert_session_create(const fastbert_model* model, fastbert_session** session) {
  return guarded([&] {
    check_not_null(session, "session");
    *session = nullptr;
    check_not_null(model, "model");
    *session = new fastbert_session{fastbert::Session(model->model)};
  });
}

void fastbert_session_free(fastbert_session* session) { delete session; }

fastbert_status fastbert_classify(fastbert_session* session, const fastbert_batch* batch,
                                  double speed, fastbert_answers* answers) {
  return guarded([&] {
    check_not_null(session, "session");
    session->session.classify(known_fields(batch, "batch"), speed,
                              known_fields(answers, "answers"));
  });
}

fastbert_status fastbert_classify_text(fastbert_session* session, const fastbert_text* texts,
                                       const fastbert_text* text_pairs, size_t rows, double speed,
                                       fastbert_answers* answers) {
  return guarded([&] {
    check_not_null(session, "session");
    session->session.classify_text(texts, text_pairs, rows, speed,
                                   known_fields(answers, "answers"));
  });
}

fastbert_status fastbert_encode(fastbert_session* session, const fastbert_text* texts,
                                const fastbert_text* text_pairs, size_t rows,
                                fastbert_encoding* encoding) {
  return guarded([&] {
    check_not_null(session, "session");
    fastbert_encoding known = known_fields(encoding, "encoding");
    session->session.encode(texts, text_pairs, rows, known);
    encoding->sequence = known.sequence;
  });
}

}  // extern "C"
