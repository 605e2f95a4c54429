// The bf16 multiply-add ceiling of AMX: tdpbf16ps, 16 x 16 sums of 32 products each.
// Built with -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512bf16 -mamx-tile -mamx-bf16 -mfma.
#if defined(__x86_64__)
#include "ceilings_cpu_avx512.h"
#include "ceilings_cpu_loops.h"

namespace roofgate {
namespace {

struct AmxCeiling : Avx512Lines {};

constexpr int kSide = 16;   // rows and columns of a tile of sums
constexpr int kDepth = 32;  // products in each of them
constexpr int kChains = 4;  // a 2 x 2 block of sums, as the attention kernels use them

struct alignas(64) Configuration {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Operands are zero: the rate of the instruction does not depend on them. What is read back stands
// for all sums, since tile instructions are volatile to the compiler.
float multiply_tiles(int64_t iterations) {
  const Configuration configuration;
  alignas(64) float sums[kSide * kSide] = {};
  asm volatile("" ::: "memory");  // the compiler does not know that the loads below read memory
  _tile_loadconfig(&configuration);
  _tile_loadd(0, sums, 64);
  _tile_loadd(1, sums, 64);
  _tile_loadd(2, sums, 64);
  _tile_loadd(3, sums, 64);
  _tile_loadd(4, sums, 64);
  _tile_loadd(5, sums, 64);
  _tile_loadd(6, sums, 64);
  _tile_loadd(7, sums, 64);
  for (int64_t iteration = 0; iteration < iterations; ++iteration) {
    ROOFGATE_UNROLL
    for (int round = 0; round < kRounds; ++round) {
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, sums, 64);
  _tile_release();
  return sums[0];
}

}  // namespace

const CeilingKernels kCeilingsAmxBf16 = {copy_lines<AmxCeiling>, multiply_tiles,
                                         2.0 * kSide * kSide * kDepth * kChains * kRounds};

}  // namespace roofgate
#endif
