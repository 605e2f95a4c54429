// The CUDA run-time as compiled host code calls it: kernel launches are simulated, copies are made
// at once, and streams are in order, so waiting for one has nothing to do. Kernel libraries are
// linked without a CUDA run-time of their own and find these functions in the simulator's program.
// What is not here is an undefined symbol when the library is opened.
//
// Declarations follow cuda_runtime_api.h and crt/host_runtime.h of CUDA 13; enumerations are ints.
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "memory.h"
#include "session.h"
#include "tensor_map.h"

namespace roofgate::sim {
namespace {

constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kAllocationAlignment = 256;
constexpr int kFuncMaxDynamicShared = 8;  // enum cudaFuncAttribute
constexpr int kFuncSharedCarveout = 9;
constexpr int kFuncNonPortableCluster = 14;
constexpr int kFuncClusterScheduling = 15;
constexpr int kLaunchCooperative = 2;  // enum cudaLaunchAttributeID
constexpr int kLaunchClusterDimension = 4;
// Others that change a kernel's meaning; all else says how fast it should run.
constexpr int kLaunchDeviceUpdatable = 13;

struct HostFunction {
  std::string kernel;
  FunctionAttributes attributes;
};

// By the address that host code calls the kernel by.
std::map<const void*, HostFunction>& functions() {
  static std::map<const void*, HostFunction> table;
  return table;
}

struct CallConfiguration {
  Dim3 grid, block;
  size_t shared_bytes;
  void* stream;
};
thread_local std::vector<CallConfiguration> call_configurations;

CudaError last_error = CudaError::kSuccess;

int remember(CudaError error) {
  if (error != CudaError::kSuccess) last_error = error;
  return static_cast<int>(error);
}

// What cudaMalloc gave out: the array lies at the end of its pages.
struct Pages {
  void* start;
  size_t bytes;
};
std::map<uint64_t, Pages>& pages_by_address() {
  static std::map<uint64_t, Pages> table;
  return table;
}

uint64_t round_up(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

CudaError allocate(void** pointer, size_t bytes) {
  *pointer = nullptr;
  if (bytes == 0) return CudaError::kSuccess;
  const uint64_t room = round_up(bytes, kAllocationAlignment);
  const uint64_t usable = round_up(room, kPageBytes);
  const uint64_t total = usable + 2 * kPageBytes;
  void* const start = mmap(nullptr, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) return CudaError::kMemoryAllocation;
  std::byte* const first = static_cast<std::byte*>(start) + kPageBytes;
  if (mprotect(first, usable, PROT_READ | PROT_WRITE) != 0) return CudaError::kMemoryAllocation;
  *pointer = first + usable - room;
  const auto address = reinterpret_cast<uint64_t>(*pointer);
  pages_by_address()[address] = {start, total};
  add_allocation({address, bytes, "cudaMalloc"});
  return CudaError::kSuccess;
}

CudaError release_pages(void* pointer) {
  if (!pointer) return CudaError::kSuccess;
  const auto found = pages_by_address().find(reinterpret_cast<uint64_t>(pointer));
  if (found == pages_by_address().end()) return CudaError::kInvalidValue;
  remove_allocation(found->first);
  munmap(found->second.start, found->second.bytes);
  pages_by_address().erase(found);
  return CudaError::kSuccess;
}

// The block of kernel parameters out of pointers to each.
bool pack(const LoadedKernel& kernel, void** arguments, std::vector<std::byte>& parameters) {
  if (!arguments && !kernel.parameters.empty()) return false;
  parameters.resize(kernel.program->parameter_bytes);
  for (size_t i = 0; i < kernel.parameters.size(); ++i) {
    if (!arguments[i]) return false;
    const ParameterPlace& place = kernel.parameters[i];
    std::memcpy(parameters.data() + place.offset, arguments[i], place.bytes);
  }
  return true;
}

CudaError launch(const void* function, const LaunchShape& shape, void** arguments) {
  const auto found = functions().find(function);
  if (found == functions().end()) {
    return refuse("", {CudaError::kInvalidDeviceFunction, "no kernel of this library"});
  }
  const HostFunction& host = found->second;
  const LoadedKernel& kernel = load_kernel(host.kernel);
  std::vector<std::byte> parameters;
  if (!pack(kernel, arguments, parameters)) {
    return refuse(host.kernel, {CudaError::kInvalidValue, "a null pointer among the arguments"});
  }
  return launch_kernel(kernel, host.attributes, shape, std::move(parameters));
}

CudaError allow_dynamic_shared(HostFunction& function, int bytes) {
  const Program& program = *load_kernel(function.kernel).program;
  const uint64_t most = session().device[DeviceAttribute::kMaxSharedPerBlockOptIn];
  if (bytes < 0 || program.static_shared_bytes + static_cast<uint64_t>(bytes) > most) {
    return refuse(function.kernel,
                  {CudaError::kInvalidValue,
                   "cudaFuncSetAttribute asks for " + std::to_string(bytes) +
                       " bytes of dynamic shared memory; the device has " + std::to_string(most)});
  }
  function.attributes.max_dynamic_shared_bytes = bytes;
  return CudaError::kSuccess;
}

CudaError set_attribute(const void* pointer, int attribute, int value) {
  const auto found = functions().find(pointer);
  if (found == functions().end()) return CudaError::kInvalidDeviceFunction;
  switch (attribute) {
    case kFuncMaxDynamicShared:
      return allow_dynamic_shared(found->second, value);
    case kFuncNonPortableCluster:
      found->second.attributes.any_cluster_size = value != 0;
      return CudaError::kSuccess;
    case kFuncSharedCarveout:
    case kFuncClusterScheduling:
      return CudaError::kSuccess;  // preferences
    default:
      return CudaError::kInvalidValue;
  }
}

CudaError count_resident_blocks(int* blocks, const void* pointer, int threads, size_t shared) {
  const auto found = functions().find(pointer);
  if (found == functions().end()) return CudaError::kInvalidDeviceFunction;
  if (!blocks || threads <= 0) return CudaError::kInvalidValue;
  const Program& program = *load_kernel(found->second.kernel).program;
  *blocks = resident_blocks(session().device, program, static_cast<uint64_t>(threads), shared);
  return CudaError::kSuccess;
}

// struct cudaLaunchAttribute and cudaLaunchConfig_t.
struct LaunchAttribute {
  int id;
  char padding[4];
  union {
    char bytes[64];
    unsigned cluster[3];
    int cooperative;
  } value;
};

struct LaunchConfiguration {
  Dim3 grid, block;
  size_t shared_bytes;
  void* stream;
  const LaunchAttribute* attributes;
  unsigned attribute_count;
};

CudaError launch_with_attributes(const LaunchConfiguration& configuration, const void* function,
                                 void** arguments) {
  LaunchShape shape{configuration.grid, configuration.block, {}, configuration.shared_bytes};
  for (unsigned i = 0; i < configuration.attribute_count; ++i) {
    const LaunchAttribute& attribute = configuration.attributes[i];
    if (attribute.id == kLaunchClusterDimension) {
      const auto& extent = attribute.value.cluster;
      shape.cluster = {extent[0], extent[1], extent[2]};
    } else if ((attribute.id == kLaunchCooperative && attribute.value.cooperative) ||
               attribute.id == kLaunchDeviceUpdatable) {
      return refuse("", {CudaError::kNotSupported,
                         "launch attribute " + std::to_string(attribute.id) +
                             " is not simulated (2: cooperative, 13: device-updatable)"});
    }
  }
  return launch(function, shape, arguments);
}

extern "C" int encode_tiled(void* map, int type, uint32_t rank, void* address,
                            const uint64_t* extents, const uint64_t* strides, const uint32_t* box,
                            const uint32_t* element_strides, int interleave, int swizzle,
                            int l2_promotion, int out_of_bounds) {
  return encode_tensor_map(static_cast<TensorMapBytes*>(map), type, static_cast<int>(rank),
                           reinterpret_cast<uint64_t>(address), extents, strides, box,
                           element_strides, interleave, swizzle, l2_promotion, out_of_bounds);
}

// Functions of the driver that host code looks up by name.
void* driver_function(const char* name) {
  return std::strcmp(name, "cuTensorMapEncodeTiled") == 0 ? reinterpret_cast<void*>(encode_tiled)
                                                          : nullptr;
}

CudaError find_driver_function(const char* name, void** function, int* status) {
  constexpr int kFound = 0, kNotFound = 1;  // enum cudaDriverEntryPointQueryResult
  if (!name || !function) return CudaError::kInvalidValue;
  *function = driver_function(name);
  if (status) *status = *function ? kFound : kNotFound;
  return *function || status ? CudaError::kSuccess : CudaError::kSymbolNotFound;
}

}  // namespace
}  // namespace roofgate::sim

using roofgate::sim::call_configurations;
using roofgate::sim::CudaError;
using roofgate::sim::Dim3;
using roofgate::sim::functions;
using roofgate::sim::last_error;
using roofgate::sim::LaunchConfiguration;
using roofgate::sim::LaunchShape;
using roofgate::sim::remember;
using roofgate::sim::session;

// --- what nvcc's generated code calls ---

extern "C" {

void** __cudaRegisterFatBinary(void* binary) { return static_cast<void**>(binary); }
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
char __cudaInitModule(void**) { return 1; }

void __cudaRegisterFunction(void**, const char* host, char*, const char* name, int, void*, void*,
                            void*, void*, int*) {
  functions()[host] = {name, {}};
}

// Variables exist where kernels are; host code cannot reach them yet, and says so when it tries.
void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int) {}

unsigned __cudaPushCallConfiguration(Dim3 grid, Dim3 block, size_t shared_bytes, void* stream) {
  call_configurations.push_back({grid, block, shared_bytes, stream});
  return 0;
}

int __cudaPopCallConfiguration(Dim3* grid, Dim3* block, size_t* shared_bytes, void* stream) {
  if (call_configurations.empty()) return remember(CudaError::kInvalidValue);
  const auto& top = call_configurations.back();
  *grid = top.grid;
  *block = top.block;
  *shared_bytes = top.shared_bytes;
  *static_cast<void**>(stream) = top.stream;
  call_configurations.pop_back();
  return 0;
}

int __cudaGetKernel(const void** kernel, const void* function) {
  *kernel = function;
  return functions().contains(function) ? 0 : remember(CudaError::kInvalidDeviceFunction);
}

int cudaLaunchKernel(const void* function, Dim3 grid, Dim3 block, void** arguments,
                     size_t shared_bytes, void*) {
  return remember(roofgate::sim::launch(function, {grid, block, {}, shared_bytes}, arguments));
}

int __cudaLaunchKernel(const void* kernel, Dim3 grid, Dim3 block, void** arguments,
                       size_t shared_bytes, void* stream) {
  return cudaLaunchKernel(kernel, grid, block, arguments, shared_bytes, stream);
}

int cudaLaunchKernelExC(const LaunchConfiguration* configuration, const void* function,
                        void** arguments) {
  if (!configuration) return remember(CudaError::kInvalidValue);
  return remember(roofgate::sim::launch_with_attributes(*configuration, function, arguments));
}

int cudaFuncSetAttribute(const void* function, int attribute, int value) {
  return remember(roofgate::sim::set_attribute(function, attribute, value));
}

int cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void* function, int threads,
                                                  size_t shared_bytes) {
  return remember(roofgate::sim::count_resident_blocks(blocks, function, threads, shared_bytes));
}

int cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void* function,
                                                           int threads, size_t shared_bytes,
                                                           unsigned) {
  return cudaOccupancyMaxActiveBlocksPerMultiprocessor(blocks, function, threads, shared_bytes);
}

// --- the device ---

int cudaGetDevice(int* device) {
  *device = 0;
  return 0;
}

int cudaSetDevice(int device) { return device == 0 ? 0 : remember(CudaError::kInvalidDevice); }

int cudaGetDeviceCount(int* count) {
  *count = 1;
  return 0;
}

int cudaDeviceGetAttribute(int* value, int attribute, int device) {
  if (device != 0) return remember(CudaError::kInvalidDevice);
  const auto found = session().device.get(attribute);
  if (!found) return remember(CudaError::kInvalidValue);
  *value = *found;
  return 0;
}

int cudaDeviceSynchronize() { return 0; }
int cudaStreamSynchronize(void*) { return 0; }

// --- errors ---

int cudaGetLastError() {
  const CudaError error = last_error;
  last_error = CudaError::kSuccess;
  return static_cast<int>(error);
}

int cudaPeekAtLastError() { return static_cast<int>(last_error); }

const char* cudaGetErrorString(int error) {
  return roofgate::sim::error_text(static_cast<CudaError>(error));
}

const char* cudaGetErrorName(int error) {
  return roofgate::sim::error_name(static_cast<CudaError>(error));
}

// --- memory ---

int cudaMalloc(void** pointer, size_t bytes) {
  return remember(roofgate::sim::allocate(pointer, bytes));
}

int cudaMallocAsync(void** pointer, size_t bytes, void*) { return cudaMalloc(pointer, bytes); }

int cudaFree(void* pointer) { return remember(roofgate::sim::release_pages(pointer)); }

int cudaFreeAsync(void* pointer, void*) { return cudaFree(pointer); }

int cudaMemcpy(void* destination, const void* source, size_t bytes, int) {
  std::memmove(destination, source, bytes);
  return 0;
}

int cudaMemcpyAsync(void* destination, const void* source, size_t bytes, int kind, void*) {
  return cudaMemcpy(destination, source, bytes, kind);
}

int cudaMemset(void* destination, int value, size_t bytes) {
  std::memset(destination, value, bytes);
  return 0;
}

int cudaMemsetAsync(void* destination, int value, size_t bytes, void*) {
  return cudaMemset(destination, value, bytes);
}

// --- the driver ---

int cudaGetDriverEntryPoint(const char* name, void** function, unsigned long long, int* status) {
  return remember(roofgate::sim::find_driver_function(name, function, status));
}

int cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned,
                                     unsigned long long, int* status) {
  return remember(roofgate::sim::find_driver_function(name, function, status));
}

}  // extern "C"
