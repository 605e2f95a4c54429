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

// Calls action(variables, address) for the variables that the lanes access.
template <class Action>
void each_variable(const Request& request, const Places& places, Action action) {
  const std::byte* last = nullptr;
  each_lane(request.lanes, [&](int l) {
    if (places[l] == last) return;
    last = places[l];
    const auto address = reinterpret_cast<uint64_t>(last);
    if (Block* const owner = shared_owner(request.warp, last)) {
      action(owner->shadow->variables, address);
      return;
    }
    launch_of(request.warp).global_shadow->with_variables([&](SyncVariables& variables) {
      action(variables, address);
    });
  });
}

bool takes_part(const Request& request, int64_t order) {
  return (order & kStrong) && launch_of(request.warp).options.check_races;
}

}  // namespace

void pass_on(const Request& request, const Places& places, int64_t order) {
  if (!takes_part(request, order) || request.access == Access::kStrongRead) return;
  if (order & kRelease) release_fence(request.warp);
  each_variable(request, places, [&](SyncVariables& variables, uint64_t address) {
    publish(request.warp, variables, address);
  });
}

void take_over(const Request& request, const Places& places, int64_t order) {
  if (!takes_part(request, order) || request.access == Access::kStrongWrite) return;
  each_variable(request, places, [&](SyncVariables& variables, uint64_t address) {
    observe(request.warp, variables, address);
  });
  if (order & kAcquire) acquire_fence(request.warp);
}

}  // namespace roofgate::sim
