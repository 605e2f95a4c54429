// Addresses, and every access to them.
//
// Global and constant addresses are the host's own. The other spaces are windows of the generic
// address space that no host pointer can lie in:
//   shared     a 32-bit address. Below 2^24 it is an offset in the block's own memory; else bits
//              24-31 are 1 + the rank in the cluster of the block that owns it (what mapa returns).
//   local      an offset in the lane's own memory.
//   parameter  an offset in the block of kernel parameters.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "findings.h"
#include "warp.h"

namespace roofgate::sim {

constexpr uint64_t kSharedWindow = uint64_t{1} << 56;
constexpr uint64_t kLocalWindow = uint64_t{2} << 56;
constexpr uint64_t kParameterWindow = uint64_t{3} << 56;
constexpr uint32_t kClusterRankShift = 24;

// Strong accesses (volatile, relaxed, acquire, release, atomic) do not race with each other.
enum class Access { kRead, kWrite, kAtomic, kStrongRead, kStrongWrite };

// The block that owns a shared address, and the offset in its memory.
struct SharedPlace {
  Block* block;
  uint32_t offset;
};
SharedPlace shared_place(Warp& warp, const Instruction& instruction, uint32_t address);

// Each returns where the bytes lie (a power of two of them), after all checks of an ordinary access
// by one lane: bounds, alignment to `bytes` and, if races are checked, order, initialisation and
// copies in flight. They fail() where hardware would trap.
std::byte* access_shared(Warp& warp, const Instruction& instruction, int lane, uint32_t address,
                         uint32_t bytes, Access access);
std::byte* access_global(Warp& warp, const Instruction& instruction, int lane, uint64_t address,
                         uint32_t bytes, Access access);
std::byte* access_generic(Warp& warp, const Instruction& instruction, int lane, uint64_t address,
                          uint32_t bytes, Access access);

// Bank conflicts of one request: 32 banks of 4 bytes, lanes of the same 4 bytes share; 8-byte
// accesses go in two halves and 16-byte accesses in four quarters of the warp.
uint32_t shared_wavefronts(const Lanes<uint32_t>& addresses, LaneMask lanes, uint32_t bytes);
// Distinct aligned 32-byte sectors of one request.
uint32_t global_sectors(const Lanes<uint64_t>& addresses, LaneMask lanes, uint32_t bytes);

// Add to the site's counters, if counting: to shared memory one request for each part of the warp
// that goes on its own (see memory_counts.cpp), to global memory one.
void count_shared(Warp& warp, const Instruction& instruction, const Lanes<uint32_t>& addresses,
                  LaneMask lanes, uint32_t bytes);
void count_global(Warp& warp, const Instruction& instruction, const Lanes<uint64_t>& addresses,
                  LaneMask lanes, uint32_t bytes);

// --- asynchronous accesses: by a copy or a product that an instruction starts ---

// Who performs it: an agent of its own with its own time, which started after all that `clock` has
// seen. `clock` is Warp::async_clock for the asynchronous proxy (TMA, bulk copies, wgmma) and
// Warp::clock for cp.async.
struct AsyncAccess {
  uint32_t agent = 0;
  uint32_t time = 0;
  VectorClock clock;
  VectorClock issuer_clock;  // Warp::clock: tells a missing proxy fence from a race
  Party issuer;              // for findings
  Warp* warp = nullptr;      // that issued it
  const Instruction* instruction = nullptr;
};

// From begin on the bytes are in flight: an ordinary read or write of a destination, or a write to
// a source, is a finding. begin reports unordered earlier accesses. A write has an end; a read
// needs none, since who waited for it has its time in the clock. All do nothing unless races are
// checked. `offset` counts in the block's own memory.
void begin_async_write(const AsyncAccess& access, Block& block, uint32_t offset, uint32_t bytes);
void end_async_write(const AsyncAccess& access, Block& block, uint32_t offset, uint32_t bytes);
void begin_async_read(const AsyncAccess& access, Block& block, uint32_t offset, uint32_t bytes);
// Global bytes are read or written at once when the copy runs.
void async_global(const AsyncAccess& access, uint64_t address, uint32_t bytes, Access kind);

// --- global memory that exists ---

struct Allocation {
  uint64_t address;
  uint64_t bytes;
  std::string name;
};

// Known before the first launch; module variables add themselves.
void add_allocation(Allocation allocation);
void remove_allocation(uint64_t address);
// The allocation that holds all the bytes; nullptr if none does.
const Allocation* find_allocation(uint64_t address, uint64_t bytes);
// For messages: "8 bytes past the end of 'k' (1024 B)".
std::string describe_address(uint64_t address);

}  // namespace roofgate::sim
