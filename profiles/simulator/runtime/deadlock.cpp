#include "deadlock.h"

#include <string>

#include "findings.h"

namespace roofgate::sim {
namespace {
// Whether the lanes that wait are at the instruction itself, which they will
// execute again; else they are behind it.
bool repeats(const Wait& wait) { return wait.kind != WaitKind::kBarrier; }

uint32_t site_of(const Warp& warp, const Wait& wait) {
  return warp.lane_pc[first_lane(wait.lanes)] - (repeats(wait) ? 0 : 1);
}

std::string describe(const Wait& wait) {
  const std::string object = std::to_string(wait.object);
  switch (wait.kind) {
    case WaitKind::kBarrier:
      return "for barrier " + object;
    case WaitKind::kMbarrier:
      return "for the mbarrier at shared address " + object;
    case WaitKind::kCopies:
      return "for asynchronous copies";
    case WaitKind::kCluster:
      return "for the barrier of the cluster";
  }
  return "";
}

std::string describe_waits(const Warp& warp) {
  const Dim3& block = warp.block->index;
  std::string text;
  for (const Wait& wait : warp.waits) {
    text += "\n  block (" + std::to_string(block.x) + ", " + std::to_string(block.y) + ", " +
            std::to_string(block.z) + ") warp " + std::to_string(warp.index) + " waits " +
            describe(wait) + " at {site " + std::to_string(site_of(warp, wait)) + "}";
  }
  return text;
}

}  // namespace

void fail_deadlock(const Resident& resident) {
  std::string message = "no warp can go on:";
  Warp* first = nullptr;
  for (Warp* warp : resident.warps) {
    if (!warp->live) continue;
    if (!first) first = warp;
    message += describe_waits(*warp);
  }
  const uint32_t site = site_of(*first, first->waits.front());
  fail(*first, launch_of(*first).program->instructions[site],
       {Check::kDeadlock, message, first->waiting});
}

}  // namespace roofgate::sim
