// A register of a warp: one value for each of its 32 lanes.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

namespace roofgate::sim {

constexpr int kLanes = 32;

// Bit l stands for lane l.
using LaneMask = uint32_t;
constexpr LaneMask kAllLanes = ~LaneMask{0};

template <class T>
struct alignas(64) Lanes {
  T lane[kLanes];

  T& operator[](int index) { return lane[index]; }
  const T& operator[](int index) const { return lane[index]; }
};

constexpr bool has_lane(LaneMask mask, int lane) { return mask >> lane & 1; }

inline int first_lane(LaneMask mask) { return __builtin_ctz(mask); }

inline int count_lanes(LaneMask mask) { return __builtin_popcount(mask); }

// Calls visit(lane) for each lane of the mask, in order.
template <class Visit>
inline void each_lane(LaneMask mask, Visit visit) {
  for (; mask; mask &= mask - 1) visit(first_lane(mask));
}

// An integer as wide as T.
template <class T>
using Word = std::conditional_t<
    sizeof(T) <= 2, std::conditional_t<sizeof(T) == 1, uint8_t, uint16_t>,
    std::conditional_t<sizeof(T) == 4, uint32_t,
                       std::conditional_t<sizeof(T) == 8, uint64_t, unsigned __int128>>>;

// destination[l] = source[l] for the lanes of `mask`. Of bits, and with the lane's bit as a
// constant, because ?: does not become vector instructions here. Not inlined: g++ 12 cannot compile
// the 16-bit minima that it merges with the blend.
template <class T>
[[gnu::noinline]] void blend_lanes(Lanes<T>& destination, const Lanes<T>& source, LaneMask mask) {
#pragma GCC ivdep
  for (int l = 0; l < kLanes; ++l) {
    const auto before = std::bit_cast<Word<T>>(destination[l]);
    const Word<T> change = before ^ std::bit_cast<Word<T>>(source[l]);
    const Word<T> chosen = mask & (LaneMask{1} << l) ? ~Word<T>{0} : Word<T>{0};
    destination[l] = std::bit_cast<T>(static_cast<Word<T>>(before ^ (change & chosen)));
  }
}

// destination[l] = value(l) for the lanes of `mask`. `value` is computed for the others too, so it
// must be harmless there. Registers are either the same or disjoint, never shifted, which is what
// lets the compiler use vector instructions.
template <class T, class Value>
inline void write_lanes(Lanes<T>& destination, LaneMask mask, Value value) {
  if (mask == kAllLanes) {
#pragma GCC ivdep
    for (int l = 0; l < kLanes; ++l) destination[l] = value(l);
    return;
  }
  Lanes<T> results;
  for (int l = 0; l < kLanes; ++l) results[l] = value(l);
  blend_lanes(destination, results, mask);
}

// The lanes of `mask` for which predicate(l) holds.
template <class Predicate>
inline LaneMask lanes_where(LaneMask mask, Predicate predicate) {
  LaneMask result = 0;
  for (int l = 0; l < kLanes; ++l) result |= static_cast<LaneMask>(predicate(l)) << l;
  return result & mask;
}

}  // namespace roofgate::sim
