// What a probe needs of libcuda.so.1, without a GPU. Device memory is host memory, a kernel stores
// the number of blocks in its first output word, and arguments that cuda.h does not allow abort.
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace {

constexpr int kInvalidPtx = 218;
constexpr int kIllegalAddress = 700;
constexpr int kErrorLog = 5;
constexpr int kErrorLogBytes = 6;
constexpr int kClusterDimension = 4;
constexpr unsigned kFailingBlocks = 3;

struct Attribute {
  int id;
  char padding[4];
  union {
    char bytes[64];
    unsigned cluster[3];
  };
};

struct Configuration {
  unsigned grid[3], block[3], dynamic_shared;
  void* stream;
  Attribute* attributes;
  unsigned attribute_count;
};

void require(bool condition) {
  if (!condition) abort();
}

}  // namespace

extern "C" {

int cuInit(unsigned flags) { return flags; }
int cuDeviceGet(int* device, int ordinal) { return *device = ordinal; }
int cuDevicePrimaryCtxRetain(void** context, int) {
  *context = context;
  return 0;
}
int cuCtxSetCurrent(void* context) { return context == nullptr; }
int cuCtxSynchronize() { return 0; }

int cuGetErrorName(int code, const char** name) {
  *name = code == kInvalidPtx ? "CUDA_ERROR_INVALID_PTX" : "CUDA_ERROR_ILLEGAL_ADDRESS";
  return 0;
}

int cuModuleLoadDataEx(const char** module, const char* ptx, unsigned count, const int* options,
                       void** values) {
  require(count == 2 && options[0] == kErrorLog && options[1] == kErrorLogBytes);
  require(reinterpret_cast<uintptr_t>(values[1]) >= 1024);
  *module = ptx;
  if (!strstr(ptx, "tanh")) return 0;
  strcpy(static_cast<char*>(values[0]), "no tanh here");
  return kInvalidPtx;
}

int cuModuleGetFunction(const char** function, const char* module, const char* name) {
  *function = module;
  return strcmp(name, "probe");
}

int cuMemAlloc_v2(uint64_t* address, size_t bytes) {
  *address = reinterpret_cast<uint64_t>(aligned_alloc(256, (bytes + 255) / 256 * 256));
  return 0;
}

int cuMemcpyHtoD_v2(uint64_t target, const void* source, size_t bytes) {
  memcpy(reinterpret_cast<void*>(target), source, bytes);
  return 0;
}

int cuMemcpyDtoH_v2(void* target, uint64_t source, size_t bytes) {
  memcpy(target, reinterpret_cast<void*>(source), bytes);
  return 0;
}

int cuTensorMapEncodeTiled(void* map, int type, unsigned rank, void* address, const uint64_t*,
                           const uint64_t*, const uint32_t* box, const uint32_t* steps,
                           int interleave, int swizzle, int promotion, int fill) {
  require(reinterpret_cast<uintptr_t>(map) % 64 == 0 &&
          reinterpret_cast<uintptr_t>(address) % 16 == 0);
  require(type >= 0 && type <= 12 && rank >= 1 && rank <= 5 && box[0] > 0 && steps[0] > 0);
  require(interleave == 0 && swizzle >= 0 && swizzle <= 3 && promotion == 0 && fill >= 0);
  memset(map, 0x77, 128);
  return 0;
}

int cuLaunchKernelEx(const Configuration* configuration, const char* function, void** parameters,
                     void** extra) {
  require(configuration->dynamic_shared == 0 && configuration->stream == nullptr && !extra);
  const bool maps = strstr(function, "map0") != nullptr;
  if (maps) require(static_cast<char*>(parameters[3])[127] == 0x77);
  if (configuration->attribute_count == 1) {
    const Attribute& attribute = configuration->attributes[0];
    require(attribute.id == kClusterDimension && attribute.cluster[0] == 2 &&
            attribute.cluster[1] == 1 && attribute.cluster[2] == 1);
  }
  if (configuration->grid[0] == kFailingBlocks) return kIllegalAddress;
  **static_cast<uint64_t**>(parameters[1]) = configuration->grid[0];
  return 0;
}
}
