// PTX ISA, "barrier.cluster". Every lane arrives and waits on its own, in turn; lanes that have
// ended are not waited for.
#include "cluster.h"

#include <utility>

#include "findings.h"
#include "lanes.h"
#include "relaxed_order.h"

namespace roofgate::sim {
namespace {

enum class Alignment { kAny, kAligned };
enum class Order { kRelaxed, kRelease };

template <Alignment alignment, Order order>
Status arrive(Warp& warp, const Instruction& instruction) {
  if constexpr (alignment == Alignment::kAligned) require_convergence(warp, instruction);
  const LaneMask twice = warp.executing & (warp.cluster_arrived | warp.cluster_passed);
  if (twice) {
    fail(warp, instruction,
         {Check::kBarrier, "lanes arrive at the barrier of the cluster again without having waited",
          twice});
  }
  Cluster& cluster = *warp.block->cluster;
  order == Order::kRelease ? release(warp, cluster.barrier.gathering)
                           : relaxed_release(warp, cluster.barrier.gathering);
  warp.cluster_arrived |= warp.executing;
  complete_cluster_phase(cluster);
  return Status::kNext;
}

template <Alignment alignment>
Status wait(Warp& warp, const Instruction& instruction) {
  if constexpr (alignment == Alignment::kAligned) require_convergence(warp, instruction);
  const LaneMask strangers = warp.executing & ~(warp.cluster_arrived | warp.cluster_passed);
  if (strangers) {
    fail(warp, instruction,
         {Check::kBarrier, "lanes wait at the barrier of the cluster without having arrived",
          strangers});
  }
  if (warp.executing & warp.cluster_arrived) {
    return wait_for(warp, Status::kRetry, WaitKind::kCluster, 0);
  }
  warp.cluster_passed &= ~warp.executing;
  acquire(warp, warp.block->cluster->barrier.completed);
  return Status::kNext;
}

// Whether nobody is missing from the present phase, and somebody has arrived.
bool all_arrived(const Cluster& cluster) {
  bool somebody = false;
  for (const auto& block : cluster.blocks) {
    for (const Warp& warp : block->warps) {
      if (warp.live & ~warp.cluster_arrived) return false;
      somebody |= warp.cluster_arrived != 0;
    }
  }
  return somebody;
}

using enum Alignment;
using enum Order;
ROOFGATE_OPERATION("barrier.cluster.arrive", arrive<kAny, kRelease>);
ROOFGATE_OPERATION("barrier.cluster.arrive.relaxed", arrive<kAny, kRelaxed>);
ROOFGATE_OPERATION("barrier.cluster.arrive.aligned", arrive<kAligned, kRelease>);
ROOFGATE_OPERATION("barrier.cluster.arrive.relaxed.aligned", arrive<kAligned, kRelaxed>);
ROOFGATE_OPERATION("barrier.cluster.wait", wait<kAny>);
ROOFGATE_OPERATION("barrier.cluster.wait.aligned", wait<kAligned>);

}  // namespace

void complete_cluster_phase(Cluster& cluster) {
  if (!all_arrived(cluster)) return;
  for (const auto& block : cluster.blocks) {
    for (Warp& warp : block->warps) {
      warp.cluster_passed |= std::exchange(warp.cluster_arrived, 0) & warp.live;
    }
  }
  std::swap(cluster.barrier.completed, cluster.barrier.gathering);
  cluster.barrier.gathering.clear();
  wake(cluster, WaitKind::kCluster, 0);
}

}  // namespace roofgate::sim
