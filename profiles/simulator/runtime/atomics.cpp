// PTX ISA, "Parallel Synchronization and Communication Instructions: atom, red", and fences.
//
// Lanes take their turn in the order of their numbers, which is one of the orders that PTX allows;
// so do blocks that run on one thread of the host. Sums of floating-point numbers depend on it.
#include <atomic>
#include <cmath>
#include <cstring>
#include <mutex>
#include <string>

#include "address_operands.h"
#include "memory_order.h"
#include "numerics.h"
#include "warp_memory.h"

namespace roofgate::sim {
namespace {

using Wide = unsigned __int128;

// --- what becomes of the old value `a`, given the operands `b` and, of cas, `c` ---

template <class T>
T exchange(T, T b, T) {
  return b;
}

template <class T>
T compare_and_swap(T a, T b, T c) {
  return a == b ? c : a;
}

template <class T>
T add(T a, T b, T) {
  return a + b;
}

template <class T>
T minimum(T a, T b, T) {
  return b < a ? b : a;
}

template <class T>
T maximum(T a, T b, T) {
  return a < b ? b : a;
}

template <class T>
T bitwise_and(T a, T b, T) {
  return a & b;
}

template <class T>
T bitwise_or(T a, T b, T) {
  return a | b;
}

template <class T>
T bitwise_xor(T a, T b, T) {
  return a ^ b;
}

uint32_t increment(uint32_t a, uint32_t b, uint32_t) { return a >= b ? 0 : a + 1; }
uint32_t decrement(uint32_t a, uint32_t b, uint32_t) { return a == 0 || a > b ? b : a - 1; }

template <class Value>
Value add_float(Value a, Value b, Value) {
  return canonical(a + b);
}

// PTX ISA: atom.add.f32 on global memory flushes subnormal inputs and results, on shared memory
// not.
float add_flushing(float a, float b, float) { return canonical(flush(flush(a) + flush(b))); }

// f32 has more than twice the bits of Format, so rounding the sum twice is rounding it once.
template <class Format>
uint16_t add_small(uint16_t a, uint16_t b, uint16_t) {
  return static_cast<uint16_t>(encode<Format>(decode<Format>(a) + decode<Format>(b)));
}

// NaN gives way to a number; -0 is below +0.
template <class Format, bool kMaximum>
uint16_t select_small(uint16_t a, uint16_t b, uint16_t) {
  const float x = decode<Format>(a), y = decode<Format>(b);
  if (std::isnan(x)) return std::isnan(y) ? Format::kNan : b;
  if (std::isnan(y)) return a;
  const bool below = x < y || (x == y && std::signbit(x));
  return below != kMaximum ? a : b;
}

// The same on both halves of a register.
template <uint16_t (*kHalf)(uint16_t, uint16_t, uint16_t)>
uint32_t halves(uint32_t a, uint32_t b, uint32_t) {
  const uint32_t low = kHalf(static_cast<uint16_t>(a), static_cast<uint16_t>(b), 0);
  const uint32_t high = kHalf(static_cast<uint16_t>(a >> 16), static_cast<uint16_t>(b >> 16), 0);
  return high << 16 | low;
}

// --- the exchange with memory, where other threads of the host may be ---

std::mutex wide_mutex;  // hosts need not have atomic instructions for 16 bytes

template <class T, class Change>
T change_atomically(std::byte* place, Change change) {
  if constexpr (sizeof(T) == sizeof(Wide)) {
    const std::lock_guard lock(wide_mutex);
    T old;
    std::memcpy(&old, place, sizeof old);
    const T result = change(old);
    std::memcpy(place, &result, sizeof result);
    return old;
  } else {
    std::atomic_ref<T> value(*reinterpret_cast<T*>(place));
    T old = value.load(std::memory_order_relaxed);
    while (!value.compare_exchange_weak(old, change(old), std::memory_order_relaxed)) {
    }
    return old;
  }
}

// --- handlers ---

// What lowering/memory.py writes behind the address.
enum AtomicSpace : int64_t { kAnywhere, kInGlobal, kInShared };
constexpr int kSpace = AddressOperands::kCount;
constexpr int kElements = kSpace + 1;  // destinations, sources, and of cas the new value

// Makes the checks and gives the lanes whose place is in shared memory.
LaneMask locate(const Request& request, const AddressOperands& operands, int64_t space,
                Places& places) {
  if (space == kInShared) {
    request_shared(request, read_addresses<uint32_t>(request.warp, operands), places);
    return request.lanes;
  }
  const Lanes<uint64_t> addresses = read_addresses<uint64_t>(request.warp, operands);
  if (space == kInGlobal) {
    request_global(request, addresses, places);
    return 0;
  }
  request_generic(request, addresses, places);
  return lanes_where(request.lanes,
                     [&](int l) { return space_of(addresses[l]) == Space::kShared; });
}

template <class T>
using Change = T (*)(T, T, T);

// Elements of one lane: each is changed atomically, not all together.
template <class T, Change<T> kInSharedMemory, Change<T> kInGlobalMemory, int kCount, bool kThird>
void change_lane(Warp& warp, const Instruction& instruction, int lane, bool shared,
                 std::byte* place) {
  T sources[kCount];
  T third{};
  const int64_t* const registers = instruction.operands + kElements;
  for (int i = 0; i < kCount; ++i) sources[i] = warp.lanes<T>(registers[kCount + i])[lane];
  if constexpr (kThird) third = warp.lanes<T>(registers[2 * kCount])[lane];
  for (int i = 0; i < kCount; ++i) {
    const auto change = [&](T old) {
      return shared ? kInSharedMemory(old, sources[i], third)
                    : kInGlobalMemory(old, sources[i], third);
    };
    warp.lanes<T>(registers[i])[lane] = change_atomically<T>(place + i * sizeof(T), change);
  }
}

template <class T, Change<T> kInSharedMemory, Change<T> kInGlobalMemory, int kCount, bool kThird>
Status atomic(Warp& warp, const Instruction& instruction) {
  const AddressOperands operands(instruction);
  const Request request{warp, instruction, warp.executing, sizeof(T) * kCount, Access::kAtomic};
  Places places{};
  const LaneMask shared = locate(request, operands, instruction.operands[kSpace], places);
  pass_on(request, places, operands.order);
  each_lane(request.lanes, [&](int l) {
    change_lane<T, kInSharedMemory, kInGlobalMemory, kCount, kThird>(
        warp, instruction, l, has_lane(shared, l), places[l]);
  });
  take_over(request, places, operands.order);
  return Status::kNext;
}

template <class T, Change<T> kChange, Change<T> kInGlobalMemory = kChange>
constexpr Handler scalar = &atomic<T, kChange, kInGlobalMemory, 1, false>;

// The vectors of PTX ISA: up to 16 bytes of small floating-point numbers, in global memory.
template <class T, Change<T> kChange>
void register_vectors(const std::string& operation) {
  Registration(("atom.v2." + operation).c_str(), atomic<T, kChange, kChange, 2, false>);
  Registration(("atom.v4." + operation).c_str(), atomic<T, kChange, kChange, 4, false>);
  if constexpr (sizeof(T) == 2) {
    Registration(("atom.v8." + operation).c_str(), atomic<T, kChange, kChange, 8, false>);
  }
}

template <class T, Change<T> kChange>
void register_all_sizes(const std::string& operation) {
  Registration(("atom." + operation).c_str(), scalar<T, kChange>);
  register_vectors<T, kChange>(operation);
}

template <class Format>
void register_small(const std::string& type) {
  register_all_sizes<uint16_t, add_small<Format>>("add." + type);
  register_all_sizes<uint16_t, select_small<Format, false>>("min." + type);
  register_all_sizes<uint16_t, select_small<Format, true>>("max." + type);
  register_all_sizes<uint32_t, halves<add_small<Format>>>("add." + type + "x2");
  register_all_sizes<uint32_t, halves<select_small<Format, false>>>("min." + type + "x2");
  register_all_sizes<uint32_t, halves<select_small<Format, true>>>("max." + type + "x2");
}

template <class T>
void register_bits(const std::string& type) {
  Registration(("atom.and." + type).c_str(), scalar<T, bitwise_and<T>>);
  Registration(("atom.or." + type).c_str(), scalar<T, bitwise_or<T>>);
  Registration(("atom.xor." + type).c_str(), scalar<T, bitwise_xor<T>>);
}

template <class T>
void register_order(const std::string& type) {
  Registration(("atom.min." + type).c_str(), scalar<T, minimum<T>>);
  Registration(("atom.max." + type).c_str(), scalar<T, maximum<T>>);
}

template <class T>
constexpr Handler swap = &atomic<T, compare_and_swap<T>, compare_and_swap<T>, 1, true>;

const bool registered = [] {
  register_small<Float16>("f16");
  register_small<BFloat16>("bf16");
  register_bits<uint32_t>("b32");
  register_bits<uint64_t>("b64");
  register_order<uint32_t>("u32");
  register_order<int32_t>("s32");
  register_order<uint64_t>("u64");
  register_order<int64_t>("s64");
  register_vectors<float, add_flushing>("add.f32");
  return true;
}();

ROOFGATE_OPERATION("atom.add.u32", scalar<uint32_t, add<uint32_t>>);
ROOFGATE_OPERATION("atom.add.u64", scalar<uint64_t, add<uint64_t>>);
ROOFGATE_OPERATION("atom.add.f32", scalar<float, add_float<float>, add_flushing>);
ROOFGATE_OPERATION("atom.add.f64", scalar<double, add_float<double>>);
ROOFGATE_OPERATION("atom.inc.u32", scalar<uint32_t, increment>);
ROOFGATE_OPERATION("atom.dec.u32", scalar<uint32_t, decrement>);
ROOFGATE_OPERATION("atom.exch.b32", scalar<uint32_t, exchange<uint32_t>>);
ROOFGATE_OPERATION("atom.exch.b64", scalar<uint64_t, exchange<uint64_t>>);
ROOFGATE_OPERATION("atom.exch.b128", scalar<Wide, exchange<Wide>>);
ROOFGATE_OPERATION("atom.cas.b16", swap<uint16_t>);
ROOFGATE_OPERATION("atom.cas.b32", swap<uint32_t>);
ROOFGATE_OPERATION("atom.cas.b64", swap<uint64_t>);
ROOFGATE_OPERATION("atom.cas.b128", swap<Wide>);

// fence, membar: operand 0 tells which halves.
Status order_fence(Warp& warp, const Instruction& instruction) {
  const int64_t order = instruction.operands[0];
  if (order & kAcquire) acquire_fence(warp);
  if (order & kRelease) release_fence(warp);
  return Status::kNext;
}

ROOFGATE_OPERATION("fence", order_fence);

}  // namespace
}  // namespace roofgate::sim
