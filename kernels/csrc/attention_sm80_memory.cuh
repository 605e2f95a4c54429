// Tiles of [rows, head_dim] 16-bit elements: global memory -> shared memory -> fragments, and back.
//
// In shared memory a row is head_dim * 2 bytes long, and its 16-byte chunk c stands at position c ^
// (row % 8). Eight rows of one chunk (what ldmatrix reads, and a warp storing accumulators writes)
// and eight chunks of one row (what copies write and the epilogue reads) then lie in different
// banks: one wavefront for 128 bytes.
#pragma once

#include <cstdint>

#include "ptx.cuh"

namespace roofgate {

constexpr int kChunkBytes = 16;
constexpr int kChunkElements = kChunkBytes / 2;
constexpr int kSwizzleRows = 8;
constexpr int kTileAlignment = 512;  // of the longest rows

template <int kRowBytes>
__device__ __forceinline__ uint32_t swizzled_offset(int row, int chunk) {
  return row * kRowBytes + (chunk ^ (row % kSwizzleRows)) * kChunkBytes;
}

// How the threads of a block share the copying of tiles of one tensor from global to shared memory:
// neighbours take neighbouring chunks, so a warp reads whole rows.
template <int kRowBytes, int kThreads>
class TileCopier {
 public:
  // `tensor` is row 0, `row_stride` counts elements.
  __device__ TileCopier(const uint16_t* tensor, int64_t row_stride)
      : source_(tensor + (threadIdx.x % kChunksPerRow) * kChunkElements), row_stride_(row_stride) {}

  // Starts copying rows [first_row, first_row + kRows).
  template <int kRows>
  __device__ __forceinline__ void start(uint32_t tile, int64_t first_row) const {
    const uint16_t* source = source_ + (first_row + thread_row()) * row_stride_;
    const uint32_t destination = tile + thread_offset();
#pragma unroll
    for (int row = 0; row < kRows; row += kRowsPerPass) {
      ptx::cp_async_16(row_address(destination, row), source + row * row_stride_);
    }
  }

  // The same where the tensor ends at `end_row`, which is not 0: later rows become zeros. Those of
  // V have to, because their probability 0 times whatever lay there could be NaN.
  template <int kRows>
  __device__ __forceinline__ void start_bounded(uint32_t tile, int first_row, int end_row) const {
    const uint32_t destination = tile + thread_offset();
#pragma unroll
    for (int row = 0; row < kRows; row += kRowsPerPass) {
      const int source_row = first_row + thread_row() + row;
      const bool exists = source_row < end_row;
      ptx::cp_async_16(row_address(destination, row),
                       source_ + (exists ? source_row : 0) * row_stride_, exists ? kChunkBytes : 0);
    }
  }

 private:
  static constexpr int kChunksPerRow = kRowBytes / kChunkBytes;
  static constexpr int kRowsPerPass = kThreads / kChunksPerRow;
  static_assert(kRowsPerPass % kSwizzleRows == 0 || kSwizzleRows % kRowsPerPass == 0,
                "the swizzle of a thread in another pass differs by bits that its own row lacks");

  static __device__ int thread_row() { return threadIdx.x / kChunksPerRow; }
  static __device__ uint32_t thread_offset() {
    return swizzled_offset<kRowBytes>(thread_row(), threadIdx.x % kChunksPerRow);
  }

  // `row` rows, a multiple of kRowsPerPass, below the thread's own place.
  static __device__ __forceinline__ uint32_t row_address(uint32_t own, int row) {
    return (own ^ (row % kSwizzleRows * kChunkBytes)) + row * kRowBytes;
  }

  const uint16_t* source_;
  int64_t row_stride_;
};

// The address that this lane gives to ldmatrix for any 16 x 16 block of a tile: of row `lane_row`
// (0..15) and 8-column half `lane_half` (0 or 1) within the block. The swizzle depends on lane_row
// only, and the block's columns are an exclusive or, so one register serves the whole tile.
template <int kRowBytes>
class BlockAddress {
 public:
  __device__ BlockAddress(uint32_t tile, int lane_row, int lane_half)
      : origin_(tile + swizzled_offset<kRowBytes>(lane_row, lane_half)) {}

  // A copy whose at() stays inside the loop where it is called: see ptx::opaque.
  __device__ __forceinline__ BlockAddress for_this_step() const {
    BlockAddress copy = *this;
    copy.origin_ = ptx::opaque(origin_);
    return copy;
  }

  __device__ __forceinline__ uint32_t at(int row_block, int column_block) const {
    return (origin_ ^ (column_block * 2 * kChunkBytes)) + row_block * 16 * kRowBytes;
  }

 private:
  uint32_t origin_;  // tiles are aligned to kTileAlignment: the exclusive or finds zeros there
};

// Lane rows and halves in the order of the fragments of mma.m16n8k16. ldmatrix takes matrix i from
// lanes 8i to 8i + 7:
//   A (Q), and B transposed (V stored as [key, column]): rows 0-7 left, rows 8-15 left, rows 0-7
//   right, ... B (K stored as [key, column]): rows 0-7 left, rows 0-7 right, rows 8-15 left, ...
template <int kRowBytes>
__device__ __forceinline__ BlockAddress<kRowBytes> row_fragment_address(uint32_t tile, int lane) {
  return BlockAddress<kRowBytes>(tile, lane % 16, lane / 16);
}

template <int kRowBytes>
__device__ __forceinline__ BlockAddress<kRowBytes> column_fragment_address(uint32_t tile,
                                                                           int lane) {
  return BlockAddress<kRowBytes>(tile, lane % 8 + lane / 16 * 8, lane / 8 % 2);
}

// Writes the accumulators of one warp, 16 * kRowBlocks rows from `first_row` of `destination`, as
// 16-bit elements: through the warp's own rows of a shared tile, then in 16-byte stores of whole
// rows.
template <class Element, int kRowBytes, int kRowBlocks>
__device__ __forceinline__ void store_rows(const float (&rows)[kRowBlocks][kRowBytes / 16][4],
                                           uint32_t tile, uint16_t* destination, int64_t row_stride,
                                           int first_row, int end_row, int lane) {
  constexpr int kChunksPerRow = kRowBytes / kChunkBytes;
  constexpr int kRowsPerPass = 32 / kChunksPerRow;
  __syncwarp();  // every lane has read its last fragment from these rows
#pragma unroll
  for (int block = 0; block < kRowBlocks; ++block) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = block * 16 + half * 8 + lane / 4;
#pragma unroll
      for (int chunk = 0; chunk < kChunksPerRow; ++chunk) {
        const float* pair = &rows[block][chunk][2 * half];
        ptx::store_shared_4(tile + swizzled_offset<kRowBytes>(row, chunk) + lane % 4 * 4,
                            Element::pack(pair[0], pair[1]));
      }
    }
  }
  __syncwarp();
  const int chunk = lane % kChunksPerRow;
  for (int row = lane / kChunksPerRow; row < kRowBlocks * 16; row += kRowsPerPass) {
    if (first_row + row >= end_row) break;
    const uint4 value = ptx::load_shared_16(tile + swizzled_offset<kRowBytes>(row, chunk));
    ptx::store_global_16(destination + (first_row + row) * row_stride + chunk * kChunkElements,
                         value);
  }
}

}  // namespace roofgate
