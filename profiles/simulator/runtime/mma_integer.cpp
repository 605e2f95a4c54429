// mma.sync of integer types; operations are named mma.SHAPE.s32.A.B, with .satfinite at the end.
#include "mma_handler.h"

namespace roofgate::sim::mma {
namespace {

using Wrapping = IntegerOutput<wrapped>;
using Clamping = IntegerOutput<clamped>;

// The shapes of one pair of element types. K is `unit` for a block.
template <class A, class B>
struct Operations {
  explicit Operations(const std::string& types)
      : m8(name("m8n8k", 1, types).c_str(), kM8OneBlock<A, B, Wrapping>),
        m16_short(name("m16n8k", 1, types).c_str(), kM16OneBlock<A, B, Wrapping>),
        m16_long(name("m16n8k", 2, types).c_str(), kM16TwoBlocks<A, B, Wrapping>),
        m8_clamped(name("m8n8k", 1, types + kSuffix).c_str(), kM8OneBlock<A, B, Clamping>),
        m16_short_clamped(name("m16n8k", 1, types + kSuffix).c_str(), kM16OneBlock<A, B, Clamping>),
        m16_long_clamped(name("m16n8k", 2, types + kSuffix).c_str(),
                         kM16TwoBlocks<A, B, Clamping>) {}

  Registration m8, m16_short, m16_long, m8_clamped, m16_short_clamped, m16_long_clamped;

 private:
  static constexpr const char* kSuffix = ".satfinite";

  static std::string name(const std::string& shape, int blocks, const std::string& types) {
    return "mma." + shape + std::to_string(kThreads * A::kPerWord * blocks) + ".s32." + types;
  }
};

const Operations<SignedElement<8>, SignedElement<8>> kS8("s8.s8");
const Operations<SignedElement<8>, UnsignedElement<8>> kS8U8("s8.u8");
const Operations<UnsignedElement<8>, SignedElement<8>> kU8S8("u8.s8");
const Operations<UnsignedElement<8>, UnsignedElement<8>> kU8("u8.u8");
const Operations<SignedElement<4>, SignedElement<4>> kS4("s4.s4");
const Operations<SignedElement<4>, UnsignedElement<4>> kS4U4("s4.u4");
const Operations<UnsignedElement<4>, SignedElement<4>> kU4S4("u4.s4");
const Operations<UnsignedElement<4>, UnsignedElement<4>> kU4("u4.u4");

}  // namespace
}  // namespace roofgate::sim::mma
