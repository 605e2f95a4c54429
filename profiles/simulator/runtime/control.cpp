// Jumps, ends, and what tells or passes time.
#include "findings.h"
#include "interpreter.h"

namespace roofgate::sim {
namespace {

Status jump(Warp& warp, const Instruction& instruction) {
  branch(warp, instruction, warp.executing, static_cast<uint32_t>(instruction.operands[0]));
  return Status::kJumped;
}

// Of the lanes that jump, those with the first lane's index jump now; the others come back to this
// instruction.
Status jump_by_table(Warp& warp, const Instruction& instruction) {
  const Lanes<uint32_t>& index = warp.lanes<uint32_t>(instruction.operands[0]);
  const uint32_t chosen = index[first_lane(warp.executing)];
  if (chosen + 1 >= instruction.operand_count) {
    fail(warp, instruction,
         {Check::kOutOfBounds, "index " + std::to_string(chosen) + " is beyond the branch table",
          warp.executing});
  }
  const LaneMask jumping =
      lanes_where(warp.executing, [&](int lane) { return index[lane] == chosen; });
  if (jumping == warp.active) {
    branch(warp, instruction, jumping, static_cast<uint32_t>(instruction.operands[chosen + 1]));
    return Status::kJumped;
  }
  // branch() sends the others to the next instruction, so this one is given as theirs.
  warp.pc = instruction.site - 1;
  branch(warp, instruction, jumping, static_cast<uint32_t>(instruction.operands[chosen + 1]));
  return Status::kJumped;
}

Status exit_kernel(Warp& warp, const Instruction&) { return exit_lanes(warp); }

Status trap(Warp& warp, const Instruction& instruction) {
  fail(warp, instruction, {Check::kLaunch, "the kernel executed trap", warp.executing});
}

Status do_nothing(Warp&, const Instruction&) { return Status::kNext; }

template <class T>
Status read_clock(Warp& warp, const Instruction& instruction) {
  const T now = static_cast<T>(warp.executed);
  write_lanes(warp.lanes<T>(instruction.operands[0]), warp.executing, [&](int) { return now; });
  return Status::kNext;
}

ROOFGATE_OPERATION("bra", jump);
ROOFGATE_OPERATION("bra.uni", jump);
ROOFGATE_OPERATION("brx", jump_by_table);
ROOFGATE_OPERATION("exit", exit_kernel);
ROOFGATE_OPERATION("trap", trap);
ROOFGATE_OPERATION("nop", do_nothing);
ROOFGATE_OPERATION("nanosleep", do_nothing);  // the scheduler ends long loops by itself
ROOFGATE_OPERATION("clock.b32", read_clock<uint32_t>);
ROOFGATE_OPERATION("clock.b64", read_clock<uint64_t>);

}  // namespace
}  // namespace roofgate::sim
