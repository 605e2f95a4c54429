// Attention forward for any processor: fp32 arithmetic, on bf16 tensors too. GCC and clang vector
// types stand in for intrinsics: SSE2 on baseline x86-64, NEON on aarch64.
#include "attention_fwd_cpu_kernel.h"

namespace roofgate {
namespace {

// 16 registers: 4 x 2 sums, 2 vectors of the right operand and a broadcast of the left one.
struct Portable {
  typedef float Vector __attribute__((vector_size(16)));
  typedef int32_t Integers __attribute__((vector_size(16)));
  typedef uint32_t Bits __attribute__((vector_size(16)));
  using Operand = Vector;
  static constexpr int kLanes = 4;
  static constexpr int kTileVectors = 2;
  static constexpr bool kHasLog = false;
  static constexpr int kBlockRows = 4;
  static constexpr int kElementsPerUnit = 1;

  static ROOFGATE_INLINE Vector load(const float* p) { return load_bits<Vector>(p); }
  static ROOFGATE_INLINE void store(float* p, Vector v) { memcpy(p, &v, sizeof v); }
  static ROOFGATE_INLINE Vector broadcast(float v) { return Vector{v, v, v, v}; }
  static ROOFGATE_INLINE Vector add(Vector a, Vector b) { return a + b; }
  static ROOFGATE_INLINE Vector subtract(Vector a, Vector b) { return a - b; }
  static ROOFGATE_INLINE Vector multiply(Vector a, Vector b) { return a * b; }
  static ROOFGATE_INLINE Vector maximum(Vector a, Vector b) { return select(a > b, a, b); }
  static ROOFGATE_INLINE Vector minimum(Vector a, Vector b) { return select(a < b, a, b); }
  static ROOFGATE_INLINE Vector maximum_if_positive(Vector a, Vector b) { return maximum(a, b); }
  static ROOFGATE_INLINE Vector exponent(Vector score, Vector reference, Vector, Vector scale) {
    return (score - reference) * scale;
  }
  static ROOFGATE_INLINE bool any_greater(Vector a, Vector b) {
    const Integers greater = a > b;
    return (greater[0] | greater[1] | greater[2] | greater[3]) != 0;
  }
  // chosen where a > b, otherwise the other one.
  static ROOFGATE_INLINE Vector select_greater(Vector a, Vector b, Vector chosen, Vector other) {
    return select(a > b, chosen, other);
  }
  // -inf in the lanes whose word lacks the bit.
  static ROOFGATE_INLINE Vector hide_without_bit(Vector scores, const uint32_t* words, int bit) {
    const Integers visible = (load_bits<Bits>(words) & (1u << bit)) != 0u;
    return select(visible, scores, broadcast(-__builtin_inff()));
  }

  static ROOFGATE_INLINE Vector divide(Vector a, Vector b) { return a / b; }
  static ROOFGATE_INLINE Vector fused(Vector a, Vector b, Vector c) { return a * b + c; }
  static ROOFGATE_INLINE Vector absolute(Vector v) { return (Vector)((Bits)v & 0x7fffffffu); }
  // `magnitude`, which is not negative, with the sign of v.
  static ROOFGATE_INLINE Vector with_sign(Vector magnitude, Vector v) {
    return (Vector)((Bits)magnitude | ((Bits)v & 0x80000000u));
  }

  static ROOFGATE_INLINE Operand load_operand(const uint32_t* p) { return load_bits<Vector>(p); }
  static ROOFGATE_INLINE Operand broadcast_operand(const uint32_t* p) {
    float value;
    memcpy(&value, p, sizeof value);
    return broadcast(value);
  }
  static ROOFGATE_INLINE Vector multiply_add(Vector sum, Operand a, Operand b) {
    return sum + a * b;
  }

  // 2^x for x <= kHeadroom, exactly 1 at 0 and exactly 0 up to -127. x = n + f with |f| <= 1/2; the
  // relative error of the minimax polynomial is 2.0e-9.
  static ROOFGATE_INLINE Vector exp2(Vector x) {
    const Vector magic = broadcast(0x1.8p23f);  // adding it rounds to whole numbers
    const Vector lowest = broadcast(-127.0f);
    x = select(x < lowest, lowest, x);  // a NaN in x survives
    const Vector shifted = x + magic;
    const Vector f = x - (shifted - magic);
    const Vector power = (Vector)(((Bits)shifted << 23) + 0x3f800000u);
    Vector slope = broadcast(0x1.41fbaap-13f);
    slope = slope * f + broadcast(0x1.5f3e4cp-10f);
    slope = slope * f + broadcast(0x1.3b2d4cp-7f);
    slope = slope * f + broadcast(0x1.c6aee8p-5f);
    slope = slope * f + broadcast(0x1.ebfbdcp-3f);
    slope = slope * f + broadcast(0x1.62e43p-1f);
    return power * f * slope + power;
  }

  static ROOFGATE_INLINE Vector store_unit(uint32_t* unit, const Vector (&p)[1], Vector sum) {
    memcpy(unit, &p[0], sizeof p[0]);
    return sum + p[0];
  }
  static ROOFGATE_INLINE void scale_probabilities(uint32_t* unit, Vector factor) {
    const Vector scaled = load_bits<Vector>(unit) * factor;
    memcpy(unit, &scaled, sizeof scaled);
  }

  // to[j][i] = from[i][j] for 4 x 4 words.
  template <class Word>
  static ROOFGATE_INLINE void transpose(const Word* from, ptrdiff_t from_stride, Word* to,
                                        ptrdiff_t to_stride) {
    for (int i = 0; i < kLanes; ++i) {
      for (int j = 0; j < kLanes; ++j) to[j * to_stride + i] = from[i * from_stride + j];
    }
  }

 private:
  template <class Value>
  static ROOFGATE_INLINE Value load_bits(const void* p) {
    Value value;
    memcpy(&value, p, sizeof value);
    return value;
  }
  static ROOFGATE_INLINE Vector select(Integers mask, Vector a, Vector b) {
    return (Vector)(((Integers)a & mask) | ((Integers)b & ~mask));
  }
};

}  // namespace

const AttentionFwdKernel kAttentionFwdPortable = {QueryTile<Portable>::kRows,
                                                  AttentionFwdItem<Portable, Fp32>::scratch_bytes,
                                                  run_item_of_dtype<Portable>};

}  // namespace roofgate
