/* fastbert.h: early-exit text classification in C.
 *
 *     fastbert_model *model = NULL;
 *     fastbert_session *session = NULL;
 *     const char *text = "what a lovely film";
 *     const fastbert_text texts[] = {{text, strlen(text)}};
 *     int32_t label = 0;
 *     fastbert_answers answers = FASTBERT_ANSWERS_INIT;
 *     answers.label = &label;
 *     if (fastbert_model_load("bundle", NULL, &model) != FASTBERT_OK ||
 *         fastbert_session_create(model, &session) != FASTBERT_OK ||
 *         fastbert_classify_text(session, texts, NULL, 1, FASTBERT_DEFAULT_SPEED, &answers) !=
 * FASTBERT_OK) fprintf(stderr, "%s\n", fastbert_last_error()); else
 *       puts(fastbert_model_label(model, (size_t)label));
 *     fastbert_session_free(session);
 *     fastbert_model_free(model);
 *
 * A bundle is the directory that `fastbert export` writes (docs/bundle-format.md). ONNX
 * Runtime, 1.26 or later, is loaded with the first model and kept for the process's life. It is the
 * first of: `onnxruntime_library` of the options; the file that the environment variable
 * FASTBERT_ONNXRUNTIME names; a copy that the program is linked to; what the dynamic linker finds
 * as libonnxruntime.so.1 or libonnxruntime.so. Its telemetry is turned off by setting
 * ORT_DISABLE_TELEMETRY to 1, unless the variable has a value, or the process has several threads
 * by then (a log message says so).
 *
 * Threads: a model may be used by any number of threads at once; a session by one at a time. All
 * other functions may be called from any thread at any time. Errors: a function that can fail
 * returns a status, and fastbert_last_error() explains it on the same thread. Nothing is thrown,
 * printed or ended across this boundary. After an error, outputs are unspecified and everything
 * else remains usable.
 *
 * ABI: functions and the fields of structs are only ever added, at the end. Each struct begins with
 * its size, which the _INIT macros set: an older caller's missing fields have their defaults, and a
 * newer caller's unknown fields are ignored. Zero is the default of every field.
 */
#ifndef FASTBERT_H
#define FASTBERT_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#if defined(FASTBERT_BUILDING)
#define FASTBERT_API __declspec(dllexport)
#else
#define FASTBERT_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define FASTBERT_API __attribute__((visibility("default")))
#else
#define FASTBERT_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The ABI that this header describes: the number in the shared library's name (libfastbert.so.1).
 */
#define FASTBERT_ABI_VERSION 1u

/* What a function returns. Values are only added; treat one that you do not know as an error. */
typedef int32_t fastbert_status;
enum {
  FASTBERT_OK = 0,
  FASTBERT_USAGE_ERROR = 1,  /* an argument is not valid: null, out of range, not UTF-8, too long */
  FASTBERT_BUNDLE_ERROR = 2, /* the bundle is missing, damaged, replaced, or of another schema */
  FASTBERT_ENGINE_ERROR = 3, /* ONNX Runtime is missing or too old, or failed */
  FASTBERT_UNSUPPORTED =
      4, /* the bundle's tokenizer is of a kind that this library does not have */
  FASTBERT_OUT_OF_MEMORY = 5,
  FASTBERT_INTERNAL_ERROR = 6 /* a fault of this library: please report it */
};

/* The type of token ids in a fastbert_batch. */
typedef int32_t fastbert_id_type;
enum { FASTBERT_INT64 = 0, FASTBERT_INT32 = 1 };

/* Severity of a log message, as in ONNX Runtime. */
enum { FASTBERT_LOG_WARNING = 2, FASTBERT_LOG_ERROR = 3, FASTBERT_LOG_FATAL = 4 };

/* Pass as a speed to use the bundle's default_speed. */
#define FASTBERT_DEFAULT_SPEED (-1.0)

/* A loaded bundle: immutable, shared by threads. */
typedef struct fastbert_model fastbert_model;
/* One thread's buffers for a model. It keeps its model loaded: the two may be freed in any order.
 */
typedef struct fastbert_session fastbert_session;

/* Takes log messages: UTF-8 without a newline at the end, valid during the call. May be called from
 * any thread, also from ONNX Runtime's. Must not throw. */
typedef void (*fastbert_log_function)(void* user_data, int32_t severity, const char* message);

/* How to load a model. */
typedef struct fastbert_model_options {
  size_t struct_size;
  /* Name of a variant; NULL: the first one for the CPU. */
  const char* variant;
  /* Processor threads of one call; 0: the cores that this process may use. */
  int32_t threads;
  /* Not 0: load the engines for batches now and not the one for single rows, which then run as a
   * batch does. 0: the engines for batches are loaded with the first batch; until then the model
   * holds their files open. */
  int32_t batches;
  /* Not 0: compare only the sizes of the bundle's files with the manifest, not their sha256. */
  int32_t skip_checksums;
  /* Not 0: use the global thread pool of `ort_env`, which must have one, instead of own threads;
   * `threads` must be 0. */
  int32_t host_thread_pool;
  /* Path of ONNX Runtime's shared library; NULL: the one that the process has already, or it is
   * searched. A process has one: another path after the first model is an error. */
  const char* onnxruntime_library;
  /* The host's own ONNX Runtime, 1.26 or later: a `const OrtApi *` and an `OrtEnv *`, both or
   * neither. Both must live as long as the model and its sessions. The environment is not released;
   * it gets a memory arena for the CPU if it has none, and its messages go to the host's logger. */
  const void* ort_api;
  void* ort_env;
} fastbert_model_options;
#define FASTBERT_MODEL_OPTIONS_INIT \
  {sizeof(fastbert_model_options), NULL, 0, 0, 0, 0, NULL, NULL, NULL}

/* What a model is. Strings belong to the model. */
typedef struct fastbert_model_info {
  size_t struct_size;
  int32_t classes;
  int32_t layers; /* transformer layers of the whole model */
  int32_t exits;  /* exits, at most one per layer */
  int32_t
      max_length; /* longest text in tokens, special tokens included; longer ones are truncated */
  int32_t max_positions;      /* longest sequence of ids */
  int32_t vocab_size;         /* ids are 0 to vocab_size - 1 */
  int32_t type_vocab_size;    /* token types are 0 to type_vocab_size - 1 */
  int32_t default_token_type; /* of ids without types */
  int32_t pad_token_id;
  int32_t has_text; /* 1: fastbert_classify_text works; 0: only ids, and text_problem says why */
  double default_speed;
  const char* variant;      /* name of the variant that runs */
  const char* text_problem; /* NULL if has_text */
} fastbert_model_info;
#define FASTBERT_MODEL_INFO_INIT \
  {sizeof(fastbert_model_info), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.0, NULL, NULL}

/* Token ids: three arrays of [rows, sequence], row after row, padded on the right. */
typedef struct fastbert_batch {
  size_t struct_size;
  size_t rows;
  size_t sequence;
  fastbert_id_type type;      /* of all three arrays */
  const void* input_ids;      /* 0 to vocab_size - 1 */
  const void* attention_mask; /* 1 for tokens, 0 for padding; NULL: no padding */
  const void* token_type_ids; /* NULL: default_token_type */
} fastbert_batch;
#define FASTBERT_BATCH_INIT {sizeof(fastbert_batch), 0, 0, FASTBERT_INT64, NULL, NULL, NULL}

/* Where answers go, in the order of the rows: arrays of the caller, each of which may be NULL. */
typedef struct fastbert_answers {
  size_t struct_size;
  float* logits;        /* [rows, classes], of the exit that answered */
  float* probabilities; /* [rows, classes], the softmax of the logits */
  int32_t* label;       /* [rows], index of the highest logit */
  int32_t* exit_layer;  /* [rows], 0-based layer of the exit that answered; exit_layer + 1 layers
                           were run */
  float* uncertainty;   /* [rows], of that exit, in [0, 1] */
  uint8_t* truncated;   /* [rows], 1 if a text was cut to max_length; 0 for ids */
} fastbert_answers;
#define FASTBERT_ANSWERS_INIT {sizeof(fastbert_answers), NULL, NULL, NULL, NULL, NULL, NULL}

/* UTF-8 of a known size in bytes, with or without a NUL at its end. It may contain NULs. */
typedef struct fastbert_text {
  const char* data; /* may be NULL if size is 0 */
  size_t size;
} fastbert_text;

/* Where token ids go: arrays of the caller of [rows, capacity], each of which may be NULL. */
typedef struct fastbert_encoding {
  size_t struct_size;
  size_t capacity; /* columns of the arrays, at least the model's max_length */
  int64_t* input_ids;
  int64_t* attention_mask;
  int64_t* token_type_ids;
  uint8_t* truncated; /* [rows] */
  size_t sequence; /* set: tokens of the longest row. Columns after a row's tokens are padding. */
} fastbert_encoding;
#define FASTBERT_ENCODING_INIT {sizeof(fastbert_encoding), 0, NULL, NULL, NULL, NULL, 0}

/* Returns the ABI of the loaded library, to compare with FASTBERT_ABI_VERSION. */
FASTBERT_API uint32_t fastbert_abi_version(void);

/* Returns the library's version, such as "0.3.0". */
FASTBERT_API const char* fastbert_version(void);

/* Returns why the last function that failed on this thread failed: one paragraph of UTF-8, "" if
 * none did. Valid until the next call of a fastbert function on this thread. */
FASTBERT_API const char* fastbert_last_error(void);

/* Sends log messages of this library and of the ONNX Runtime that it loaded to a function; NULL:
 * nowhere, which is the default. The function must remain callable until it has been replaced and
 * all calls of fastbert have returned. */
FASTBERT_API void fastbert_set_log(fastbert_log_function function, void* user_data);

/* Loads a bundle. `options` may be NULL. On success *model must be freed; on failure it is NULL.
 * Errors: USAGE, BUNDLE, ENGINE, OUT_OF_MEMORY. */
FASTBERT_API fastbert_status fastbert_model_load(const char* bundle,
                                                 const fastbert_model_options* options,
                                                 fastbert_model** model);

/* Frees a model. NULL is ignored. */
FASTBERT_API void fastbert_model_free(fastbert_model* model);

/* Fills in `info`, whose struct_size must be set. Errors: USAGE. */
FASTBERT_API fastbert_status fastbert_model_get_info(const fastbert_model* model,
                                                     fastbert_model_info* info);

/* Returns the name of a class: UTF-8 that belongs to the model. NULL if there is no such class. */
FASTBERT_API const char* fastbert_model_label(const fastbert_model* model, size_t index);

/* Returns the 0-based layer of an exit, counted from the first one; -1 if there is no such exit. */
FASTBERT_API int32_t fastbert_model_exit_layer(const fastbert_model* model, size_t exit);

/* Returns the name of an operating point: a speed that `fastbert tune` wrote into the bundle, of any
 * variant. The string belongs to the model. NULL if there is no such point. */
FASTBERT_API const char* fastbert_model_operating_point_name(const fastbert_model* model,
                                                             size_t index);

/* Gives the speed of an operating point, such as "balanced", to classify at: in [0, 1].
 *
 * Errors: USAGE: no point has this name (the message lists those that the bundle has), or it does
 * not hold for the engines that run: it was tuned on another variant, or the variant was exported
 * again since. Points are read when the model is loaded. */
FASTBERT_API fastbert_status fastbert_model_operating_point(const fastbert_model* model,
                                                            const char* name, double* speed);

/* Makes a session. On success *session must be freed; on failure it is NULL. Errors: USAGE,
 * OUT_OF_MEMORY. */
FASTBERT_API fastbert_status fastbert_session_create(const fastbert_model* model,
                                                     fastbert_session** session);

/* Frees a session. NULL is ignored. */
FASTBERT_API void fastbert_session_free(fastbert_session* session);

/* Classifies token ids. A row exits at the first exit whose uncertainty is below `speed`, at the
 * latest at the last one.
 *
 * speed: in [0, 1]; 0: every row runs all layers; FASTBERT_DEFAULT_SPEED: the bundle's; a named one
 * comes from fastbert_model_operating_point.
 * No rows are no error. Errors: USAGE, BUNDLE (the files were written to after the model was
 * loaded), ENGINE, OUT_OF_MEMORY. */
FASTBERT_API fastbert_status fastbert_classify(fastbert_session* session,
                                               const fastbert_batch* batch, double speed,
                                               fastbert_answers* answers);

/* Classifies texts, or pairs of texts. Texts of similar length run together.
 *
 * text_pairs: NULL: single texts; otherwise the second text of each pair.
 * Errors: as fastbert_classify; USAGE for a text that is not UTF-8, by its index; UNSUPPORTED
 * without a tokenizer. */
FASTBERT_API fastbert_status fastbert_classify_text(fastbert_session* session,
                                                    const fastbert_text* texts,
                                                    const fastbert_text* text_pairs, size_t rows,
                                                    double speed, fastbert_answers* answers);

/* Turns texts into token ids, as fastbert_classify_text does. Errors: USAGE, UNSUPPORTED,
 * OUT_OF_MEMORY. */
FASTBERT_API fastbert_status fastbert_encode(fastbert_session* session, const fastbert_text* texts,
                                             const fastbert_text* text_pairs, size_t rows,
                                             fastbert_encoding* encoding);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* FASTBERT_H */
