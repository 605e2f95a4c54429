#include "session.h"

#include <chrono>
#include <utility>

#include "global_shadow.h"
#include "interpreter.h"
#include "scheduler.h"

namespace roofgate::sim {
namespace {

uint64_t sum_executed(const std::vector<SiteCounters>& counters) {
  uint64_t sum = 0;
  for (const SiteCounters& site : counters) sum += site.executed;
  return sum;
}

uint64_t count_findings() {
  uint64_t count = 0;
  for (const RecordedFinding& finding : recorded_findings()) count += finding.count;
  return count;
}

void record_without_place(const std::string& kernel, Check check, std::string message) {
  RecordedFinding recorded;
  recorded.finding.check = check;
  recorded.finding.message = std::move(message);
  recorded.kernel = kernel;
  recorded.site = kNoSite;
  recorded.block = {0, 0, 0};
  session().refusals.push_back(std::move(recorded));
}

// Runs the launch; false if the kernel could not go on.
bool run(Launch& launch) {
  const uint64_t known = count_findings();
  try {
    run_launch(launch);
    return true;
  } catch (const LaunchFailure& failure) {
    if (count_findings() == known) {  // no check of the kernel, but a lack of the simulator
      record_without_place(launch.program->kernel, Check::kUnsupported, failure.what());
    }
    return false;
  }
}

// Without a cluster of its own, a launch has the one that the kernel was compiled for.
void use_required_cluster(const Program& program, LaunchShape& shape) {
  const auto& required = program.required_cluster;
  if (required[0] && shape.cluster.count() == 1)
    shape.cluster = {required[0], required[1], required[2]};
}

}  // namespace

Session& session() {
  static Session instance;
  return instance;
}

const LoadedKernel& load_kernel(const std::string& name) {
  auto& kernels = session().kernels;
  if (!kernels.contains(name)) session().request_kernel(name);
  return kernels.at(name);
}

CudaError refuse(const std::string& kernel, const Refusal& refusal) {
  const int number = static_cast<int>(refusal.error);
  record_without_place(kernel, Check::kLaunch,
                       std::string(error_name(refusal.error)) + " (" + std::to_string(number) +
                           "): " + refusal.reason);
  return refusal.error;
}

CudaError launch_kernel(const LoadedKernel& kernel, const FunctionAttributes& attributes,
                        LaunchShape shape, std::vector<std::byte> parameters) {
  const Program& program = *kernel.program;
  use_required_cluster(program, shape);
  if (const auto refusal = refuse_launch(session().device, program, attributes, shape)) {
    return refuse(program.kernel, *refusal);
  }
  Launch launch;
  launch.program = &program;
  launch.grid = shape.grid;
  launch.block = shape.block;
  launch.cluster = shape.cluster;
  launch.dynamic_shared_bytes = static_cast<uint32_t>(shape.dynamic_shared_bytes);
  launch.parameters = std::move(parameters);
  launch.options = session().options;
  const auto started = std::chrono::steady_clock::now();
  const bool ended = run(launch);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - started;
  current_warp = nullptr;
  current_instruction = nullptr;
  session().launches.push_back({program.kernel, shape, sum_executed(launch.counters),
                                seconds.count(), std::move(launch.counters)});
  return ended ? CudaError::kSuccess : CudaError::kLaunchFailure;
}

}  // namespace roofgate::sim
