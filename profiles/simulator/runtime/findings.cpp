#include "findings.h"

#include <map>
#include <mutex>
#include <tuple>

namespace roofgate::sim {
namespace {

using Key = std::tuple<std::string, uint32_t, Check, uint32_t>;

// Blocks run on several threads.
std::mutex mutex;
std::map<Key, RecordedFinding>& table() {
  static std::map<Key, RecordedFinding> findings;
  return findings;
}

std::tuple<uint32_t, uint32_t, uint32_t, uint32_t> order(const Dim3& block, uint32_t warp) {
  return {block.z, block.y, block.x, warp};
}

}  // namespace

const char* check_name(Check check) {
  switch (check) {
    case Check::kBarrier:
      return "barrier";
    case Check::kSharedRace:
      return "shared-race";
    case Check::kGlobalRace:
      return "global-race";
    case Check::kCopyInFlight:
      return "copy-in-flight";
    case Check::kWgmma:
      return "wgmma";
    case Check::kProxyFence:
      return "proxy-fence";
    case Check::kUninitialisedShared:
      return "uninitialised-shared";
    case Check::kOutOfBounds:
      return "out-of-bounds";
    case Check::kMisaligned:
      return "misaligned";
    case Check::kDivergence:
      return "divergence";
    case Check::kMbarrier:
      return "mbarrier";
    case Check::kTensorCopy:
      return "tensor-copy";
    case Check::kDeadlock:
      return "deadlock";
    case Check::kEndless:
      return "endless";
    case Check::kLaunch:
      return "launch";
    case Check::kUnsupported:
      return "unsupported";
    case Check::kCrash:
      return "crash";
  }
  return "unknown";
}

void report(Warp& warp, const Instruction& instruction, Finding finding) {
  const Key key{launch_of(warp).program->kernel, instruction.site, finding.check,
                finding.other ? finding.other->site : ~0u};
  RecordedFinding recorded;
  recorded.kernel = std::get<0>(key);
  recorded.site = instruction.site;
  recorded.block = warp.block->index;
  recorded.warp = warp.index;
  recorded.finding = std::move(finding);
  const std::lock_guard lock(mutex);
  const auto [place, is_new] = table().try_emplace(key, recorded);
  if (is_new) return;
  RecordedFinding& known = place->second;
  recorded.count = known.count + 1;
  // The first in the order of blocks, whichever ran first; of one warp, the one that came first.
  const bool earlier = order(recorded.block, recorded.warp) < order(known.block, known.warp);
  if (earlier) {
    known = std::move(recorded);
  } else {
    known.count = recorded.count;
  }
}

void fail(Warp& warp, const Instruction& instruction, Finding finding) {
  const std::string message = finding.message;
  report(warp, instruction, std::move(finding));
  throw LaunchFailure(message);
}

std::vector<RecordedFinding> recorded_findings() {
  const std::lock_guard lock(mutex);
  std::vector<RecordedFinding> findings;
  for (const auto& [key, finding] : table()) findings.push_back(finding);
  return findings;
}

}  // namespace roofgate::sim
