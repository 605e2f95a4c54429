// Moves rows of Q, K, V and O between the tensors and the packed tiles of attention_fwd_cpu_tile.h.
#pragma once

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "attention_fwd_cpu_tile.h"

namespace roofgate {
namespace {

constexpr int kMaxHeadDim = 256;

// Element types of the tensors.
struct Bf16 {
  using Storage = uint16_t;

  // The fp32 unit of an element.
  static ROOFGATE_INLINE uint32_t widen(Storage value) {
    return static_cast<uint32_t>(value) << 16;
  }
  // Rounds to nearest even; a NaN stays one.
  static ROOFGATE_INLINE Storage narrow(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint32_t rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
    return static_cast<Storage>((bits & 0x7FFFFFFF) > 0x7F800000 ? (bits >> 16) | 0x40 : rounded);
  }
};

struct Fp32 {
  using Storage = float;

  static ROOFGATE_INLINE uint32_t widen(Storage value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
  }
  static ROOFGATE_INLINE Storage narrow(float value) { return value; }
};

// A [position, head_dim] matrix inside a tensor.
template <class Element>
struct Rows {
  const typename Element::Storage* first;
  int64_t stride;
  int count;

  // Rows past the end read as zero: a packed tile has whole chunks.
  ROOFGATE_INLINE const typename Element::Storage* operator[](int row) const {
    static const typename Element::Storage zeros[kMaxHeadDim] = {};
    return row < count ? first + row * stride : zeros;
  }
};

// Asks for a row of a tensor, while something else is worked on: with few query rows the call is
// bound by how early it asks.
template <class Element>
ROOFGATE_INLINE void prefetch_row(const typename Element::Storage* row, int head_dim) {
  constexpr int kLineElements = 64 / sizeof(typename Element::Storage);
  for (int d = 0; d < head_dim; d += kLineElements) __builtin_prefetch(row + d, 0, 3);
}

// units[0, count) = a row of elements; `count` is a multiple of kChunkSteps.
template <class Simd, class Element>
ROOFGATE_INLINE void copy_units(const typename Element::Storage* row, uint32_t* units, int count) {
  if constexpr (Simd::kElementsPerUnit == 2) {
    // By pieces of a known size: a call of memcpy would cost more than it copies.
    for (int i = 0; i < count; i += kChunkSteps) {
      memcpy(units + i, row + 2 * i, kChunkSteps * sizeof *units);
    }
  } else {
    for (int i = 0; i < count; ++i) units[i] = Element::widen(row[i]);
  }
}

// Packs the first `padded_keys` keys into KeyTile::k.
template <class Simd, class Element>
void pack_keys(const Rows<Element>& keys, int padded_keys, int head_dim, uint32_t* tile) {
  const int chunks = head_dim / Simd::kElementsPerUnit / kChunkSteps;
  for (int key = 0; key < padded_keys; ++key) {
    const typename Element::Storage* const row = keys[key];
    for (int chunk = 0; chunk < chunks; ++chunk) {
      copy_units<Simd, Element>(row + chunk * kChunkSteps * Simd::kElementsPerUnit,
                                tile + (chunk * kTileKeys + key) * kChunkSteps, kChunkSteps);
    }
  }
}

// Packs the first `padded_keys` keys into KeyTile::v. A unit of two bf16 holds the same column of
// two neighbouring keys, the first one in the low half.
template <class Simd, class Element>
void pack_values(const Rows<Element>& values, int padded_keys, int head_dim, uint32_t* tile) {
  constexpr int kTileUnits = kTileKeys / Simd::kElementsPerUnit;
  for (int unit = 0; unit < padded_keys / Simd::kElementsPerUnit; ++unit) {
    const typename Element::Storage* const even = values[unit * Simd::kElementsPerUnit];
    [[maybe_unused]] const typename Element::Storage* const odd =
        values[unit * Simd::kElementsPerUnit + 1];
    for (int d = 0; d < head_dim; d += kValueColumns) {
      uint32_t* const out = tile + (d / kValueColumns * kTileUnits + unit) * kValueColumns;
      if constexpr (Simd::kElementsPerUnit == 2) {
        Simd::interleave(even + d, odd + d, out);
      } else {
        copy_units<Simd, Element>(even + d, out, kValueColumns);
      }
    }
  }
}

// Transposes a vector of query rows: packed[unit][0, kLanes) = rows[0, kLanes)[unit]. Null rows are
// zero. `staging` holds kLanes * padded_units units.
template <class Simd, class Element>
void pack_queries(const typename Element::Storage* const (&rows)[Simd::kLanes], int head_dim,
                  bool negate, uint32_t* packed, uint32_t* staging) {
  const int units = head_dim / Simd::kElementsPerUnit;
  const int padded_units = round_up(units, Simd::kLanes);
  if constexpr (Simd::kElementsPerUnit == 2) {
    for (int unit = 0; unit < units; unit += Simd::kLanes) {
      Simd::transpose_rows(rows, unit, units, negate,
                           packed + static_cast<ptrdiff_t>(unit) * QueryTile<Simd>::kRows,
                           QueryTile<Simd>::kRows);
    }
    return;
  }
  for (int lane = 0; lane < Simd::kLanes; ++lane) {
    uint32_t* const row = staging + lane * padded_units;
    if (rows[lane] == nullptr) {
      memset(row, 0, sizeof *row * padded_units);
      continue;
    }
    for (int unit = units; unit < padded_units; ++unit) row[unit] = 0;
    copy_units<Simd, Element>(rows[lane], row, units);
    if (!negate) continue;
    for (int unit = 0; unit < units; ++unit) row[unit] ^= 0x80000000u;
  }
  for (int unit = 0; unit < padded_units; unit += Simd::kLanes) {
    Simd::transpose(staging + unit, padded_units,
                    packed + static_cast<ptrdiff_t>(unit) * QueryTile<Simd>::kRows,
                    QueryTile<Simd>::kRows);
  }
}

// rows[lane][:] = output[:][lane] * factors[lane]. Null rows are skipped. `staging` holds kLanes *
// (head_dim + kLanes) floats.
template <class Simd, class Element>
void unpack_output(const float* output, const float* factors, int head_dim,
                   typename Element::Storage* const (&rows)[Simd::kLanes], float* staging) {
  constexpr int kLanes = Simd::kLanes;
  constexpr int kRows = QueryTile<Simd>::kRows;
  const typename Simd::Vector factor = Simd::load(factors);
  if constexpr (Simd::kElementsPerUnit == 2) {
    for (int unit = 0; unit < head_dim / 2; unit += kLanes) {
      Simd::unpack_rows(output, kRows, factor, unit, head_dim / 2, rows);
    }
    return;
  }
  float* const block = staging + head_dim * kLanes;
  for (int d = 0; d < head_dim; d += kLanes) {
    for (int i = 0; i < kLanes; ++i) {
      const float* const column = output + static_cast<ptrdiff_t>(d + i) * kRows;
      Simd::store(block + i * kLanes, Simd::multiply(Simd::load(column), factor));
    }
    Simd::transpose(block, kLanes, staging + d, head_dim);
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    if (rows[lane] == nullptr) continue;
    const float* const row = staging + lane * head_dim;
    for (int d = 0; d < head_dim; ++d) rows[lane][d] = Element::narrow(row[d]);
  }
}

// Natural logarithms of a vector.
template <class Simd>
void store_logarithms(const float* from, float* to) {
  if constexpr (Simd::kHasLog) {
    Simd::store(to, Simd::log(Simd::load(from)));
  } else {
    for (int lane = 0; lane < Simd::kLanes; ++lane) to[lane] = logf(from[lane]);
  }
}

}  // namespace
}  // namespace roofgate
