// What one run of the simulator knows: the device, the kernels that were asked for, the launches.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "device.h"
#include "findings.h"
#include "program.h"
#include "warp.h"

namespace roofgate::sim {

// A kernel parameter's place in the block of parameters.
struct ParameterPlace {
  uint32_t offset;
  uint32_t bytes;
};

struct LoadedKernel {
  std::unique_ptr<Program> program;
  std::vector<ParameterPlace> parameters;
};

// The site of findings that no instruction made.
constexpr uint32_t kNoSite = ~0u;

struct LaunchRecord {
  std::string kernel;
  LaunchShape shape;
  uint64_t executed = 0;  // warp-instructions
  double seconds = 0;
  std::vector<SiteCounters> counters;  // by site
};

struct Session {
  Device device;
  Options options;
  std::map<std::string, LoadedKernel> kernels;
  std::vector<LaunchRecord> launches;
  std::vector<RecordedFinding> refusals;  // findings that no instruction made
  // Gets the program of a kernel that is not loaded yet; ends the process if there is none.
  void (*request_kernel)(const std::string& name) = nullptr;
};

// The one of this process.
Session& session();

// Asks for the kernel's program if need be.
const LoadedKernel& load_kernel(const std::string& name);

// Launches a kernel and runs it to its end. A refusal or a failure is a finding too.
CudaError launch_kernel(const LoadedKernel& kernel, const FunctionAttributes& attributes,
                        LaunchShape shape, std::vector<std::byte> parameters);

// Records what the driver would refuse.
CudaError refuse(const std::string& kernel, const Refusal& refusal);

}  // namespace roofgate::sim
