// mov: copies, and the packing of several registers into one and back.
#include <array>
#include <cstring>

#include "lanewise.h"
#include "program.h"

namespace roofgate::sim {
namespace {

using Bits128 = unsigned __int128;

template <class T>
T copy(T a) {
  return a;
}

// d, then the parts from the lowest bits up. Parts of 8 bits are held in 16.
template <class Whole, class Part, int kPartBits>
Status pack(Warp& warp, const Instruction& instruction) {
  constexpr int kParts = 8 * sizeof(Whole) / kPartBits;
  constexpr auto kMask = static_cast<Part>((Bits128{1} << kPartBits) - 1);
  Lanes<Whole> whole{};
  for (int i = 0; i < kParts; ++i) {
    const Lanes<Part>& part = warp.lanes<Part>(instruction.operands[i + 1]);
    for (int l = 0; l < kLanes; ++l) {
      whole[l] |= static_cast<Whole>(static_cast<Part>(part[l] & kMask)) << (i * kPartBits);
    }
  }
  write_lanes(warp.lanes<Whole>(instruction.operands[0]), warp.executing,
              [&](int l) { return whole[l]; });
  return Status::kNext;
}

// The parts from the lowest bits up, then the whole.
template <class Whole, class Part, int kPartBits>
Status unpack(Warp& warp, const Instruction& instruction) {
  constexpr int kParts = 8 * sizeof(Whole) / kPartBits;
  constexpr auto kMask = static_cast<Part>((Bits128{1} << kPartBits) - 1);
  const Lanes<Whole>& whole = warp.lanes<Whole>(instruction.operands[kParts]);
  for (int i = 0; i < kParts; ++i) {
    write_lanes(warp.lanes<Part>(instruction.operands[i]), warp.executing, [&](int l) {
      return static_cast<Part>(static_cast<Part>(whole[l] >> (i * kPartBits)) & kMask);
    });
  }
  return Status::kNext;
}

ROOFGATE_OPERATION("mov.b16", lanewise<copy<uint16_t>>);
ROOFGATE_OPERATION("mov.b32", lanewise<copy<uint32_t>>);
ROOFGATE_OPERATION("mov.b64", lanewise<copy<uint64_t>>);
ROOFGATE_OPERATION("mov.b128", lanewise<copy<Bits128>>);

#define ROOFGATE_PACKING(types, Whole, Part, bits)                \
  ROOFGATE_OPERATION("mov.pack." types, pack<Whole, Part, bits>); \
  ROOFGATE_OPERATION("mov.unpack." types, unpack<Whole, Part, bits>)

ROOFGATE_PACKING("b16.b8", uint16_t, uint16_t, 8);
ROOFGATE_PACKING("b32.b8", uint32_t, uint16_t, 8);
ROOFGATE_PACKING("b32.b16", uint32_t, uint16_t, 16);
ROOFGATE_PACKING("b64.b16", uint64_t, uint16_t, 16);
ROOFGATE_PACKING("b64.b32", uint64_t, uint32_t, 32);
ROOFGATE_PACKING("b128.b32", Bits128, uint32_t, 32);
ROOFGATE_PACKING("b128.b64", Bits128, uint64_t, 64);

}  // namespace
}  // namespace roofgate::sim
