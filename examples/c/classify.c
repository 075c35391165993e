/* classify: prints the label of each text, and how many layers it took.
 *
 *     ./classify bundle "what a lovely film" "two hours on hold"
 */
#include <fastbert.h>
#include <stdio.h>
#include <string.h>

static int fail(void) {
  fprintf(stderr, "Error: %s\n", fastbert_last_error());
  return 1;
}

int main(int argc, char** argv) {
  fastbert_model* model = NULL;
  fastbert_session* session = NULL;
  int failed = 0;
  if (argc < 3) {
    fprintf(stderr, "Usage: %s BUNDLE TEXT...\n", argv[0]);
    return 2;
  }
  if (fastbert_model_load(argv[1], NULL, &model) != FASTBERT_OK) return fail();
  if (fastbert_session_create(model, &session) != FASTBERT_OK) failed = fail();

  for (int i = 2; i < argc && !failed; ++i) {
    const fastbert_text text = {argv[i], strlen(argv[i])};
    int32_t label = 0, exit_layer = 0;
    float uncertainty = 0;
    fastbert_answers answers = FASTBERT_ANSWERS_INIT;
    answers.label = &label;
    answers.exit_layer = &exit_layer;
    answers.uncertainty = &uncertainty;
    if (fastbert_classify_text(session, &text, NULL, 1, FASTBERT_DEFAULT_SPEED, &answers) !=
        FASTBERT_OK) {
      failed = fail();
    } else {
      printf("%s\t%d layers\tuncertainty %.3f\t%s\n", fastbert_model_label(model, (size_t)label),
             exit_layer + 1, (double)uncertainty, argv[i]);
    }
  }
  fastbert_session_free(session);
  fastbert_model_free(model);
  return failed;
}
