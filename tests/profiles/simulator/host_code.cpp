// Host code as nvcc would compile it, written by hand: it calls the CUDA run-time, and is linked
// without one. `dtype` of the parameters chooses what is tried; `flop` takes a number back.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "roofgate_abi.h"

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};

struct LaunchAttribute {
  int id;
  char padding[4];
  unsigned value[16];
};

struct LaunchConfiguration {
  dim3 grid, block;
  size_t shared_bytes;
  void* stream;
  LaunchAttribute* attributes;
  unsigned attribute_count;
};

extern "C" {
void** __cudaRegisterFatBinary(void*);
void __cudaRegisterFatBinaryEnd(void**);
void __cudaRegisterFunction(void**, const char*, char*, const char*, int, void*, void*, void*,
                            void*, int*);
unsigned __cudaPushCallConfiguration(dim3, dim3, size_t, void*);
int __cudaPopCallConfiguration(dim3*, dim3*, size_t*, void*);
int __cudaGetKernel(const void**, const void*);
int __cudaLaunchKernel(const void*, dim3, dim3, void**, size_t, void*);
int cudaLaunchKernel(const void*, dim3, dim3, void**, size_t, void*);
int cudaLaunchKernelExC(const LaunchConfiguration*, const void*, void**);
int cudaFuncSetAttribute(const void*, int, int);
int cudaDeviceGetAttribute(int*, int, int);
int cudaGetLastError();
int cudaPeekAtLastError();
const char* cudaGetErrorString(int);
int cudaMalloc(void**, size_t);
int cudaFree(void*);
int cudaMemcpyAsync(void*, const void*, size_t, int, void*);
int cudaMemsetAsync(void*, int, size_t, void*);
int cudaStreamSynchronize(void*);
int cudaOccupancyMaxActiveBlocksPerMultiprocessor(int*, const void*, int, size_t);
int cudaGetDriverEntryPointByVersion(const char*, void**, unsigned, unsigned long long, int*);
}

namespace {

char fill;  // the addresses stand for kernels, as stubs do
char unregistered;

const bool registered = [] {
  void** const handle = __cudaRegisterFatBinary(&fill);
  __cudaRegisterFunction(handle, &fill, &fill, "fill", -1, nullptr, nullptr, nullptr, nullptr,
                         nullptr);
  __cudaRegisterFatBinaryEnd(handle);
  return true;
}();

using Params = roofgate_ceiling_flops_params;

constexpr unsigned kBlocks = 2;
constexpr unsigned kThreads = 32;
constexpr int kMaxDynamicShared = 8;
constexpr int kNonPortableCluster = 14;

int launch(const void* kernel, void* place, int value, size_t shared_bytes = 0) {
  void* arguments[] = {&place, &value};
  return cudaLaunchKernel(kernel, {kBlocks}, {kThreads}, arguments, shared_bytes, nullptr);
}

// What `fill<<<2, 32>>>(place, value)` compiles to.
int launch_by_stub(void* place, int value) {
  if (__cudaPushCallConfiguration({kBlocks}, {kThreads}, 0, nullptr)) return -1;
  dim3 grid, block;
  size_t shared_bytes = 1;
  void* stream = &grid;
  if (const int error = __cudaPopCallConfiguration(&grid, &block, &shared_bytes, &stream)) {
    return error;
  }
  const void* kernel = nullptr;
  if (const int error = __cudaGetKernel(&kernel, &fill)) return error;
  void* arguments[] = {&place, &value};
  return __cudaLaunchKernel(kernel, grid, block, arguments, shared_bytes, stream);
}

int launch_with(LaunchAttribute attribute, void* place) {
  int value = 7;
  void* arguments[] = {&place, &value};
  const LaunchConfiguration configuration = {{kBlocks}, {kThreads}, 0, nullptr, &attribute, 1};
  return cudaLaunchKernelExC(&configuration, &fill, arguments);
}

int use_own_memory(Params& params) {
  constexpr size_t kBytes = kBlocks * kThreads * 4;
  void* memory = nullptr;
  int error = cudaMalloc(&memory, kBytes);
  if (!error) error = cudaMemsetAsync(memory, 0x11, kBytes, nullptr);
  if (!error) error = launch(&fill, memory, static_cast<int>(params.iterations));
  if (!error) error = cudaMemcpyAsync(params.sink, memory, kBytes, 4, nullptr);
  if (!error) error = cudaStreamSynchronize(nullptr);
  return error ? error : cudaFree(memory);
}

int remember_errors(Params& params) {
  const int refused = launch(&unregistered, nullptr, 0);
  const bool kept =
      cudaPeekAtLastError() == refused && cudaGetLastError() == refused && cudaGetLastError() == 0;
  params.flop = kept && std::strcmp(cudaGetErrorString(refused), "invalid device function") == 0;
  return 0;
}

int encode_tensor_map(Params& params) {
  using Encode = int (*)(void*, int, uint32_t, void*, const uint64_t*, const uint64_t*,
                         const uint32_t*, const uint32_t*, int, int, int, int);
  void* function = nullptr;
  int status = -1;
  cudaGetDriverEntryPointByVersion("cuNoSuchFunction", &function, 12000, 0, &status);
  if (function || status == 0) return -1;
  cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, 0, &status);
  if (!function || status != 0) return -2;
  alignas(64) char map[128];
  const uint64_t extents[] = {64, static_cast<uint64_t>(params.iterations)}, strides[] = {128};
  const uint32_t box[] = {64, 8}, element_strides[] = {1, 1};
  constexpr int kFloat16 = 6, kSwizzle128 = 3;
  return reinterpret_cast<Encode>(function)(map, kFloat16, 2, params.sink, extents, strides, box,
                                            element_strides, 0, kSwizzle128, 0, 0);
}

int take_attribute(Params& params) {
  int value = 0;
  const int error = cudaDeviceGetAttribute(&value, static_cast<int>(params.iterations), 0);
  params.flop = value;
  return error;
}

int count_blocks(Params& params) {
  int blocks = 0;
  const int error = cudaOccupancyMaxActiveBlocksPerMultiprocessor(
      &blocks, &fill, 256, static_cast<size_t>(params.iterations));
  params.flop = blocks;
  return error;
}

int ask_for_shared_memory(Params& params) {
  const int bytes = static_cast<int>(params.iterations);
  const int error = cudaFuncSetAttribute(&fill, kMaxDynamicShared, bytes);
  return error ? error : launch(&fill, params.sink, 1, bytes);
}

}  // namespace

extern "C" ROOFGATE_EXPORT int roofgate_ceiling_flops(Params* params, void*) {
  void* const sink = params->sink;
  switch (params->dtype) {
    case 0:
      return launch(&fill, sink, static_cast<int>(params->iterations));
    case 1:
      return launch_by_stub(sink, static_cast<int>(params->iterations));
    case 2:  // a cluster
      return launch_with({4, {}, {static_cast<unsigned>(params->iterations), 1, 1}}, sink);
    case 3:  // cooperative
      return launch_with({2, {}, {1}}, sink);
    case 4:
      return cudaLaunchKernel(&fill, {}, {}, nullptr, 0, nullptr);
    case 5:
      return launch(&unregistered, sink, 0);
    case 6:  // without asking
      return launch(&fill, sink, 1, static_cast<size_t>(params->iterations));
    case 7:
      return ask_for_shared_memory(*params);
    case 8:
      return take_attribute(*params);
    case 9:
      return use_own_memory(*params);
    case 10:
      return remember_errors(*params);
    case 11:
      return encode_tensor_map(*params);
    case 12:
      return count_blocks(*params);
    case 13:
      std::printf("result {}\nnot an answer\n");
      std::fflush(stdout);
      return launch(&fill, sink, 1);
    case 14:
      *reinterpret_cast<volatile int*>(static_cast<intptr_t>(params->iterations)) = 0;
      return 0;
    case 15:
      std::exit(3);
    default:
      return -1;
  }
}

extern "C" ROOFGATE_EXPORT const char* roofgate_status_text(int status) {
  return cudaGetErrorString(status);
}
