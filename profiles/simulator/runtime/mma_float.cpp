// mma.sync of floating-point types; operations are named mma.SHAPE.D.A.B.
#include "mma_handler.h"

namespace roofgate::sim::mma {
namespace {

using Half = SmallElement<Float16>;
using Float8A = SmallElement<E4M3>;
using Float8B = SmallElement<E5M2>;

ROOFGATE_OPERATION("mma.m16n8k8.f32.bf16.bf16",
                   kM16OneBlock<BFloat16Element, BFloat16Element, Float32Output>);
ROOFGATE_OPERATION("mma.m16n8k16.f32.bf16.bf16",
                   kM16TwoBlocks<BFloat16Element, BFloat16Element, Float32Output>);
ROOFGATE_OPERATION("mma.m16n8k8.f32.f16.f16", kM16OneBlock<Half, Half, Float32Output>);
ROOFGATE_OPERATION("mma.m16n8k16.f32.f16.f16", kM16TwoBlocks<Half, Half, Float32Output>);
ROOFGATE_OPERATION("mma.m16n8k8.f16.f16.f16", kM16OneBlock<Half, Half, Float16Output>);
ROOFGATE_OPERATION("mma.m16n8k16.f16.f16.f16", kM16TwoBlocks<Half, Half, Float16Output>);
ROOFGATE_OPERATION("mma.m16n8k4.f32.tf32.tf32",
                   kM16OneBlock<TensorFloat32Element, TensorFloat32Element, Float32Output>);
ROOFGATE_OPERATION("mma.m16n8k8.f32.tf32.tf32",
                   kM16TwoBlocks<TensorFloat32Element, TensorFloat32Element, Float32Output>);

template <class A, class B>
struct Float8Operations {
  explicit Float8Operations(const std::string& types)
      : k16_f32(("mma.m16n8k16.f32." + types).c_str(), kM16OneBlock<A, B, Float32Output>),
        k32_f32(("mma.m16n8k32.f32." + types).c_str(), kM16TwoBlocks<A, B, Float32Output>),
        k16_f16(("mma.m16n8k16.f16." + types).c_str(), kM16OneBlock<A, B, Float16Output>),
        k32_f16(("mma.m16n8k32.f16." + types).c_str(), kM16TwoBlocks<A, B, Float16Output>) {}

  Registration k16_f32, k32_f32, k16_f16, k32_f16;
};

const Float8Operations<Float8A, Float8A> kE4M3("e4m3.e4m3");
const Float8Operations<Float8A, Float8B> kE4M3E5M2("e4m3.e5m2");
const Float8Operations<Float8B, Float8A> kE5M2E4M3("e5m2.e4m3");
const Float8Operations<Float8B, Float8B> kE5M2("e5m2.e5m2");

// m8n8k4: lane l holds A[l / 4][l % 4] and B[l % 4][l / 4], and columns 2 (l % 4) and the next of
// row l / 4 of C and D.
Status mma_f64(Warp& warp, const Instruction& instruction) {
  require_full_warp(warp, instruction);
  constexpr int kDepth = 4;
  const int64_t* operands = instruction.operands;
  const Lanes<double>& a = warp.lanes<double>(operands[2]);
  const Lanes<double>& b = warp.lanes<double>(operands[3]);
  Lanes<double> d[2];
  for (int i = 0; i < 2; ++i) {
    const Lanes<double>& c = warp.lanes<double>(operands[4 + i]);
    for (int l = 0; l < kLanes; ++l) {
      const int group = l / kThreads, column = 2 * (l % kThreads) + i;
      double sum = c[l];
      for (int k = 0; k < kDepth; ++k) {
        sum = std::fma(a[group * kThreads + k], b[column * kThreads + k], sum);
      }
      d[i][l] = canonical(sum);
    }
  }
  for (int i = 0; i < 2; ++i) warp.lanes<double>(operands[i]) = d[i];
  return Status::kNext;
}

ROOFGATE_OPERATION("mma.m8n8k4.f64.f64.f64", mma_f64);

}  // namespace
}  // namespace roofgate::sim::mma
