#include "device.h"

#include <algorithm>

namespace roofgate::sim {
namespace {

constexpr uint64_t kPortableClusterBlocks = 8;
constexpr uint64_t kLargestClusterBlocks = 16;
constexpr uint64_t kFirstMajorWithClusters = 9;
constexpr uint64_t kLanesPerWarp = 32;

struct ErrorWords {
  CudaError error;
  const char* name;
  const char* text;
};

// As cudaGetErrorName and cudaGetErrorString give them.
constexpr ErrorWords kErrors[] = {
    {CudaError::kSuccess, "cudaSuccess", "no error"},
    {CudaError::kInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {CudaError::kMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {CudaError::kInvalidSymbol, "cudaErrorInvalidSymbol", "invalid device symbol"},
    {CudaError::kInvalidDeviceFunction, "cudaErrorInvalidDeviceFunction",
     "invalid device function"},
    {CudaError::kInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {CudaError::kSymbolNotFound, "cudaErrorSymbolNotFound", "named symbol not found"},
    {CudaError::kLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {CudaError::kNotSupported, "cudaErrorNotSupported", "operation not supported"},
    {CudaError::kInvalidClusterSize, "cudaErrorInvalidClusterSize", "invalid cluster size"},
};

const ErrorWords* find_words(CudaError error) {
  const auto* const found = std::find_if(std::begin(kErrors), std::end(kErrors),
                                         [&](const auto& words) { return words.error == error; });
  return found == std::end(kErrors) ? nullptr : found;
}

std::string words(const Dim3& extent) {
  return std::to_string(extent.x) + " x " + std::to_string(extent.y) + " x " +
         std::to_string(extent.z);
}

bool same(const Dim3& one, const Dim3& other) {
  return one.x == other.x && one.y == other.y && one.z == other.z;
}

bool fits(const Dim3& extent, uint64_t x, uint64_t y, uint64_t z) {
  return extent.x >= 1 && extent.x <= x && extent.y >= 1 && extent.y <= y && extent.z >= 1 &&
         extent.z <= z;
}

using Answer = std::optional<Refusal>;

Answer refuse_grid(const Device& device, const Dim3& grid) {
  using enum DeviceAttribute;
  if (fits(grid, device[kMaxGridX], device[kMaxGridY], device[kMaxGridZ])) return std::nullopt;
  return Refusal{CudaError::kInvalidValue,
                 "a grid of " + words(grid) + " blocks; the device takes 1 x 1 x 1 to " +
                     std::to_string(device[kMaxGridX]) + " x " + std::to_string(device[kMaxGridY]) +
                     " x " + std::to_string(device[kMaxGridZ])};
}

Answer refuse_block(const Device& device, const Dim3& block) {
  using enum DeviceAttribute;
  const uint64_t most = device[kMaxThreadsPerBlock];
  if (fits(block, device[kMaxBlockX], device[kMaxBlockY], device[kMaxBlockZ]) &&
      block.count() <= most) {
    return std::nullopt;
  }
  return Refusal{
      CudaError::kInvalidValue,
      "a block of " + words(block) + " threads; the device takes 1 to " + std::to_string(most) +
          " threads, at most " + std::to_string(device[kMaxBlockX]) + " x " +
          std::to_string(device[kMaxBlockY]) + " x " + std::to_string(device[kMaxBlockZ])};
}

// .maxntid and .reqntid.
Answer refuse_threads(const Program& program, const Dim3& block) {
  if (program.max_threads && block.count() > program.max_threads) {
    return Refusal{CudaError::kInvalidValue, "blocks of " + std::to_string(block.count()) +
                                                 " threads; the kernel was compiled for at most " +
                                                 std::to_string(program.max_threads)};
  }
  const auto& required = program.required_threads;
  const Dim3 wanted{required[0], std::max(required[1], 1u), std::max(required[2], 1u)};
  if (required[0] && !same(block, wanted)) {
    return Refusal{CudaError::kInvalidValue, "blocks of " + words(block) +
                                                 " threads; the kernel was compiled for " +
                                                 words(wanted) + " alone"};
  }
  return std::nullopt;
}

Answer refuse_shared(const Device& device, const Program& program,
                     const FunctionAttributes& attributes, uint64_t dynamic_bytes) {
  using enum DeviceAttribute;
  const uint64_t bytes = program.static_shared_bytes + dynamic_bytes;
  if (bytes > device[kMaxSharedPerBlockOptIn]) {
    return Refusal{CudaError::kInvalidValue,
                   std::to_string(bytes) + " bytes of shared memory per block; the device has " +
                       std::to_string(device[kMaxSharedPerBlockOptIn])};
  }
  const uint64_t without_asking =
      device[kMaxSharedPerBlock] -
      std::min<uint64_t>(device[kMaxSharedPerBlock], program.static_shared_bytes);
  const uint64_t allowed = attributes.max_dynamic_shared_bytes.value_or(without_asking);
  if (dynamic_bytes <= allowed) return std::nullopt;
  return Refusal{CudaError::kInvalidValue,
                 std::to_string(dynamic_bytes) + " bytes of dynamic shared memory; " +
                     std::to_string(allowed) +
                     " are allowed: cudaFuncSetAttribute with "
                     "cudaFuncAttributeMaxDynamicSharedMemorySize asks for more"};
}

// .reqnctapercluster.
Answer refuse_other_cluster(const Program& program, const Dim3& cluster) {
  const auto& required = program.required_cluster;
  const Dim3 wanted{required[0], required[1], required[2]};
  if (!required[0] || same(cluster, wanted)) return std::nullopt;
  return Refusal{CudaError::kInvalidClusterSize, "a cluster of " + words(cluster) +
                                                     " blocks; the kernel was compiled for " +
                                                     words(wanted) + " alone"};
}

Answer refuse_cluster(const Device& device, const FunctionAttributes& attributes,
                      const LaunchShape& shape) {
  const Dim3& cluster = shape.cluster;
  const uint64_t blocks = cluster.count();
  if (blocks == 1) return std::nullopt;
  if (device[DeviceAttribute::kComputeCapabilityMajor] < kFirstMajorWithClusters) {
    return Refusal{CudaError::kInvalidClusterSize,
                   "a cluster of " + words(cluster) + " blocks; this device has no clusters"};
  }
  const uint64_t most =
      attributes.any_cluster_size ? kLargestClusterBlocks : kPortableClusterBlocks;
  if (blocks == 0 || blocks > most) {
    return Refusal{CudaError::kInvalidClusterSize, "a cluster of " + words(cluster) +
                                                       " blocks; at most " + std::to_string(most) +
                                                       " are allowed"};
  }
  if (shape.grid.x % cluster.x || shape.grid.y % cluster.y || shape.grid.z % cluster.z) {
    return Refusal{CudaError::kInvalidClusterSize, "a grid of " + words(shape.grid) +
                                                       " blocks is no multiple of the cluster of " +
                                                       words(cluster)};
  }
  return std::nullopt;
}

}  // namespace

const char* error_name(CudaError error) {
  const ErrorWords* const found = find_words(error);
  return found ? found->name : "unrecognized error code";
}

const char* error_text(CudaError error) {
  const ErrorWords* const found = find_words(error);
  return found ? found->text : "unrecognized error code";
}

std::optional<Refusal> refuse_launch(const Device& device, const Program& program,
                                     const FunctionAttributes& attributes,
                                     const LaunchShape& shape) {
  if (auto refusal = refuse_grid(device, shape.grid)) return refusal;
  if (auto refusal = refuse_block(device, shape.block)) return refusal;
  if (auto refusal = refuse_threads(program, shape.block)) return refusal;
  if (auto refusal = refuse_other_cluster(program, shape.cluster)) return refusal;
  if (auto refusal = refuse_cluster(device, attributes, shape)) return refusal;
  return refuse_shared(device, program, attributes, shape.dynamic_shared_bytes);
}

int resident_blocks(const Device& device, const Program& program, uint64_t threads,
                    uint64_t dynamic_shared_bytes) {
  using enum DeviceAttribute;
  if (threads == 0 || threads > device[kMaxThreadsPerBlock]) return 0;
  const uint64_t warps = (threads + kLanesPerWarp - 1) / kLanesPerWarp;
  const uint64_t shared =
      program.static_shared_bytes + dynamic_shared_bytes + device[kReservedSharedPerBlock];
  const uint64_t by_warps = device[kMaxThreadsPerMultiprocessor] / kLanesPerWarp / warps;
  const uint64_t by_shared = device[kMaxSharedPerMultiprocessor] / std::max<uint64_t>(shared, 1);
  return static_cast<int>(std::min({by_warps, by_shared, device[kMaxBlocksPerMultiprocessor]}));
}

}  // namespace roofgate::sim
