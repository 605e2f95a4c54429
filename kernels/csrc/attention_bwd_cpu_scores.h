// From products of rows to probabilities and their gradients: the arithmetic between the matrix
// products of the backward pass, for all instruction sets.
#pragma once

#include "attention_bwd_cpu_mask.h"
#include "cpu_compiler.h"
#include "roofgate_abi.h"

namespace roofgate {
namespace {

constexpr float kLog2E = 1.44269504088896340736f;

// What turns a product of Q and K into a score, for one head.
struct ScoreRules {
  float scale;
  float scale_log2;  // scale * log2(e)
  float softcap;     // 0: none
  float slope;       // of ALiBi; 0: none
  bool is_modified;  // by a softcap or ALiBi

  static ScoreRules of(const roofgate_attention_problem& p, int64_t batch, int64_t head) {
    const float slope = p.alibi_slopes ? p.alibi_slopes[batch * p.alibi_batch_stride + head] : 0.0f;
    return {p.scale, p.scale * kLog2E, p.softcap, slope,
            p.softcap > 0 || p.alibi_slopes != nullptr};
  }
};

// What a tile of scores meets beside its operands.
struct ScoreTile {
  const ScoreRules& rules;
  const uint64_t* words;  // [kTileQueries] of a partial tile, otherwise null
  const float* lse_log2;  // [kTileQueries]: log-sum-exp * log2(e)
  const float* delta;     // [kTileQueries]: rowsum(dO * O)
  float distance;         // query + diagonal - key, of the first query and key

  // The part of query `row`.
  ROOFGATE_INLINE struct ScoreRow row(int row) const;
};

struct ScoreRow {
  float lse_log2;
  float delta;
  float distance;
  uint64_t word;
};

ROOFGATE_INLINE ScoreRow ScoreTile::row(int row) const {
  return {lse_log2[row], delta[row], distance + static_cast<float>(row), words ? words[row] : 0};
}

template <class Simd>
struct Probability {
  typename Simd::Vector p;
  typename Simd::Vector ds;  // gradient of the product Q K^T, without the factor `scale`
};

// Of the keys [key, key + kLanes) of the tile. `product` is Q K^T, `dp` is dO V^T.
template <class Simd, bool kModified, bool kMasked>
ROOFGATE_INLINE Probability<Simd> probability(const ScoreRules& rules, const ScoreRow& row, int key,
                                              typename Simd::Vector product,
                                              typename Simd::Vector dp) {
  using Vector = typename Simd::Vector;
  Vector factor = Simd::broadcast(1.0f);  // d score / d (scale * product)
  Vector exponent;
  if constexpr (kModified) {
    Vector score = product * Simd::broadcast(rules.scale);
    if (rules.softcap > 0) {
      const Vector bounded = Simd::tanh(score / Simd::broadcast(rules.softcap));
      factor = factor - bounded * bounded;
      score = bounded * Simd::broadcast(rules.softcap);
    }
    const Vector keys = __builtin_convertvector(Simd::lane_numbers() + key, Vector);
    const Vector distance = Simd::magnitude(Simd::broadcast(row.distance) - keys);
    score = score - Simd::broadcast(rules.slope) * distance;
    exponent = score * Simd::broadcast(kLog2E) - Simd::broadcast(row.lse_log2);
  } else {
    exponent = product * Simd::broadcast(rules.scale_log2) - Simd::broadcast(row.lse_log2);
  }
  Probability<Simd> result;
  result.p = Simd::exp2(exponent);
  result.ds = result.p * (dp - Simd::broadcast(row.delta));
  if constexpr (kModified) result.ds = result.ds * factor;
  if constexpr (kMasked) {  // what is hidden may be infinite or NaN here
    const uint32_t bits = static_cast<uint32_t>(row.word >> key);
    result.p = Simd::keep(result.p, bits);
    result.ds = Simd::keep(result.ds, bits);
  }
  return result;
}

}  // namespace
}  // namespace roofgate
