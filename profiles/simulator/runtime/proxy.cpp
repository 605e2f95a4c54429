// Fences between the generic proxy (ordinary loads and stores) and the asynchronous one (TMA,
// wgmma), and instructions that only manage resources.
#include "findings.h"
#include "sync_clock.h"
#include "wgmma.h"

namespace roofgate::sim {
namespace {

// What the warp has seen so far is visible to asynchronous work that begins later; what it writes
// after this is not.
Status fence_proxy_async(Warp& warp, const Instruction&) {
  if (!launch_of(warp).options.check_races) return Status::kNext;
  warp.async_clock.join(warp.clock);
  advance_time(warp);
  return Status::kNext;
}

// setmaxnreg: registers are not a resource here. All warps of the warpgroup have to execute it.
Status set_registers(Warp& warp, const Instruction& instruction) {
  require_convergence(warp, instruction);
  if (warp.index / kWgmmaWarps * kWgmmaWarps + kWgmmaWarps > warp.block->warps.size()) {
    fail(warp, instruction,
         {Check::kDivergence,
          "setmaxnreg needs all four warps of a warpgroup, but the block ends "
          "inside this one"});
  }
  return Status::kNext;
}

// Makes mbarrier.init known to the cluster: what a relaxed arrival at its barrier then passes on.
// As clocks do not tell accesses apart, other writes pass too.
Status fence_mbarrier_init(Warp& warp, const Instruction&) {
  release_fence(warp);
  return Status::kNext;
}

ROOFGATE_OPERATION("fence.mbarrier_init", fence_mbarrier_init);
ROOFGATE_OPERATION("fence.proxy.async", fence_proxy_async);
ROOFGATE_OPERATION("setmaxnreg", set_registers);

}  // namespace
}  // namespace roofgate::sim
