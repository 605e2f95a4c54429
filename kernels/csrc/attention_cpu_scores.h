// Softcap and ALiBi on the host: what turns products Q K^T into scores where a factor alone does
// not. Rows are lanes, as in attention_fwd_cpu_tile.h.
#pragma once

#include <math.h>
#include <stdint.h>

#include "attention_cpu_mask.h"
#include "cpu_compiler.h"
#include "roofgate_abi.h"

namespace roofgate {
namespace {

constexpr double kLog2E = 1.44269504088896340736;

// Scores are in powers of two: log2(e) times those of roofgate_attention_problem.
class ScoreChange {
 public:
  // `scale` is that of the products; a caller that negates Q passes its absolute value.
  ScoreChange(const roofgate_attention_problem& problem, double scale)
      : has_softcap_(problem.softcap > 0),
        has_slopes_(problem.alibi_slopes != nullptr),
        product_factor_(
            static_cast<float>(has_softcap_ ? scale / problem.softcap : scale * kLog2E)),
        softcap_log2_(static_cast<float>(problem.softcap * kLog2E)) {}

  bool is_needed() const { return has_softcap_ || has_slopes_; }
  bool has_slopes() const { return has_slopes_; }

  // A vector of rows: `diagonal` is position + keys - queries, which fp32 holds exactly up to 2^24.
  template <class Simd>
  ROOFGATE_INLINE typename Simd::Vector apply(typename Simd::Vector product, const float* diagonal,
                                              const float* slope_log2, int64_t key) const {
    auto score = Simd::multiply(product, Simd::broadcast(product_factor_));
    if (has_softcap_) score = Simd::multiply(tanh<Simd>(score), Simd::broadcast(softcap_log2_));
    if (has_slopes_) {
      const auto distance = Simd::absolute(
          Simd::subtract(Simd::load(diagonal), Simd::broadcast(static_cast<float>(key))));
      score = Simd::subtract(score, Simd::multiply(distance, Simd::load(slope_log2)));
    }
    return score;
  }

 private:
  // Below 5/8 a minimax polynomial (relative error 4.4e-9), since (1 - w) / (1 + w) with w =
  // 2^(-2 log2(e) |x|) would cancel there; above, the quotient, whose error is at most 1.3e-7 with
  // the coarsest exp2. A NaN stays one.
  template <class Simd>
  static ROOFGATE_INLINE typename Simd::Vector tanh(typename Simd::Vector x) {
    using Vector = typename Simd::Vector;
    const Vector one = Simd::broadcast(1.0f);
    const Vector magnitude = Simd::absolute(x);
    const Vector square = Simd::multiply(x, x);
    Vector slope = Simd::broadcast(-0x1.75e1cap-8f);
    slope = Simd::fused(slope, square, Simd::broadcast(0x1.52269ap-6f));
    slope = Simd::fused(slope, square, Simd::broadcast(-0x1.b83c5ap-5f));
    slope = Simd::fused(slope, square, Simd::broadcast(0x1.110726p-3f));
    slope = Simd::fused(slope, square, Simd::broadcast(-0x1.555532p-2f));
    const Vector small = Simd::fused(Simd::multiply(magnitude, square), slope, magnitude);
    // Scores mostly stay far below the cap; the quotient costs more than all else here.
    if (!Simd::any_greater(magnitude, Simd::broadcast(0.625f))) return Simd::with_sign(small, x);
    const Vector w =
        Simd::exp2(Simd::multiply(magnitude, Simd::broadcast(static_cast<float>(-2 * kLog2E))));
    const Vector large = Simd::divide(Simd::subtract(one, w), Simd::add(one, w));
    const Vector chosen = Simd::select_greater(magnitude, Simd::broadcast(0.625f), large, small);
    return Simd::with_sign(chosen, x);
  }

  const bool has_softcap_;
  const bool has_slopes_;
  const float product_factor_;
  const float softcap_log2_;
};

}  // namespace
}  // namespace roofgate
