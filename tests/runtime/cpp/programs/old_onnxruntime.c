/* A library that looks like ONNX Runtime 1.25, whose GetApi must not be called: the real one would
 * print to stderr. */
#include <stdint.h>
#include <stdlib.h>

static const void* get_api(uint32_t version) {
  (void)version;
  abort();
}

static const char* get_version(void) { return "1.25.9"; }

static const struct {
  const void* (*GetApi)(uint32_t);
  const char* (*GetVersionString)(void);
} base = {get_api, get_version};

const void* OrtGetApiBase(void) { return &base; }
