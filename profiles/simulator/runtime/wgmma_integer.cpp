// wgmma.mma_async of integer types; operations are named wgmma.s32.A.B, with .satfinite behind.
#include "wgmma_product.h"

namespace roofgate::sim::wgmma {
namespace {

using Signed = mma::SignedElement<8>;
using Unsigned = mma::UnsignedElement<8>;

template <class A, class B>
struct IntegerOperations {
  explicit IntegerOperations(const std::string& types)
      : wrapping("s32." + types), clamping("s32." + types + ".satfinite") {}

  Operations<A, B, mma::IntegerOutput<mma::wrapped>> wrapping;
  Operations<A, B, mma::IntegerOutput<mma::clamped>> clamping;
};

const IntegerOperations<Signed, Signed> kS8("s8.s8");
const IntegerOperations<Signed, Unsigned> kS8U8("s8.u8");
const IntegerOperations<Unsigned, Signed> kU8S8("u8.s8");
const IntegerOperations<Unsigned, Unsigned> kU8("u8.u8");

}  // namespace
}  // namespace roofgate::sim::wgmma
