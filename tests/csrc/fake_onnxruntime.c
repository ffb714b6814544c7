/* The last ONNX Runtime that is too old. */
#include <stddef.h>
#include <stdint.h>

struct ApiBase {
  const void* (*get_api)(uint32_t version);
  const char* (*get_version)(void);
};

static const void* GetApi(uint32_t version) {
  (void)version;
  return NULL;
}

static const char* GetVersion(void) { return "1.24.0"; }

const struct ApiBase* OrtGetApiBase(void);

const struct ApiBase* OrtGetApiBase(void) {
  static const struct ApiBase base = {GetApi, GetVersion};
  return &base;
}
