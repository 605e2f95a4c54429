// AMX tiles of 1 KB, and how rows of bf16 become them.
#pragma once

#include <stdint.h>
#include <string.h>

#include "attention_cpu_elements.h"
#include "cpu_avx512_intrinsics.h"
#include "cpu_compiler.h"

namespace roofgate {
namespace {

// In memory every tile is 16 rows of 64 bytes: 16 x 16 fp32 of a sum, 16 x 32 bf16 of a left
// operand, or 16 pairs of rows x 16 columns of a right one.
constexpr int kTileBytes = 1024;
constexpr int kTileSide = 16;
constexpr int kTileDepth = 32;  // elements that one multiplication sums over

using Tile = unsigned char[kTileBytes];

struct alignas(64) TileConfiguration {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t bytes_per_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// GCC's tile loads do not say that they read memory: stores before this stay before it.
ROOFGATE_INLINE void finish_stores() { __asm__ volatile("" ::: "memory"); }

ROOFGATE_INLINE float* floats(Tile* tile) { return reinterpret_cast<float*>(tile); }
ROOFGATE_INLINE uint32_t* words(void* tile) { return static_cast<uint32_t*>(tile); }

// to[j][i] = from[i][j] for 16 x 16 words; from and to may be the same.
ROOFGATE_INLINE void transpose_words(const uint32_t* from, ptrdiff_t from_stride, uint32_t* to,
                                     ptrdiff_t to_stride) {
  __m512i a[16], b[16];
  ROOFGATE_UNROLL
  for (int i = 0; i < 16; ++i) a[i] = _mm512_loadu_si512(from + i * from_stride);
  ROOFGATE_UNROLL
  for (int i = 0; i < 16; i += 2) {
    b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
    b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
  }
  ROOFGATE_UNROLL
  for (int i = 0; i < 16; i += 4) {
    a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
    a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
    a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
    a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
  }
  // a[4 r + c] holds, in its four 128-bit parts p, column 4 p + c of rows 4 r .. 4 r + 3.
  ROOFGATE_UNROLL
  for (int c = 0; c < 4; ++c) {
    const __m512i low01 = _mm512_shuffle_i32x4(a[c], a[4 + c], 0x44);
    const __m512i high01 = _mm512_shuffle_i32x4(a[c], a[4 + c], 0xEE);
    const __m512i low23 = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0x44);
    const __m512i high23 = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0xEE);
    _mm512_storeu_si512(to + c * to_stride, _mm512_shuffle_i32x4(low01, low23, 0x88));
    _mm512_storeu_si512(to + (4 + c) * to_stride, _mm512_shuffle_i32x4(low01, low23, 0xDD));
    _mm512_storeu_si512(to + (8 + c) * to_stride, _mm512_shuffle_i32x4(high01, high23, 0x88));
    _mm512_storeu_si512(to + (12 + c) * to_stride, _mm512_shuffle_i32x4(high01, high23, 0xDD));
  }
}

// 64 rows as left operands: tiles[4][depth tiles]; rows past the end, and elements past head_dim,
// are zero.
inline void pack_left(const Rows<Bf16>& rows, int head_dim, Tile* tiles) {
  const int depth_tiles = (head_dim + kTileDepth - 1) / kTileDepth;
  for (int row = 0; row < 4 * kTileSide; ++row) {
    for (int step = 0; step < depth_tiles; ++step) {
      const int left = head_dim - step * kTileDepth;
      const __mmask32 present = row >= rows.count ? 0 : left < kTileDepth ? 0xFFFF : 0xFFFFFFFF;
      const __m512i piece =
          _mm512_maskz_loadu_epi16(present, present ? rows[row] + step * kTileDepth : nullptr);
      _mm512_storeu_si512(tiles[row / kTileSide * depth_tiles + step] + row % kTileSide * 64,
                          piece);
    }
  }
}

// From left operands of 64 rows to right operands whose columns are the rows:
// tiles[depth tiles][4].
inline void transpose_left(const Tile* left, int depth_tiles, Tile* tiles) {
  for (int block = 0; block < 4; ++block) {
    for (int step = 0; step < depth_tiles; ++step) {
      transpose_words(reinterpret_cast<const uint32_t*>(left[block * depth_tiles + step]), 16,
                      words(tiles[step * 4 + block]), 16);
    }
  }
}

// From left operands of 64 rows to right operands that pair rows: tiles[2][head_dim / 16].
inline void pair_left(const Tile* left, int depth_tiles, int head_dim, Tile* tiles) {
  const int columns = head_dim / kTileSide;
  for (int row = 0; row < 4 * kTileSide; row += 2) {
    for (int column = 0; column < columns; ++column) {
      const unsigned char* const from =
          left[row / kTileSide * depth_tiles + column / 2] + row % kTileSide * 64 + column % 2 * 32;
      const __m512i even = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)from));
      const __m512i odd = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)(from + 64)));
      _mm512_storeu_si512(tiles[row / kTileDepth * columns + column] + row % kTileDepth / 2 * 64,
                          _mm512_or_si512(even, _mm512_slli_epi32(odd, 16)));
    }
  }
}

// From right operands that pair 64 rows, tiles[2][columns], to left operands whose rows are the
// columns: tiles[columns][2].
inline void transpose_pairs(const Tile* pairs, int columns, Tile* tiles) {
  for (int half = 0; half < 2; ++half) {
    for (int column = 0; column < columns; ++column) {
      transpose_words(reinterpret_cast<const uint32_t*>(pairs[half * columns + column]), 16,
                      words(tiles[column * 2 + half]), 16);
    }
  }
}

}  // namespace
}  // namespace roofgate
