// PTX ISA, "Data Movement and Conversion Instructions: Bulk copy".
#include "bulk_copy.h"

#include <cstring>
#include <string>
#include <utility>

#include "bulk_reduce.h"
#include "findings.h"
#include "mbarrier.h"
#include "shared_operand.h"

namespace roofgate::sim {
namespace {

constexpr uint32_t kGranule = 16;  // bytes: alignment of both sides and of the size

void require_inside(Warp& warp, const Instruction& instruction, int lane, const SharedPlace& place,
                    uint32_t bytes) {
  if (uint64_t{place.offset} + bytes <= place.block->shared_bytes) return;
  fail(warp, instruction,
       {Check::kOutOfBounds,
        std::to_string(bytes) + " bytes from here end behind the block's " +
            std::to_string(place.block->shared_bytes) + " bytes of shared memory",
        LaneMask{1} << lane, Space::kShared, place.offset, bytes});
}

SharedPlace in_block(const SharedPlace& place, uint32_t rank) {
  return {place.block->cluster->blocks[rank].get(), place.offset};
}

std::vector<uint32_t> target_ranks(Warp& warp, const Instruction& instruction, int lane,
                                   const LoadRequest& request) {
  const auto& blocks = warp.block->cluster->blocks;
  if (!request.ranks) return {shared_place(warp, instruction, request.data).block->rank};
  std::vector<uint32_t> ranks;
  each_lane(*request.ranks, [&](int rank) { ranks.push_back(rank); });
  if (ranks.empty() || ranks.back() >= blocks.size()) {
    fail(warp, instruction,
         {Check::kTensorCopy, "the multicast mask names no block of the cluster, or one too many",
          LaneMask{1} << lane});
  }
  return ranks;
}

AsyncAccess store_access(Warp& warp, const Instruction& instruction, int lane, const char* action) {
  AsyncAccess access;
  access.issuer = Party{instruction.site, warp.block->index, warp.index, lane, action};
  access.warp = &warp;
  access.instruction = &instruction;
  return access;
}

// Both agents start after what the asynchronous proxy sees at this point.
void give_agents(Warp& warp, BulkLane& lane, BulkStore& store) {
  if (!launch_of(warp).options.check_races) return;
  if (!lane.read_agent) {
    lane.read_agent = new_agent(*warp.block->cluster);
    lane.write_agent = new_agent(*warp.block->cluster);
  }
  store.read.agent = lane.read_agent;
  store.write.agent = lane.write_agent;
  store.read.time = store.write.time = ++lane.time;
  store.read.clock = store.write.clock = warp.async_clock;
  store.read.issuer_clock = store.write.issuer_clock = warp.clock;
}

void see(Warp& warp, const AsyncAccess& access) {
  if (!access.agent) return;
  warp.clock.set(access.agent, access.time);
  warp.async_clock.set(access.agent, access.time);
}

void free_source(Warp& warp, BulkStore& store) {
  if (std::exchange(store.source_free, true)) return;
  see(warp, store.read);
}

uint32_t read_size(Warp& warp, const Instruction& instruction, int operand, int lane) {
  const uint32_t bytes = warp.lanes<uint32_t>(instruction.operands[operand])[lane];
  require_multiple(warp, instruction, lane, "the size", bytes, kGranule);
  return bytes;
}

// --- handlers ---

// Operands: destination, mbarrier, size, source (global), [ranks].
Status load(Warp& warp, const Instruction& instruction) {
  constexpr int kSize = 2 * kSharedOperands;
  constexpr int kRanks = kSize + 1 + kGlobalOperands;
  const bool multicast = instruction.operand_count > kRanks;
  each_lane(warp.executing, [&](int lane) {
    LoadRequest request{.data = shared_operand(warp, instruction, 0, lane),
                        .barrier = shared_operand(warp, instruction, kSharedOperands, lane),
                        .bytes = read_size(warp, instruction, kSize, lane),
                        .ranks = std::nullopt,
                        .action = "bulk load"};
    if (multicast) request.ranks = warp.lanes<uint16_t>(instruction.operands[kRanks])[lane];
    const uint64_t source = global_operand(warp, instruction, kSize + 1, lane);
    require_multiple(warp, instruction, lane, "the destination", request.data, kGranule);
    require_multiple(warp, instruction, lane, "the source", source, kGranule);
    auto targets = begin_load(warp, instruction, lane, request);
    run_later(warp, [targets = std::move(targets), source, bytes = request.bytes] {
      const std::byte* from = global_bytes(targets[0].access, source, bytes, Access::kRead);
      for (const LoadTarget& target : targets) {
        std::memcpy(shared_bytes(target.data), from, bytes);
        end_load(target, bytes);
      }
    });
  });
  return Status::kNext;
}

// How bytes of one block get into another's.
using Combine = std::function<void(std::byte* to, const std::byte* from, uint32_t bytes)>;

// Operands from `first` on: destination, mbarrier, size, source (of this block).
Status between_blocks(Warp& warp, const Instruction& instruction, int first,
                      const Combine& combine) {
  const int size = first + 2 * kSharedOperands;
  each_lane(warp.executing, [&](int lane) {
    const LoadRequest request{
        .data = shared_operand(warp, instruction, first, lane),
        .barrier = shared_operand(warp, instruction, first + kSharedOperands, lane),
        .bytes = read_size(warp, instruction, size, lane),
        .ranks = std::nullopt,
        .action = "bulk copy"};
    const uint32_t address = shared_operand(warp, instruction, size + 1, lane);
    require_multiple(warp, instruction, lane, "the destination", request.data, kGranule);
    require_multiple(warp, instruction, lane, "the source", address, kGranule);
    const SharedPlace source = shared_place(warp, instruction, address);
    require_inside(warp, instruction, lane, source, request.bytes);
    auto targets = begin_load(warp, instruction, lane, request);
    begin_async_read(targets[0].access, *source.block, source.offset, request.bytes);
    run_later(warp, [target = std::move(targets[0]), source, bytes = request.bytes, combine] {
      combine(shared_bytes(target.data), shared_bytes(source), bytes);
      end_load(target, bytes);
    });
  });
  return Status::kNext;
}

void copy_bytes(std::byte* to, const std::byte* from, uint32_t bytes) {
  std::memcpy(to, from, bytes);
}

Status copy_between_blocks(Warp& warp, const Instruction& instruction) {
  return between_blocks(warp, instruction, 0, copy_bytes);
}

// Operands: reduction, type, then as for a copy.
Reducer read_reducer(Warp& warp, const Instruction& instruction) {
  return find_reducer(warp, instruction, static_cast<Reduction>(instruction.operands[0]),
                      static_cast<ReducedType>(instruction.operands[1]));
}

Status reduce_between_blocks(Warp& warp, const Instruction& instruction) {
  return between_blocks(warp, instruction, 2, read_reducer(warp, instruction));
}

// Operands from `first` on: destination (global), size, source.
Status store_to_global(Warp& warp, const Instruction& instruction, int first, Access kind,
                       const Combine& combine) {
  const int size = first + kGlobalOperands;
  each_lane(warp.executing, [&](int lane) {
    const uint64_t destination = global_operand(warp, instruction, first, lane);
    const uint32_t bytes = read_size(warp, instruction, size, lane);
    const uint32_t source = shared_operand(warp, instruction, size + 1, lane);
    require_multiple(warp, instruction, lane, "the destination", destination, kGranule);
    require_multiple(warp, instruction, lane, "the source", source, kGranule);
    const auto store = begin_store(warp, instruction, lane, source, bytes, "bulk store");
    run_later(store, [store = store.get(), destination, kind, combine] {
      combine(global_bytes(store->write, destination, store->bytes, kind),
              shared_bytes(store->source), store->bytes);
    });
  });
  return Status::kNext;
}

Status store(Warp& warp, const Instruction& instruction) {
  return store_to_global(warp, instruction, 0, Access::kWrite, copy_bytes);
}

Status reduce_to_global(Warp& warp, const Instruction& instruction) {
  return store_to_global(warp, instruction, 2, Access::kAtomic, read_reducer(warp, instruction));
}

Status commit_group(Warp& warp, const Instruction&) {
  each_lane(warp.executing, [&](int lane) {
    BulkLane& groups = warp.bulk.lanes[lane];
    groups.committed.push_back(std::exchange(groups.open, {}));
  });
  return Status::kNext;
}

// The groups of a lane that a wait for all but the latest `rest` is about.
template <class Visit>
void each_awaited(BulkLane& groups, uint64_t rest, Visit visit) {
  const uint64_t count = groups.committed.size();
  for (uint64_t i = 0; i + rest < count; ++i) {
    for (const auto& store : groups.committed[i]) visit(*store);
  }
}

// A lane's oldest groups that were waited for completely are forgotten.
void complete_groups(Warp& warp, BulkLane& groups, uint64_t rest) {
  each_awaited(groups, rest, [&](BulkStore& store) {
    free_source(warp, store);
    see(warp, store.write);
  });
  while (groups.committed.size() > rest) groups.committed.pop_front();
}

void free_sources(Warp& warp, BulkLane& groups, uint64_t rest) {
  each_awaited(groups, rest, [&](BulkStore& store) { free_source(warp, store); });
}

// Operand: how many of the latest groups may go on.
template <void (*finish)(Warp&, BulkLane&, uint64_t)>
Status wait_group(Warp& warp, const Instruction& instruction) {
  const auto rest = static_cast<uint64_t>(instruction.operands[0]);
  bool done = true;
  each_lane(warp.executing, [&](int lane) {
    each_awaited(warp.bulk.lanes[lane], rest, [&](const BulkStore& store) { done &= store.done; });
  });
  if (!done) return wait_for(warp, Status::kRetry, WaitKind::kCopies, 0);
  each_lane(warp.executing, [&](int lane) { finish(warp, warp.bulk.lanes[lane], rest); });
  return Status::kNext;
}

ROOFGATE_OPERATION("cp.async.bulk.load", load);
ROOFGATE_OPERATION("cp.async.bulk.copy", copy_between_blocks);
ROOFGATE_OPERATION("cp.async.bulk.store", store);
ROOFGATE_OPERATION("cp.reduce.async.bulk.shared", reduce_between_blocks);
ROOFGATE_OPERATION("cp.reduce.async.bulk.global", reduce_to_global);
ROOFGATE_OPERATION("cp.async.bulk.commit_group", commit_group);
ROOFGATE_OPERATION("cp.async.bulk.wait_group", wait_group<complete_groups>);
ROOFGATE_OPERATION("cp.async.bulk.wait_group.read", wait_group<free_sources>);

}  // namespace

void require_multiple(Warp& warp, const Instruction& instruction, int lane, const char* what,
                      uint64_t value, uint32_t alignment) {
  if (value % alignment == 0) return;
  fail(warp, instruction,
       {Check::kMisaligned,
        std::string(what) + " must be a multiple of " + std::to_string(alignment) +
            " bytes, but is " + std::to_string(value),
        LaneMask{1} << lane, Space::kNone, value});
}

std::vector<LoadTarget> begin_load(Warp& warp, const Instruction& instruction, int lane,
                                   const LoadRequest& request) {
  const SharedPlace data = shared_place(warp, instruction, request.data);
  require_multiple(warp, instruction, lane, "the mbarrier's address", request.barrier, 8);
  const SharedPlace barrier = shared_place(warp, instruction, request.barrier);
  require_inside(warp, instruction, lane, data, request.bytes);
  std::vector<LoadTarget> targets;
  for (const uint32_t rank : target_ranks(warp, instruction, lane, request)) {
    LoadTarget target{in_block(data, rank), barrier, {}};
    if (request.ranks) target.barrier = in_block(barrier, rank);
    Mbarrier& object = *find_mbarrier(warp, instruction, lane, target.barrier).object;
    target.access = mbarrier_access(warp, instruction, lane, object, request.action);
    begin_async_write(target.access, *target.data.block, data.offset, request.bytes);
    targets.push_back(std::move(target));
  }
  SiteCounters& counters = counters_of(warp, instruction);
  ++counters.requests;
  counters.bytes += uint64_t{request.bytes} * targets.size();
  return targets;
}

void end_load(const LoadTarget& target, uint32_t bytes) {
  const AsyncAccess& access = target.access;
  end_async_write(access, *target.data.block, target.data.offset, bytes);
  complete_transaction(
      access, find_mbarrier(*access.warp, *access.instruction, access.issuer.lane, target.barrier),
      bytes);
}

std::byte* global_bytes(const AsyncAccess& access, uint64_t address, uint32_t bytes, Access kind) {
  if (!find_allocation(address, bytes)) {
    fail(*access.warp, *access.instruction,
         {Check::kOutOfBounds,
          "the " + access.issuer.action + " touches " + describe_address(address + bytes - 1),
          LaneMask{1} << access.issuer.lane, Space::kGlobal, address, bytes});
  }
  async_global(access, address, bytes, kind);
  return reinterpret_cast<std::byte*>(address);
}

std::shared_ptr<BulkStore> begin_store(Warp& warp, const Instruction& instruction, int lane,
                                       uint32_t source, uint32_t bytes, const char* action) {
  auto store = std::make_shared<BulkStore>();
  store->read = store->write = store_access(warp, instruction, lane, action);
  store->source = shared_place(warp, instruction, source);
  store->bytes = bytes;
  require_inside(warp, instruction, lane, store->source, bytes);
  BulkLane& groups = warp.bulk.lanes[lane];
  give_agents(warp, groups, *store);
  begin_async_read(store->read, *store->source.block, store->source.offset, bytes);
  groups.open.push_back(store);
  SiteCounters& counters = counters_of(warp, instruction);
  ++counters.requests;
  counters.bytes += bytes;
  return store;
}

void run_later(Warp& warp, std::function<void()> copy) {
  warp.block->cluster->pending.push_back({std::move(copy)});
}

void run_later(const std::shared_ptr<BulkStore>& store, std::function<void()> copy) {
  run_later(*store->write.warp, [store, copy = std::move(copy)] {
    copy();
    store->done = true;
    wake(*store->write.warp, WaitKind::kCopies, 0);
  });
}

}  // namespace roofgate::sim
