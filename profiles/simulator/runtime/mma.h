// The product of one warp: D = A * B + C with the fragments of mma.sync.
//
// Lane l is thread t = l % 4 of group g = l / 4. In every shape with eight columns (PTX ISA,
// "Matrix Fragments for mma") a 32-bit register of A, B, C or D holds the elements of
//   A  row g (and g + 8 in every second register), columns of K block j:  kPerWord * t + e
//   B  column g,                                   rows of K block j:     kPerWord * t + e
//   D  row g (and g + 8 in the second pair),       columns 2 t and 2 t + 1
// where a K block is 4 * kPerWord elements and e counts the elements in the register from its low
// bits. Only the element type tells the shapes apart, so there is one algorithm for all: elements
// become f32, and one row of A is multiplied with eight columns at a time.
//
// Products of all element types are exact in f32. They are added one after the other with k
// ascending, each sum rounded as an IEEE fused multiply-add, starting from C. Tensor cores align
// and truncate the terms of a few k at once instead, so their last bits differ. Sums of integer
// products stay below 2^24 and are exact; C is added to them last, as integers.
#pragma once

#include <cmath>
#include <cstdint>

#include "lanes.h"
#include "numerics.h"

#ifdef __FMA__
#include <immintrin.h>
#endif

namespace roofgate::sim::mma {

constexpr int kThreads = 4;  // of a group
constexpr int kOctet = 8;    // lanes of a vector
constexpr int kOutputs = 4;  // of D in a lane: two rows, two columns

typedef float Octet __attribute__((vector_size(kOctet * sizeof(float))));
typedef float Quad __attribute__((vector_size(4 * sizeof(float))));

// --- element types: how many are in a register, and their values ---

struct BFloat16Element {
  static constexpr int kPerWord = 2;
  static float unpack(uint32_t word, int element) {
    return from_bits<float>(element ? word & 0xffff0000u : word << 16);
  }
};

template <class Format>
struct SmallElement {
  static constexpr int kPerWord = 32 / Format::kBits;
  static float unpack(uint32_t word, int element) {
    return decode<Format>(word >> (element * Format::kBits));
  }
};

// The low 13 bits of the register do not belong to the number.
struct TensorFloat32Element {
  static constexpr int kPerWord = 1;
  static float unpack(uint32_t word, int) { return from_bits<float>(word & 0xffffe000u); }
};

template <int kBits>
struct SignedElement {
  static constexpr int kPerWord = 32 / kBits;
  static float unpack(uint32_t word, int element) {
    const auto high = static_cast<int32_t>(word << (32 - kBits * (element + 1)));
    return static_cast<float>(high >> (32 - kBits));
  }
};

template <int kBits>
struct UnsignedElement {
  static constexpr int kPerWord = 32 / kBits;
  static float unpack(uint32_t word, int element) {
    const uint32_t value = word >> (kBits * element) & ((1u << kBits) - 1);
    return static_cast<float>(static_cast<int32_t>(value));
  }
};

// --- fragments ---

template <class Element>
inline void unpack(const Lanes<uint32_t>& words, Lanes<float>* elements) {
#pragma GCC unroll 8
  for (int e = 0; e < Element::kPerWord; ++e) {
    for (int l = 0; l < kLanes; ++l) elements[e][l] = Element::unpack(words[l], e);
  }
}

// Columns become neighbours: lane 8 t + 4 p + i of the result is thread t of column 2 i + p, which
// is what thread i of every group needs for its output of parity p.
inline Lanes<uint32_t> by_thread(const Lanes<uint32_t>& words) {
  Lanes<uint32_t> result;
#pragma GCC unroll 32
  for (int l = 0; l < kLanes; ++l) {
    const int thread = l / 8, parity = l / 4 % 2, pair = l % 4;
    result[l] = words[kThreads * (2 * pair + parity) + thread];
  }
  return result;
}

// Thread t's value in all threads of its group.
template <int t>
inline Octet of_thread(Octet values) {
  return __builtin_shufflevector(values, values, t, t, t, t, 4 + t, 4 + t, 4 + t, 4 + t);
}

inline Octet twice(const float* quad) {
  const Quad values = *reinterpret_cast<const Quad*>(quad);
  return __builtin_shufflevector(values, values, 0, 1, 2, 3, 0, 1, 2, 3);
}

// Compilers do not reliably make one instruction of the loop.
inline Octet fused(Octet a, Octet b, Octet c) {
#ifdef __FMA__
  return _mm256_fmadd_ps(a, b, c);
#else
  Octet result;
  for (int i = 0; i < kOctet; ++i) result[i] = std::fma(a[i], b[i], c[i]);
  return result;
#endif
}

// A as [block][row half][element], B as [block][element] by_thread, sums as [output].
template <int kRowHalves, int kBlocks, int kElements>
struct Product {
  Lanes<float> a[kBlocks][kRowHalves][kElements];
  Lanes<float> b[kBlocks][kElements];
  Lanes<float> sums[kOutputs];

  // Out of line: one copy for all element types with this many elements in a register.
  __attribute__((noinline)) void accumulate() {
    constexpr int kWidth = 2;  // octets at a time: enough independent sums, few enough registers
    for (int first = 0; first < kLanes / kOctet; first += kWidth) accumulate_octets<kWidth>(first);
  }

 private:
  static constexpr int kUsed = 2 * kRowHalves;  // outputs

  static Octet& octet(Lanes<float>& values, int index) {
    return *reinterpret_cast<Octet*>(&values[index * kOctet]);
  }

  template <int kWidth>
  void accumulate_octets(int first) {
    Octet sum[kWidth][kUsed];
    for (int o = 0; o < kWidth; ++o) {
      for (int i = 0; i < kUsed; ++i) sum[o][i] = octet(sums[i], first + o);
    }
    for (int block = 0; block < kBlocks; ++block) {
      accumulate_thread<kWidth, 0>(first, block, sum);
      accumulate_thread<kWidth, 1>(first, block, sum);
      accumulate_thread<kWidth, 2>(first, block, sum);
      accumulate_thread<kWidth, 3>(first, block, sum);
    }
    for (int o = 0; o < kWidth; ++o) {
      for (int i = 0; i < kUsed; ++i) octet(sums[i], first + o) = sum[o][i];
    }
  }

  // The elements that thread t holds of each row and column.
  template <int kWidth, int t>
  inline __attribute__((always_inline)) void accumulate_thread(int first, int block,
                                                               Octet (&sum)[kWidth][kUsed]) {
#pragma GCC unroll 8
    for (int e = 0; e < kElements; ++e) {
      const float* columns = &b[block][e][t * 2 * kThreads];
      const Octet even = twice(columns), odd = twice(columns + kThreads);
#pragma GCC unroll 4
      for (int o = 0; o < kWidth; ++o) {
#pragma GCC unroll 2
        for (int half = 0; half < kRowHalves; ++half) {
          const Octet row = of_thread<t>(octet(a[block][half][e], first + o));
          sum[o][2 * half] = fused(row, even, sum[o][2 * half]);
          sum[o][2 * half + 1] = fused(row, odd, sum[o][2 * half + 1]);
        }
      }
    }
  }
};

}  // namespace roofgate::sim::mma
