// What bulk and tensor copies have in common: they start now and run later.
//
// A load writes shared memory and tells an mbarrier; a store reads shared memory, writes global
// memory and belongs to a bulk group of the lane that started it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "memory.h"

namespace roofgate::sim {

// One destination of a load.
struct LoadTarget {
  SharedPlace data;
  SharedPlace barrier;
  AsyncAccess access;
};

struct LoadRequest {
  uint32_t data;  // shared addresses
  uint32_t barrier;
  uint32_t bytes;
  std::optional<uint32_t> ranks;  // .multicast::cluster: the same offsets in these blocks
  const char* action;             // for findings
};

// Checks the request, marks its destinations as in flight and counts it.
std::vector<LoadTarget> begin_load(Warp& warp, const Instruction& instruction, int lane,
                                   const LoadRequest& request);
// The bytes have been written.
void end_load(const LoadTarget& target, uint32_t bytes);

// A store under way. Its source may be overwritten, and its result read, at different times, so
// that it has two agents of the clocks.
struct BulkStore {
  AsyncAccess read;
  AsyncAccess write;
  SharedPlace source;
  uint32_t bytes;
  bool done = false;
  bool source_free = false;
};

std::shared_ptr<BulkStore> begin_store(Warp& warp, const Instruction& instruction, int lane,
                                       uint32_t source, uint32_t bytes, const char* action);

// Runs `copy` later, in a moment that the schedule chooses.
void run_later(Warp& warp, std::function<void()> copy);
void run_later(const std::shared_ptr<BulkStore>& store, std::function<void()> copy);

// Ends the launch if `value` is not a multiple of `alignment`.
void require_multiple(Warp& warp, const Instruction& instruction, int lane, const char* what,
                      uint64_t value, uint32_t alignment);

// A global address as two operands: the slot of a 64-bit register and an offset in bytes.
inline uint64_t global_operand(Warp& warp, const Instruction& instruction, int first, int lane) {
  return warp.lanes<uint64_t>(instruction.operands[first])[lane] + instruction.operands[first + 1];
}
constexpr int kGlobalOperands = 2;

// The bytes of an asynchronous access to global memory, after its checks.
std::byte* global_bytes(const AsyncAccess& access, uint64_t address, uint32_t bytes, Access kind);

inline std::byte* shared_bytes(const SharedPlace& place) {
  return place.block->shared + place.offset;
}

}  // namespace roofgate::sim
