/* A host with an ONNX Runtime of its own, loaded by its own code, with a global thread pool:
 *
 *     host BUNDLE ONNXRUNTIME LIBFASTBERT SECOND_COPY
 *
 * Compiled against the official headers. Prints why a model that should use the host's threads is
 * refused before there are any, then the exit layer and logits of one row: by a model that uses the
 * host's environment and threads, by a model of a second copy of libfastbert that loads ONNX
 * Runtime itself, and again by the first. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "fastbert.h"
#include "onnxruntime_c_api.h"

static void require(int holds, const char* what) {
  if (holds) return;
  fprintf(stderr, "%s: %s\n", what, dlerror());
  exit(1);
}

struct library {
  fastbert_status (*model_load)(const char*, const fastbert_model_options*, fastbert_model**);
  void (*model_free)(fastbert_model*);
  fastbert_status (*session_create)(const fastbert_model*, fastbert_session**);
  void (*session_free)(fastbert_session*);
  fastbert_status (*classify)(fastbert_session*, const fastbert_batch*, double, fastbert_answers*);
  const char* (*last_error)(void);
};

static struct library load(const char* path) {
  void* handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  struct library library;
  require(handle != NULL, path);
  *(void**)&library.model_load = dlsym(handle, "fastbert_model_load");
  *(void**)&library.model_free = dlsym(handle, "fastbert_model_free");
  *(void**)&library.session_create = dlsym(handle, "fastbert_session_create");
  *(void**)&library.session_free = dlsym(handle, "fastbert_session_free");
  *(void**)&library.classify = dlsym(handle, "fastbert_classify");
  *(void**)&library.last_error = dlsym(handle, "fastbert_last_error");
  return library;
}

static void classify(const struct library* library, fastbert_session* session) {
  const int64_t ids[] = {1, 5, 6, 7, 2};
  float logits[3];
  int32_t exit_layer;
  fastbert_batch batch = FASTBERT_BATCH_INIT;
  fastbert_answers answers = FASTBERT_ANSWERS_INIT;
  batch.rows = 1;
  batch.sequence = 5;
  batch.input_ids = ids;
  answers.logits = logits;
  answers.exit_layer = &exit_layer;
  require(library->classify(session, &batch, 0.0, &answers) == FASTBERT_OK, library->last_error());
  printf("%d %a %a %a\n", exit_layer, logits[0], logits[1], logits[2]);
}

static void load_and_open(const struct library* library, const char* bundle,
                          const fastbert_model_options* options, fastbert_model** model,
                          fastbert_session** session) {
  require(library->model_load(bundle, options, model) == FASTBERT_OK, library->last_error());
  require(library->session_create(*model, session) == FASTBERT_OK, library->last_error());
}

int main(int count, char** arguments) {
  require(count == 5, "usage");
  void* runtime = dlopen(arguments[2], RTLD_NOW | RTLD_LOCAL);
  require(runtime != NULL, arguments[2]);
  const OrtApiBase* (*get_base)(void);
  *(void**)&get_base = dlsym(runtime, "OrtGetApiBase");
  /* An older one than the library needs: the table is the same. */
  const OrtApi* api = get_base()->GetApi(22);
  const struct library first = load(arguments[3]), second = load(arguments[4]);
  require(first.model_load != second.model_load, "two copies");
  fastbert_model_options options = FASTBERT_MODEL_OPTIONS_INIT;
  fastbert_model *model, *other;
  fastbert_session *session, *other_session;
  OrtEnv* env;
  OrtThreadingOptions* threading;

  require(api->CreateEnv(ORT_LOGGING_LEVEL_WARNING, "host", &env) == NULL, "env");
  options.ort_api = api;
  options.ort_env = env;
  options.host_thread_pool = 1;
  require(first.model_load(arguments[1], &options, &model) == FASTBERT_ENGINE_ERROR, "no pool");
  puts(first.last_error());
  api->ReleaseEnv(env);

  require(api->CreateThreadingOptions(&threading) == NULL, "threading options");
  require(api->SetGlobalIntraOpNumThreads(threading, 2) == NULL, "threads");
  require(api->CreateEnvWithGlobalThreadPools(ORT_LOGGING_LEVEL_WARNING, "host", threading, &env) ==
              NULL,
          "env");
  api->ReleaseThreadingOptions(threading);
  options.ort_env = env;
  load_and_open(&first, arguments[1], &options, &model, &session);
  fastbert_model_options own = FASTBERT_MODEL_OPTIONS_INIT;
  own.onnxruntime_library = arguments[2];
  own.threads = 1;
  load_and_open(&second, arguments[1], &own, &other, &other_session);

  classify(&first, session);
  classify(&second, other_session);
  second.session_free(other_session);
  second.model_free(other);
  classify(&first, session);
  first.session_free(session);
  first.model_free(model);
  api->ReleaseEnv(env); /* the host's own: still valid */
  return 0;
}
