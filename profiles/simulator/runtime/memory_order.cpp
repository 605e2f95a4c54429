#include "memory_order.h"

#include "global_shadow.h"
#include "shadow.h"

namespace roofgate::sim {
namespace {

// The block of the cluster whose shared memory the byte is in; nullptr if it is in none.
Block* shared_owner(const Warp& warp, const std::byte* place) {
  for (const auto& block : warp.block->cluster->blocks) {
    if (place >= block->shared && place < block->shared + block->shared_bytes) return block.get();
  }
  return nullptr;
}

void pass(const Request& request, SyncVariables& variables, uint64_t address) {
  if (request.access != Access::kStrongWrite) observe(request.warp, variables, address);
  if (request.access != Access::kStrongRead) publish(request.warp, variables, address);
}

void pass(const Request& request, const std::byte* place) {
  const auto address = reinterpret_cast<uint64_t>(place);
  if (Block* const owner = shared_owner(request.warp, place)) {
    pass(request, owner->shadow->variables, address);
    return;
  }
  launch_of(request.warp).global_shadow->with_variables([&](SyncVariables& variables) {
    pass(request, variables, address);
  });
}

}  // namespace

void order_accesses(const Request& request, const Places& places, int64_t order) {
  if (!(order & kStrong) || !launch_of(request.warp).options.check_races) return;
  if (order & kRelease) release_fence(request.warp);
  const std::byte* last = nullptr;
  each_lane(request.lanes, [&](int l) {
    if (places[l] != last) pass(request, places[l]);
    last = places[l];
  });
  if (order & kAcquire) acquire_fence(request.warp);
}

}  // namespace roofgate::sim
