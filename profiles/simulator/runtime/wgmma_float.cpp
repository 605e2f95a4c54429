// wgmma.mma_async of floating-point types; operations are named wgmma.D.A.B.
//
// Eight-bit products are summed in f32; the hardware's sums have fewer bits.
#include "wgmma_product.h"

namespace roofgate::sim::wgmma {
namespace {

using mma::BFloat16Element;
using mma::Float16Output;
using mma::Float32Output;
using mma::TensorFloat32Element;
using Half = mma::SmallElement<Float16>;
using Float8A = mma::SmallElement<E4M3>;
using Float8B = mma::SmallElement<E5M2>;

const Operations<BFloat16Element, BFloat16Element, Float32Output> kBFloat16("f32.bf16.bf16");
const Operations<Half, Half, Float32Output> kHalf("f32.f16.f16");
const Operations<Half, Half, Float16Output> kHalfSums("f16.f16.f16");
const Operations<TensorFloat32Element, TensorFloat32Element, Float32Output> kTensorFloat32(
    "f32.tf32.tf32");

template <class A, class B>
struct Float8Operations {
  explicit Float8Operations(const std::string& types)
      : in_f32("f32." + types), in_f16("f16." + types) {}

  Operations<A, B, Float32Output> in_f32;
  Operations<A, B, Float16Output> in_f16;
};

const Float8Operations<Float8A, Float8A> kE4M3("e4m3.e4m3");
const Float8Operations<Float8A, Float8B> kE4M3E5M2("e4m3.e5m2");
const Float8Operations<Float8B, Float8A> kE5M2E4M3("e5m2.e4m3");
const Float8Operations<Float8B, Float8B> kE5M2("e5m2.e5m2");

}  // namespace
}  // namespace roofgate::sim::wgmma
