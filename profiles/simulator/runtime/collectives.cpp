// What the lanes of a warp do together: shuffles, votes, matches, reductions. PTX ISA, "shfl.sync",
// "vote.sync", "match.sync", "redux.sync", "elect.sync", "bar.warp.sync".
//
// Each waits until all live lanes that its member mask names are there. Lanes of one instruction
// may name different sets; every set works by itself.
#include <bit>
#include <cmath>
#include <functional>

#include "findings.h"
#include "interpreter.h"

namespace roofgate::sim {
namespace {

// Runs visit(lanes) for each set of executing lanes with the same member mask.
template <class Visit>
Status together(Warp& warp, const Instruction& instruction, int64_t members_operand, Visit visit) {
  const Lanes<uint32_t>& members = warp.lanes<uint32_t>(members_operand);
  if (!members_arrived(warp, instruction, members)) return Status::kRetry;
  for (LaneMask rest = warp.executing; rest;) {
    const uint32_t mask = members[first_lane(rest)];
    const LaneMask lanes = lanes_where(rest, [&](int lane) { return members[lane] == mask; });
    visit(lanes);
    rest &= ~lanes;
  }
  return Status::kNext;
}

void set_predicate(Warp& warp, int64_t operand, LaneMask lanes, LaneMask holds) {
  LaneMask& predicate = warp.predicate(operand);
  predicate = (predicate & ~lanes) | (holds & lanes);
}

Status synchronise(Warp& warp, const Instruction& instruction) {
  return together(warp, instruction, instruction.operands[0], [](LaneMask) {});
}

enum class Shuffle { kUp, kDown, kButterfly, kIndex };

struct Source {
  int lane;
  bool in_range;
};

template <Shuffle kind>
Source shuffle_source(int lane, uint32_t distance, uint32_t clamp) {
  const int b = distance & 31;
  const int segment = clamp >> 8 & 31;
  const int last = (lane & segment) | (clamp & 31 & ~segment);
  int source;
  bool in_range;
  if constexpr (kind == Shuffle::kUp) {
    source = lane - b;
    in_range = source >= last;
  } else {
    source = kind == Shuffle::kDown        ? lane + b
             : kind == Shuffle::kButterfly ? lane ^ b
                                           : (lane & segment) | (b & ~segment);
    in_range = source <= last;
  }
  return {in_range ? source : lane, in_range};
}

template <Shuffle kind>
Status shuffle(Warp& warp, const Instruction& instruction) {
  const int64_t* operands = instruction.operands;
  const Lanes<uint32_t> values = warp.lanes<uint32_t>(operands[1]);
  const Lanes<uint32_t> distances = warp.lanes<uint32_t>(operands[2]);
  const Lanes<uint32_t> clamps = warp.lanes<uint32_t>(operands[3]);
  Lanes<uint32_t>& destination = warp.lanes<uint32_t>(operands[0]);
  return together(warp, instruction, operands[4], [&](LaneMask lanes) {
    LaneMask in_range = 0;
    LaneMask stray = 0;
    each_lane(lanes, [&](int lane) {
      const Source source = shuffle_source<kind>(lane, distances[lane], clamps[lane]);
      destination[lane] = values[source.lane];
      in_range |= LaneMask{source.in_range} << lane;
      stray |= LaneMask{!has_lane(lanes, source.lane)} << lane;
    });
    if (stray) {
      report(warp, instruction,
             {Check::kDivergence, "lanes read from lanes that do not take part", stray});
    }
    if (instruction.operand_count > 5) set_predicate(warp, operands[5], lanes, in_range);
  });
}

enum class Vote { kAll, kAny, kUniform };

LaneMask vote_source(Warp& warp, const Instruction& instruction) {
  return warp.predicate(instruction.operands[1]) ^ (instruction.operands[2] ? kAllLanes : 0);
}

template <Vote kind>
Status vote(Warp& warp, const Instruction& instruction) {
  const LaneMask source = vote_source(warp, instruction);
  return together(warp, instruction, instruction.operands[3], [&](LaneMask lanes) {
    const bool all = (source & lanes) == lanes;
    const bool any = (source & lanes) != 0;
    const bool result = kind == Vote::kAll ? all : kind == Vote::kAny ? any : all || !any;
    set_predicate(warp, instruction.operands[0], lanes, result ? kAllLanes : 0);
  });
}

Status ballot(Warp& warp, const Instruction& instruction) {
  const LaneMask source = vote_source(warp, instruction);
  Lanes<uint32_t>& destination = warp.lanes<uint32_t>(instruction.operands[0]);
  return together(warp, instruction, instruction.operands[3], [&](LaneMask lanes) {
    write_lanes(destination, lanes, [&](int) { return source & lanes; });
  });
}

template <class T>
Status match_any(Warp& warp, const Instruction& instruction) {
  const Lanes<T> values = warp.lanes<T>(instruction.operands[1]);
  Lanes<uint32_t>& destination = warp.lanes<uint32_t>(instruction.operands[0]);
  return together(warp, instruction, instruction.operands[2], [&](LaneMask lanes) {
    each_lane(lanes, [&](int lane) {
      destination[lane] =
          lanes_where(lanes, [&](int other) { return values[other] == values[lane]; });
    });
  });
}

template <class T>
Status match_all(Warp& warp, const Instruction& instruction) {
  const Lanes<T> values = warp.lanes<T>(instruction.operands[1]);
  Lanes<uint32_t>& destination = warp.lanes<uint32_t>(instruction.operands[0]);
  return together(warp, instruction, instruction.operands[2], [&](LaneMask lanes) {
    const T first = values[first_lane(lanes)];
    const bool all = lanes_where(lanes, [&](int l) { return values[l] == first; }) == lanes;
    write_lanes(destination, lanes, [&](int) { return all ? lanes : 0; });
    if (instruction.operand_count > 3) {
      set_predicate(warp, instruction.operands[3], lanes, all ? kAllLanes : 0);
    }
  });
}

template <class T, class Combine>
Status reduce(Warp& warp, const Instruction& instruction, Combine combine) {
  const Lanes<T> values = warp.lanes<T>(instruction.operands[1]);
  Lanes<T>& destination = warp.lanes<T>(instruction.operands[0]);
  return together(warp, instruction, instruction.operands[2], [&](LaneMask lanes) {
    T result = values[first_lane(lanes)];
    each_lane(lanes & (lanes - 1), [&](int lane) { result = combine(result, values[lane]); });
    write_lanes(destination, lanes, [&](int) { return result; });
  });
}

struct Add {
  template <class T>
  T operator()(T a, T b) const {
    return a + b;
  }
};

struct Minimum {
  template <class T>
  T operator()(T a, T b) const {
    return b < a ? b : a;
  }
};

struct Maximum {
  template <class T>
  T operator()(T a, T b) const {
    return a < b ? b : a;
  }
};

template <class T, class Combine>
Status reduce_integers(Warp& warp, const Instruction& instruction) {
  return reduce<T>(warp, instruction, Combine{});
}

// Without .NaN a NaN loses against a number; -0 is less than +0.
template <bool is_minimum, bool absolute, bool keeps_nan>
Status reduce_floats(Warp& warp, const Instruction& instruction) {
  const auto prepare = [](float x) { return absolute ? std::fabs(x) : x; };
  const auto combine = [&](float left, float right) {
    const float a = prepare(left);
    const float b = prepare(right);
    if (std::isnan(a) || std::isnan(b)) {
      const bool gives_nan = keeps_nan || (std::isnan(a) && std::isnan(b));
      return gives_nan ? std::bit_cast<float>(0x7fffffffu) : std::isnan(a) ? b : a;
    }
    if (a == b) return std::signbit(a) == is_minimum ? a : b;
    return (a < b) == is_minimum ? a : b;
  };
  // Once more with itself: a set of one lane, too, takes the absolute value.
  const Lanes<float> values = warp.lanes<float>(instruction.operands[1]);
  Lanes<float>& destination = warp.lanes<float>(instruction.operands[0]);
  return together(warp, instruction, instruction.operands[2], [&](LaneMask lanes) {
    float result = values[first_lane(lanes)];
    each_lane(lanes, [&](int lane) { result = combine(result, values[lane]); });
    write_lanes(destination, lanes, [&](int) { return result; });
  });
}

Status active_mask(Warp& warp, const Instruction& instruction) {
  write_lanes(warp.lanes<uint32_t>(instruction.operands[0]), warp.executing,
              [&](int) { return warp.executing; });
  return Status::kNext;
}

// The hardware may elect any member; here it is the lowest.
Status elect(Warp& warp, const Instruction& instruction) {
  return together(warp, instruction, instruction.operands[2], [&](LaneMask lanes) {
    const int leader = first_lane(lanes);
    write_lanes(warp.lanes<uint32_t>(instruction.operands[0]), lanes,
                [&](int) { return static_cast<uint32_t>(leader); });
    set_predicate(warp, instruction.operands[1], lanes, LaneMask{1} << leader);
  });
}

ROOFGATE_OPERATION("bar.warp.sync", synchronise);
ROOFGATE_OPERATION("shfl.up", shuffle<Shuffle::kUp>);
ROOFGATE_OPERATION("shfl.down", shuffle<Shuffle::kDown>);
ROOFGATE_OPERATION("shfl.bfly", shuffle<Shuffle::kButterfly>);
ROOFGATE_OPERATION("shfl.idx", shuffle<Shuffle::kIndex>);
ROOFGATE_OPERATION("vote.all", vote<Vote::kAll>);
ROOFGATE_OPERATION("vote.any", vote<Vote::kAny>);
ROOFGATE_OPERATION("vote.uni", vote<Vote::kUniform>);
ROOFGATE_OPERATION("vote.ballot", ballot);
ROOFGATE_OPERATION("match.any.b32", match_any<uint32_t>);
ROOFGATE_OPERATION("match.any.b64", match_any<uint64_t>);
ROOFGATE_OPERATION("match.all.b32", match_all<uint32_t>);
ROOFGATE_OPERATION("match.all.b64", match_all<uint64_t>);
ROOFGATE_OPERATION("redux.add.u32", reduce_integers<uint32_t, Add>);
ROOFGATE_OPERATION("redux.min.u32", reduce_integers<uint32_t, Minimum>);
ROOFGATE_OPERATION("redux.max.u32", reduce_integers<uint32_t, Maximum>);
ROOFGATE_OPERATION("redux.min.s32", reduce_integers<int32_t, Minimum>);
ROOFGATE_OPERATION("redux.max.s32", reduce_integers<int32_t, Maximum>);
ROOFGATE_OPERATION("redux.and.b32", reduce_integers<uint32_t, std::bit_and<>>);
ROOFGATE_OPERATION("redux.or.b32", reduce_integers<uint32_t, std::bit_or<>>);
ROOFGATE_OPERATION("redux.xor.b32", reduce_integers<uint32_t, std::bit_xor<>>);
ROOFGATE_OPERATION("redux.min.f32", reduce_floats<true, false, false>);
ROOFGATE_OPERATION("redux.min.NaN.f32", reduce_floats<true, false, true>);
ROOFGATE_OPERATION("redux.min.abs.f32", reduce_floats<true, true, false>);
ROOFGATE_OPERATION("redux.min.abs.NaN.f32", reduce_floats<true, true, true>);
ROOFGATE_OPERATION("redux.max.f32", reduce_floats<false, false, false>);
ROOFGATE_OPERATION("redux.max.NaN.f32", reduce_floats<false, false, true>);
ROOFGATE_OPERATION("redux.max.abs.f32", reduce_floats<false, true, false>);
ROOFGATE_OPERATION("redux.max.abs.NaN.f32", reduce_floats<false, true, true>);
ROOFGATE_OPERATION("activemask", active_mask);
ROOFGATE_OPERATION("elect", elect);

}  // namespace
}  // namespace roofgate::sim
