/* Stands in for the provider plugin of TensorRT for RTX, in the ABI of ONNX Runtime 1.23: it takes
   the machine's first device (a CPU) where $G4V_FAKE_RTX_DEVICES is 1, none where it is 0, and
   every session that asks for it is refused with its own words. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct Factory {
  uint32_t version;
  const char* (*get_name)(const struct Factory*);
  const char* (*get_vendor)(const struct Factory*);
  void* (*get_supported_devices)(struct Factory*, const void* const* devices, size_t count,
                                 void** ep_devices, size_t most, size_t* made);
  void* (*create_ep)(struct Factory*, const void* const* devices, const void* const* metadata,
                     size_t count, const void* options, const void* logger, void** ep);
  void (*release_ep)(struct Factory*, void* ep);
  uint32_t (*get_vendor_id)(const struct Factory*);
  const char* (*get_version)(const struct Factory*);
  void* none[3]; /* compatibility of compiled models, allocators */
  void* (*create_data_transfer)(struct Factory*, void** made);
  _Bool (*is_stream_aware)(const struct Factory*);
  void* no_streams;
} Factory;

struct ApiBase {
  const void* (*get_api)(uint32_t version);
  const char* (*get_version)(void);
};

/* Positions in OrtApi and OrtEpApi. */
enum { CREATE_STATUS = 0, GET_EP_API = 317, CREATE_EP_DEVICE = 0 };

static void* const* api;

static const char* GetName(const Factory* factory) {
  (void)factory;
  return "NvTensorRTRTXExecutionProvider";
}

static const char* GetVendor(const Factory* factory) {
  (void)factory;
  return "g4v's tests";
}

static void* GetSupportedDevices(Factory* factory, const void* const* devices, size_t count,
                                 void** ep_devices, size_t most, size_t* made) {
  const char* wanted = getenv("G4V_FAKE_RTX_DEVICES");
  *made = 0;
  if (!wanted || wanted[0] != '1' || count == 0 || most == 0) return NULL;
  void* const* (*get_ep_api)(void);
  void* (*create)(Factory*, const void*, const void*, const void*, void**);
  *(void**)&get_ep_api = api[GET_EP_API];
  *(void**)&create = get_ep_api()[CREATE_EP_DEVICE];
  *made = 1;
  return create(factory, devices[0], NULL, NULL, &ep_devices[0]);
}

static void* CreateEp(Factory* factory, const void* const* devices, const void* const* metadata,
                      size_t count, const void* options, const void* logger, void** ep) {
  (void)factory, (void)devices, (void)metadata, (void)count, (void)options, (void)logger;
  void* (*create_status)(int, const char*);
  *(void**)&create_status = api[CREATE_STATUS];
  *ep = NULL;
  return create_status(1, "the stand-in runs no engines");
}

static void ReleaseEp(Factory* factory, void* ep) { (void)factory, (void)ep; }

static uint32_t GetVendorId(const Factory* factory) {
  (void)factory;
  return 0;
}

static const char* GetVersion(const Factory* factory) {
  (void)factory;
  return "0.1.0";
}

static void* CreateDataTransfer(Factory* factory, void** made) {
  (void)factory;
  *made = NULL;
  return NULL;
}

static _Bool IsStreamAware(const Factory* factory) {
  (void)factory;
  return 0;
}

void* CreateEpFactories(const char* name, const struct ApiBase* base, const void* logger,
                        Factory** factories, size_t most, size_t* made);
void* CreateEpFactories(const char* name, const struct ApiBase* base, const void* logger,
                        Factory** factories, size_t most, size_t* made) {
  static Factory factory = {
      23,          GetName,    GetVendor, GetSupportedDevices, CreateEp,      ReleaseEp,
      GetVendorId, GetVersion, {NULL},    CreateDataTransfer,  IsStreamAware, NULL};
  (void)name, (void)logger;
  api = base->get_api(23);
  *made = most > 0;
  if (most > 0) factories[0] = &factory;
  return NULL;
}

void* ReleaseEpFactory(Factory* factory);
void* ReleaseEpFactory(Factory* factory) {
  (void)factory;
  return NULL;
}
