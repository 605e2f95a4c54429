// What the simulated device allows, and what the driver says of a launch that asks for more.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "program.h"
#include "warp.h"

namespace roofgate::sim {

// cudaError_t, as far as it is used.
enum class CudaError : int {
  kSuccess = 0,
  kInvalidValue = 1,
  kMemoryAllocation = 2,
  kInvalidConfiguration = 9,
  kInvalidSymbol = 13,
  kInvalidDeviceFunction = 98,
  kInvalidDevice = 101,
  kSymbolNotFound = 500,
  kLaunchFailure = 719,
  kNotSupported = 801,
  kInvalidClusterSize = 912,
};

const char* error_name(CudaError error);
const char* error_text(CudaError error);

// cudaDeviceAttr, as far as launches depend on it.
enum class DeviceAttribute : int {
  kMaxThreadsPerBlock = 1,
  kMaxBlockX = 2,
  kMaxBlockY = 3,
  kMaxBlockZ = 4,
  kMaxGridX = 5,
  kMaxGridY = 6,
  kMaxGridZ = 7,
  kMaxSharedPerBlock = 8,
  kMaxThreadsPerMultiprocessor = 39,
  kComputeCapabilityMajor = 75,
  kMaxSharedPerMultiprocessor = 81,
  kMaxSharedPerBlockOptIn = 97,
  kMaxBlocksPerMultiprocessor = 106,
  kReservedSharedPerBlock = 111,
};

// All that cudaDeviceGetAttribute knows, by number.
class Device {
 public:
  void set(int attribute, int value) { values_[attribute] = value; }
  std::optional<int> get(int attribute) const {
    const auto found = values_.find(attribute);
    return found == values_.end() ? std::nullopt : std::optional(found->second);
  }
  uint64_t operator[](DeviceAttribute attribute) const {
    return static_cast<uint64_t>(get(static_cast<int>(attribute)).value_or(0));
  }

 private:
  std::map<int, int> values_;
};

struct LaunchShape {
  Dim3 grid, block, cluster;
  uint64_t dynamic_shared_bytes = 0;
};

// What the host has asked for with cudaFuncSetAttribute.
struct FunctionAttributes {
  std::optional<uint64_t> max_dynamic_shared_bytes;
  bool any_cluster_size = false;
};

struct Refusal {
  CudaError error;
  std::string reason;
};

// Why the driver would refuse the launch, if it would: with the errors that CUDA 13.0 gives on an
// H100 (driver 580).
std::optional<Refusal> refuse_launch(const Device& device, const Program& program,
                                     const FunctionAttributes& attributes,
                                     const LaunchShape& shape);

// Blocks of a kernel that fit a multiprocessor at a time, as far as PTX says: registers are not
// counted, since only ptxas knows them.
int resident_blocks(const Device& device, const Program& program, uint64_t threads,
                    uint64_t dynamic_shared_bytes);

}  // namespace roofgate::sim
