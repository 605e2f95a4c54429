#include "wgmma_watch.h"

#include <algorithm>
#include <string>

#include "findings.h"
#include "wgmma.h"

namespace roofgate::sim {
namespace {

Party find_product(const Warp& warp, uint32_t number) {
  const auto is_it = [number](const auto& product) { return product->access.time == number; };
  const auto search = [&](const WgmmaGroup& group) {
    const auto found = std::find_if(group.begin(), group.end(), is_it);
    return found == group.end() ? nullptr : found->get();
  };
  const WgmmaProduct* product = search(warp.wgmma.open);
  for (const WgmmaGroup& group : warp.wgmma.committed) product = product ? product : search(group);
  return product ? product->access.issuer : Party{};
}

bool under_way(const Warp& warp, uint32_t product) { return product > warp.wgmma.completed; }

void report_too_early(Warp& warp, const Instruction& instruction, const char* what,
                      uint32_t product) {
  Finding finding{Check::kWgmma,
                  std::string(what) + ": wgmma.wait_group has to come before this instruction",
                  warp.executing};
  finding.other = find_product(warp, product);
  report(warp, instruction, std::move(finding));
}

void check_access(Warp& warp, const Instruction& instruction, const Watch& watch) {
  auto& registers = warp.wgmma.registers;
  for (const uint32_t number : watch.reads) {
    const uint32_t product = registers[number].written_by;
    if (!under_way(warp, product)) continue;
    report_too_early(warp, instruction, "it reads a register that a product still writes", product);
  }
  for (const uint32_t number : watch.writes) {
    WatchedRegister& written = registers[number];
    const uint32_t product = std::max(written.written_by, written.read_by);
    if (under_way(warp, product)) {
      report_too_early(warp, instruction, "it writes a register that a product still uses",
                       product);
    }
    written = {.written_by = 0, .read_by = 0, .modified = true};
  }
}

// A literal as the source has no number.
void follow_copy(Warp& warp, const Watch& watch) {
  auto& registers = warp.wgmma.registers;
  const WatchedRegister source =
      watch.reads.empty() ? WatchedRegister() : registers[watch.reads[0]];
  for (const uint32_t number : watch.writes) {
    registers[number] = {
        .written_by = source.written_by, .read_by = 0, .modified = source.modified};
  }
}

void check_product(Warp& warp, const Instruction& instruction, const Watch& watch) {
  auto& registers = warp.wgmma.registers;
  bool modified = false;
  for (const uint32_t number : watch.reads) {
    WatchedRegister& read = registers[number];
    if (under_way(warp, read.written_by)) {
      report_too_early(warp, instruction, "its operand A is the result of an earlier product",
                       read.written_by);
    }
    modified |= read.modified;
    read.read_by = warp.wgmma.issued;
  }
  for (const uint32_t number : watch.writes) {
    WatchedRegister& sum = registers[number];
    if (under_way(warp, sum.read_by)) {
      report_too_early(warp, instruction, "its result is operand A of an earlier product",
                       sum.read_by);
    }
    modified |= sum.modified;
    sum = {.written_by = warp.wgmma.issued, .read_by = 0, .modified = false};
  }
  if (!modified) return;
  report(warp, instruction,
         {Check::kWgmma, "registers of the product were modified: wgmma.fence has to come between",
          warp.executing});
}

void follow(Warp& warp, const Instruction& instruction, const Watch& watch) {
  switch (watch.kind) {
    case WatchKind::kProduct:
      return check_product(warp, instruction, watch);
    case WatchKind::kCopy:
      return follow_copy(warp, watch);
    case WatchKind::kAccess:
      return check_access(warp, instruction, watch);
  }
}

}  // namespace

Status run_watched(Warp& warp, const Instruction& instruction) {
  const Launch& launch = launch_of(warp);
  const Watch& watch = *launch.program->watches.at(instruction.site);
  const Status status = watch.handler(warp, instruction);
  if (status == Status::kRetry || !launch.options.check_races) return status;
  warp.wgmma.registers.resize(launch.program->watched_registers);
  follow(warp, instruction, watch);
  return status;
}

}  // namespace roofgate::sim
