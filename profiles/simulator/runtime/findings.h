// What the checks find.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "warp.h"

namespace roofgate::sim {

// The names are those that users see: check_name gives "shared-race" for kSharedRace.
enum class Check {
  kBarrier,              // barrier: wrong count, or used in conflicting ways
  kSharedRace,           // shared-race
  kGlobalRace,           // global-race
  kCopyInFlight,         // copy-in-flight: bytes used before their asynchronous copy was waited for
  kWgmma,                // wgmma: operand or accumulator touched too early
  kProxyFence,           // proxy-fence: fence.proxy.async is missing
  kUninitialisedShared,  // uninitialised-shared
  kOutOfBounds,          // out-of-bounds
  kMisaligned,           // misaligned
  kDivergence,           // divergence at an instruction that needs all lanes
  kMbarrier,             // mbarrier: not initialised, too many arrivals, transaction overflow
  kTensorCopy,           // tensor-copy: a descriptor or tensor map that the hardware refuses
  kDeadlock,             // deadlock
  kEndless,              // endless: the instruction limit
  kLaunch,               // launch: what the driver would refuse
  kUnsupported,          // unsupported at run time
  kCrash,                // crash of the simulator itself
};

enum class Space { kNone, kShared, kGlobal, kLocal, kParameter };

// The other side of a conflict.
struct Party {
  uint32_t site = 0;
  Dim3 block;
  uint32_t warp = 0;
  int lane = -1;       // -1: not known
  std::string action;  // "write", "read", "cp.async", "TMA load", "wgmma"
};

struct Finding {
  Check check;
  // One sentence; where and who is added from the fields. "{site 12}" stands for a source line.
  std::string message;
  LaneMask lanes = 0;
  Space space = Space::kNone;
  uint64_t address = 0;
  uint32_t bytes = 0;
  std::optional<Party> other = std::nullopt;
};

// Records a finding at the present instruction; the kernel goes on. Repetitions (the same check at
// the same site against the same other site) are counted, and the one of the first block is kept.
void report(Warp& warp, const Instruction& instruction, Finding finding);

// What fail() throws; the worker ends the launch.
struct LaunchFailure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Records a finding after which the kernel cannot go on.
[[noreturn]] void fail(Warp& warp, const Instruction& instruction, Finding finding);

const char* check_name(Check check);

// One finding with where it was made; repetitions are counted.
struct RecordedFinding {
  Finding finding;
  std::string kernel;
  uint32_t site = 0;
  Dim3 block;
  uint32_t warp = 0;
  uint64_t count = 1;
};

// In the order of kernels, sites and checks. Of all launches since the process began.
std::vector<RecordedFinding> recorded_findings();

}  // namespace roofgate::sim
