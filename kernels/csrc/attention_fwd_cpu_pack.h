// Moves rows of Q, K, V and O between the tensors and the packed tiles of attention_fwd_cpu_tile.h.
#pragma once

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

// Asks for rows that are packed next, while the current ones are worked on: with few query rows the
// call is bound by how early it asks.
template <class Element>
void prefetch_rows(const Rows<Element>& rows, int head_dim) {
  constexpr int kLineElements = 64 / sizeof(typename Element::Storage);
  for (int row = 0; row < rows.count; ++row) {
    for (int d = 0; d < head_dim; d += kLineElements) __builtin_prefetch(rows[row] + d, 0, 2);
  }
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
  for (int lane = 0; lane < Simd::kLanes; ++lane) {
    uint32_t* const row = staging + lane * padded_units;
    if (rows[lane] == nullptr) {
      memset(row, 0, sizeof *row * padded_units);
      continue;
    }
    for (int unit = units; unit < padded_units; ++unit) row[unit] = 0;
    copy_units<Simd, Element>(rows[lane], row, units);
    if (!negate) continue;
    const uint32_t signs = Simd::kElementsPerUnit == 2 ? 0x80008000u : 0x80000000u;
    for (int unit = 0; unit < units; ++unit) row[unit] ^= signs;
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
  float* const block = staging + head_dim * Simd::kLanes;
  const typename Simd::Vector factor = Simd::load(factors);
  for (int d = 0; d < head_dim; d += Simd::kLanes) {
    for (int i = 0; i < Simd::kLanes; ++i) {
      const float* const column = output + static_cast<ptrdiff_t>(d + i) * QueryTile<Simd>::kRows;
      Simd::store(block + i * Simd::kLanes, Simd::multiply(Simd::load(column), factor));
    }
    Simd::transpose(block, Simd::kLanes, staging + d, head_dim);
  }
  for (int lane = 0; lane < Simd::kLanes; ++lane) {
    if (rows[lane] == nullptr) continue;
    const float* const row = staging + lane * head_dim;
    if constexpr (Simd::kElementsPerUnit == 2) {
      Simd::narrow(row, rows[lane], head_dim);
    } else {
      for (int d = 0; d < head_dim; ++d) rows[lane][d] = Element::narrow(row[d]);
    }
  }
}

}  // namespace
}  // namespace roofgate
