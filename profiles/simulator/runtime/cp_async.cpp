// cp.async: copies of 4, 8 or 16 bytes by each lane from global to shared memory.
//
// Nothing tells a thread that its copies have arrived but waiting for them. So the bytes arrive as
// late as possible, when a wait asks for them, the oldest first; a kernel that forgets the wait
// reads old bytes or, with races checked, a pattern that is NaN in every format, and is told so.
// The source is read as late too, but counts as read when the copy starts.
//
// Copies that nobody waits for never arrive: no correct kernel can tell.
//
// Who waits for a copy is taken to have seen all earlier copies of the warp; only if lanes diverge
// between commits does that say too much, and copies that have not arrived are in flight
// nevertheless.
//
// Counters: a request with its sectors of global memory (16 bytes aligned to 16 never touch two),
// the wavefronts of the shared side, and the bytes that are read.
#include <algorithm>
#include <cstring>
#include <string>

#include "memory.h"
#include "shared_operand.h"

namespace roofgate::sim {
namespace {

constexpr int kPoison = 0xff;

// --- start ---

// Operands after the shared address.
enum Operand { kSource = kSharedOperands, kSourceOffset, kBytes, kReadBytes, kIgnore, kNegated };

struct CopyRequest {
  Lanes<uint32_t> target;
  Lanes<uint64_t> source;
  Lanes<uint32_t> read;  // bytes
  uint32_t bytes;
};

CopyRequest read_copy(Warp& warp, const Instruction& instruction) {
  const int64_t* operands = instruction.operands;
  CopyRequest request;
  request.bytes = static_cast<uint32_t>(operands[kBytes]);
  request.read = warp.lanes<uint32_t>(operands[kReadBytes]);
  const Lanes<uint64_t>& source = warp.lanes<uint64_t>(operands[kSource]);
  for (int l = 0; l < kLanes; ++l) request.source[l] = source[l] + operands[kSourceOffset];
  each_lane(warp.executing,
            [&](int lane) { request.target[lane] = shared_operand(warp, instruction, 0, lane); });
  return request;
}

[[noreturn]] void fail_lane(Warp& warp, const Instruction& instruction, int lane, Check check,
                            const std::string& message, Space space, uint64_t address,
                            uint32_t bytes) {
  fail(warp, instruction, {check, message, LaneMask{1} << lane, space, address, bytes});
}

void require_alignment(Warp& warp, const Instruction& instruction, int lane, Space space,
                       uint64_t address, uint32_t bytes) {
  if (address % bytes == 0) return;
  fail_lane(
      warp, instruction, lane, Check::kMisaligned,
      "both addresses of a copy of " + std::to_string(bytes) + " bytes must be aligned to its size",
      space, address, bytes);
}

// Offset in the block's own memory.
uint32_t check_target(Warp& warp, const Instruction& instruction, int lane, uint32_t address,
                      uint32_t bytes) {
  require_alignment(warp, instruction, lane, Space::kShared, address, bytes);
  const SharedPlace place = shared_place(warp, instruction, address);
  if (place.block != warp.block) {
    fail_lane(warp, instruction, lane, Check::kOutOfBounds,
              "cp.async writes to the shared memory of its own block only", Space::kShared, address,
              bytes);
  }
  const uint32_t size = warp.block->shared_bytes;
  if (place.offset > size || size - place.offset < bytes) {
    fail_lane(warp, instruction, lane, Check::kOutOfBounds,
              "a copy of " + std::to_string(bytes) + " bytes to offset " +
                  std::to_string(place.offset) + " of " + std::to_string(size) +
                  " bytes of shared memory",
              Space::kShared, address, bytes);
  }
  return place.offset;
}

// Reads that are no power of two go in pieces that are, and so are aligned.
const std::byte* check_source(Warp& warp, const Instruction& instruction, int lane,
                              uint64_t address, uint32_t bytes) {
  const std::byte* source = nullptr;
  for (uint32_t done = 0; done < bytes;) {
    const uint32_t piece = 1u << (31 - __builtin_clz(bytes - done));
    const std::byte* found =
        access_global(warp, instruction, lane, address + done, piece, Access::kRead);
    if (!done) source = found;
    done += piece;
  }
  return source;
}

void add_lane(Warp& warp, const Instruction& instruction, int lane, const CopyRequest& request,
              StartedCopy& copy) {
  const uint32_t read = request.read[lane];
  const uint64_t source = request.source[lane];
  if (read > request.bytes) {
    fail_lane(
        warp, instruction, lane, Check::kOutOfBounds,
        "reads " + std::to_string(read) + " bytes for a copy of " + std::to_string(request.bytes),
        Space::kGlobal, source, read);
  }
  require_alignment(warp, instruction, lane, Space::kGlobal, source, request.bytes);
  copy.target[lane] = check_target(warp, instruction, lane, request.target[lane], request.bytes);
  copy.source[lane] = check_source(warp, instruction, lane, source, read);
  copy.read[lane] = static_cast<uint8_t>(read);
}

std::shared_ptr<AsyncAccess> access_at(Warp& warp, const Instruction& instruction, uint32_t time) {
  CopyGroups& groups = warp.copies;
  if (!groups.agent) groups.agent = new_agent(*warp.block->cluster);
  AsyncAccess access;
  access.agent = *groups.agent;
  access.time = time;
  access.clock = warp.clock;
  access.issuer_clock = warp.clock;
  access.issuer = {instruction.site, warp.block->index, warp.index, -1, "cp.async"};
  access.warp = &warp;
  access.instruction = &instruction;
  return std::make_shared<AsyncAccess>(std::move(access));
}

void mark_in_flight(Warp& warp, const Instruction& instruction, StartedCopy& copy) {
  Block& block = *warp.block;
  if (!block.shadow) return;
  copy.access = access_at(warp, instruction, copy.time);
  each_lane(copy.lanes, [&](int lane) {
    copy.access->issuer.lane = lane;
    begin_async_write(*copy.access, block, copy.target[lane], copy.bytes);
    std::memset(block.shared + copy.target[lane], kPoison, copy.bytes);
  });
}

LaneMask lanes_with_open_group(const Warp& warp, LaneMask lanes, uint32_t group) {
  return lanes_where(lanes, [&](int l) { return warp.copies.committed[l] == group; });
}

void count(Warp& warp, const Instruction& instruction, const CopyRequest& request) {
  const LaneMask reading = lanes_where(warp.executing, [&](int l) { return request.read[l] > 0; });
  count_global(warp, instruction, request.source, reading, request.bytes);
  if (!launch_of(warp).options.count) return;
  SiteCounters& site = counters_of(warp, instruction);
  site.wavefronts += shared_wavefronts(request.target, warp.executing, request.bytes);
  each_lane(reading, [&](int lane) { site.bytes += request.read[lane]; });
}

Status start(Warp& warp, const Instruction& instruction, const CopyRequest& request) {
  for (LaneMask rest = warp.executing; rest;) {
    StartedCopy& copy = warp.copies.started.emplace_back();
    copy.time = ++warp.copies.time;
    copy.bytes = request.bytes;
    copy.group = warp.copies.committed[first_lane(rest)];
    copy.lanes = lanes_with_open_group(warp, rest, copy.group);
    each_lane(copy.lanes, [&](int lane) { add_lane(warp, instruction, lane, request, copy); });
    mark_in_flight(warp, instruction, copy);
    rest &= ~copy.lanes;
  }
  count(warp, instruction, request);
  return Status::kNext;
}

Status copy(Warp& warp, const Instruction& instruction) {
  return start(warp, instruction, read_copy(warp, instruction));
}

// Lanes for which the predicate holds read nothing and write zeros.
Status copy_unless(Warp& warp, const Instruction& instruction) {
  CopyRequest request = read_copy(warp, instruction);
  const LaneMask holds = warp.predicate(instruction.operands[kIgnore]);
  const LaneMask ignored = instruction.operands[kNegated] ? ~holds : holds;
  each_lane(ignored, [&](int lane) { request.read[lane] = 0; });
  return start(warp, instruction, request);
}

// --- arrival ---

void land_lane(const StartedCopy& copy, int lane, std::byte* shared) {
  std::byte* target = shared + copy.target[lane];
  const uint32_t read = copy.read[lane];
  if (read) std::memcpy(target, copy.source[lane], read);
  std::memset(target + read, 0, copy.bytes - read);
}

void land(Block& block, StartedCopy& copy, LaneMask lanes) {
  each_lane(lanes, [&](int lane) {
    land_lane(copy, lane, block.shared);
    if (copy.access) end_async_write(*copy.access, block, copy.target[lane], copy.bytes);
  });
  copy.lanes &= ~lanes;
}

// `due(copy)` says for which lanes of a copy the bytes are to arrive. Returns the latest of these
// copies.
template <class Due>
uint32_t land_due(Warp& warp, Due due) {
  uint32_t latest = 0;
  std::vector<StartedCopy>& started = warp.copies.started;
  for (StartedCopy& copy : started) {
    const LaneMask lanes = copy.lanes & due(copy);
    if (!lanes) continue;
    land(*warp.block, copy, lanes);
    latest = copy.time;
  }
  std::erase_if(started, [](const StartedCopy& copy) { return !copy.lanes; });
  return latest;
}

// The warp has waited for its copies up to `time`.
void see_copies(Warp& warp, uint32_t time) {
  const std::optional<uint32_t> agent = warp.copies.agent;
  if (agent && warp.clock[*agent] < time) warp.clock.set(*agent, time);
}

Status commit(Warp& warp, const Instruction&) {
  each_lane(warp.executing, [&](int lane) { ++warp.copies.committed[lane]; });
  return Status::kNext;
}

// All but the latest `pending` committed groups of each lane.
Status wait_group(Warp& warp, const Instruction& instruction) {
  const auto pending = static_cast<uint64_t>(instruction.operands[0]);
  const uint32_t latest = land_due(warp, [&](const StartedCopy& copy) {
    return lanes_where(warp.executing,
                       [&](int l) { return copy.group + pending < warp.copies.committed[l]; });
  });
  see_copies(warp, latest);
  return Status::kNext;
}

Status wait_all(Warp& warp, const Instruction&) {
  see_copies(warp, land_due(warp, [&](const StartedCopy&) { return warp.executing; }));
  return Status::kNext;
}

ROOFGATE_OPERATION("cp.async", copy);
ROOFGATE_OPERATION("cp.async.ignore", copy_unless);
ROOFGATE_OPERATION("cp.async.commit_group", commit);
ROOFGATE_OPERATION("cp.async.wait_group", wait_group);
ROOFGATE_OPERATION("cp.async.wait_all", wait_all);

}  // namespace

void land_copies(Warp& warp, LaneMask lanes, uint32_t time) {
  land_due(warp, [&](const StartedCopy& copy) { return copy.time <= time ? lanes : 0; });
}

}  // namespace roofgate::sim
