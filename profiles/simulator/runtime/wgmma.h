// wgmma.mma_async: products of a warpgroup, of which each warp computes its 16 rows.
//
// The product is computed when it is issued: compilers copy accumulators before the wait, which the
// later renaming by ptxas makes harmless. That it is under way shows in the checks alone: its
// shared operands count as being read, and its registers as not to be touched, until the group was
// waited for.
#pragma once

#include <cstdint>
#include <vector>

#include "lanes.h"
#include "memory.h"

namespace roofgate::sim {

constexpr uint32_t kWgmmaWarps = 4;

struct SharedRange {
  uint32_t offset;
  uint32_t bytes;
};

struct WgmmaProduct {
  AsyncAccess access;
};

// Records a product, with what it reads of the block's own memory.
void start_product(Warp& warp, const Instruction& instruction,
                   const std::vector<SharedRange>& reads);

// One operand in shared memory, 32 bytes along K for each line (row of A or column of B).
//
// PTX ISA, "Shared Memory Matrix Layout" and "Matrix Descriptor Format". The memory consists of
// 16-byte chunks; the canonical layouts (as CUTLASS's mma_traits_sm90_gmma.hpp writes them), with
// lines i, K blocks of 16 bytes or of 8 elements b, and S chunks in the span of the swizzle, are
//   K-major   none       (i / 8) stride + (i % 8) 16 + b leading
//             swizzled   (i / 8) stride + (i % 8) 16 S + b 16
//   MN-major  none       (i / 8) stride + b leading + (k % 8) 16
//             swizzled   (i / 8 % S) 16 + (i / 8 / S) leading + b stride + (k % 8) 16 S
// and the swizzle exchanges chunks by their address in shared memory.
class WgmmaTile {
 public:
  enum class Major { kK, kMN };

  WgmmaTile(Warp& warp, const Instruction& instruction, uint64_t descriptor, Major major);

  // Element words of 8 lines and one K block: lane 4 i + t holds bytes 4 t to 4 t + 3 of line i, as
  // a register of mma.sync's fragments does.
  Lanes<uint32_t> words(int group, int block) const;

  // Ends the launch if the groups from `first` to `end` are not all in the block's memory.
  void require_inside(Warp& warp, const Instruction& instruction, int first, int end) const;

  // Adds what every `step`-th of the groups occupies.
  void add_ranges(int first, int end, int step, std::vector<SharedRange>& ranges) const;

 private:
  uint32_t chunk(int group, int block, int index) const;

  const Block& block_;
  Major major_;
  uint32_t start_;
  uint32_t leading_;
  uint32_t stride_;
  uint32_t span_;  // bytes; 16: no swizzle
};

}  // namespace roofgate::sim
