// Issue, commit and wait of warpgroup products.
#include "wgmma.h"

#include <utility>

#include "findings.h"
#include "wgmma_product.h"

namespace roofgate::sim {
namespace {

void finish_product(Warp& warp, const WgmmaProduct& product) {
  warp.clock.set(product.access.agent, product.access.time);
  warp.async_clock.set(product.access.agent, product.access.time);
  warp.wgmma.completed = product.access.time;
}

Status fence(Warp& warp, const Instruction& instruction) {
  require_convergence(warp, instruction);
  warp.wgmma.fenced = true;
  for (WatchedRegister& watched : warp.wgmma.registers) watched.modified = false;
  return Status::kNext;
}

Status commit_group(Warp& warp, const Instruction& instruction) {
  require_convergence(warp, instruction);
  if (launch_of(warp).options.check_races) {
    warp.wgmma.committed.push_back(std::exchange(warp.wgmma.open, {}));
  }
  return Status::kNext;
}

// Operand: how many of the latest groups may go on.
Status wait_group(Warp& warp, const Instruction& instruction) {
  require_convergence(warp, instruction);
  auto& committed = warp.wgmma.committed;
  while (committed.size() > static_cast<uint64_t>(instruction.operands[0])) {
    for (const auto& product : committed.front()) finish_product(warp, *product);
    committed.pop_front();
  }
  return Status::kNext;
}

ROOFGATE_OPERATION("wgmma.fence", fence);
ROOFGATE_OPERATION("wgmma.commit_group", commit_group);
ROOFGATE_OPERATION("wgmma.wait_group", wait_group);

}  // namespace

void start_product(Warp& warp, const Instruction& instruction,
                   const std::vector<SharedRange>& reads) {
  WgmmaGroups& groups = warp.wgmma;
  if (!std::exchange(groups.fenced, true)) {
    report(warp, instruction,
           {Check::kWgmma, "no wgmma.fence comes before the kernel's first wgmma.mma_async",
            warp.executing});
  }
  if (!groups.agent) groups.agent = new_agent(*warp.block->cluster);
  auto product = std::make_shared<WgmmaProduct>();
  product->access =
      AsyncAccess{.agent = groups.agent,
                  .time = ++groups.issued,
                  .clock = warp.async_clock,
                  .issuer_clock = warp.clock,
                  .issuer = {instruction.site, warp.block->index, warp.index, -1, "wgmma"},
                  .warp = &warp,
                  .instruction = &instruction};
  for (const SharedRange& range : reads) {
    begin_async_read(product->access, *warp.block, range.offset, range.bytes);
  }
  groups.open.push_back(std::move(product));
}

namespace wgmma {

void require_warpgroup(Warp& warp, const Instruction& instruction) {
  if (warp.index / kWgmmaWarps * kWgmmaWarps + kWgmmaWarps <= warp.block->warps.size()) return;
  fail(warp, instruction,
       {Check::kWgmma, "the block ends inside this warpgroup: it needs four warps", kAllLanes});
}

uint64_t uniform_descriptor(Warp& warp, const Instruction& instruction, int operand) {
  const Lanes<uint64_t>& values = warp.lanes<uint64_t>(instruction.operands[operand]);
  const LaneMask others = lanes_where(kAllLanes, [&](int l) { return values[l] != values[0]; });
  if (others) {
    fail(warp, instruction,
         {Check::kWgmma, "lanes of the warp have different matrix descriptors", others});
  }
  return values[0];
}

bool adds_to_d(Warp& warp, const Instruction& instruction) {
  const LaneMask negated = instruction.operands[kScaleDNegated] ? kAllLanes : 0;
  const LaneMask adds = warp.predicate(instruction.operands[kScaleD]) ^ negated;
  if (adds != 0 && adds != kAllLanes) {
    fail(warp, instruction, {Check::kWgmma, "scale-d differs among the lanes of the warp", adds});
  }
  return adds != 0;
}

}  // namespace wgmma
}  // namespace roofgate::sim
