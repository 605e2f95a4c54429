// Arithmetic of f32 and f64: add sub mul fma div rcp sqrt, min max abs neg copysign.
#include "extrema.h"
#include "lanewise.h"
#include "numerics.h"
#include "program.h"
#include "rounding_mode.h"

namespace roofgate::sim {
namespace {

// Behind each result are the operands in the order in which the hardware looks for a NaN.

template <class Value>
Value add(Value a, Value b) {
  return settle(a + b, b, a);
}

template <class Value>
Value subtract(Value a, Value b) {
  return settle(a - b, b, a);
}

template <class Value>
Value multiply(Value a, Value b) {
  return settle(a * b, b, a);
}

template <class Value>
Value fused(Value a, Value b, Value c) {
  return settle(std::fma(a, b, c), b, c, a);
}

template <class Value>
Value divide(Value a, Value b) {
  return settle(a / b, a, b);
}

template <class Value>
Value reciprocal(Value a) {
  return settle(1 / a, a);
}

template <class Value>
Value root(Value a) {
  return settle(std::sqrt(a), a);
}

// The function with .ftz (of operands and result) and .sat as asked.
template <auto kFunction, bool kFlush, bool kSaturate, class... Arguments>
float modified(Arguments... arguments) {
  float result;
  if constexpr (kFlush) {
    result = flush(kFunction(flush(arguments)...));
  } else {
    result = kFunction(arguments...);
  }
  return kSaturate ? saturate(result) : result;
}

// Rounded otherwise than to the nearest. Operands after the registers: Rounding, .ftz, .sat.
template <auto kFunction, class Signature = decltype(kFunction)>
struct Directed;

template <auto kFunction, class Value, class... Arguments>
struct Directed<kFunction, Value (*)(Arguments...)> {
  static constexpr size_t kArity = sizeof...(Arguments);

  static Status handle(Warp& warp, const Instruction& instruction) {
    const int64_t* modifiers = instruction.operands + 1 + kArity;
    Lanes<Value> sources[kArity];
    for (size_t i = 0; i < kArity; ++i) {
      sources[i] = warp.lanes<Value>(instruction.operands[i + 1]);
      if (modifiers[1]) flush_lanes(sources[i]);
    }
    Lanes<Value> result;
    {
      const RoundingMode mode(static_cast<Rounding>(modifiers[0]));
      compute(result, sources, std::make_index_sequence<kArity>{});
    }
    if (modifiers[1]) flush_lanes(result);
    const bool saturating = modifiers[2] != 0;
    write_lanes(warp.lanes<Value>(instruction.operands[0]), warp.executing,
                [&](int l) { return saturating ? saturate(result[l]) : result[l]; });
    return Status::kNext;
  }

 private:
  template <size_t... kIndex>
  [[gnu::noinline]] static void compute(Lanes<Value>& result, const Lanes<Value>* sources,
                                        std::index_sequence<kIndex...>) {
    for (int l = 0; l < kLanes; ++l) result[l] = kFunction(sources[kIndex][l]...);
  }

  static void flush_lanes(Lanes<Value>& values) {
    for (int l = 0; l < kLanes; ++l) values[l] = flush(values[l]);
  }
};

// A NaN of f64 keeps its sign here too: the hardware has no instruction but its addition for these.
template <class Value>
Value absolute(Value a) {
  return settle(std::fabs(a), a);
}

template <class Value>
Value negated(Value a) {
  return settle(-a, a);
}

// PTX's order: the sign of the first, the magnitude of the second.
template <class Value>
Value copy_sign(Value sign, Value magnitude) {
  return std::copysign(magnitude, sign);
}

// Modifiers in the order .ftz, .sat; Value... are the arguments.
#define ROOFGATE_FLOAT32(name, function, ...)                                               \
  ROOFGATE_OPERATION(name ".f32", lanewise<modified<function, false, false, __VA_ARGS__>>); \
  ROOFGATE_OPERATION(name ".ftz.f32", lanewise<modified<function, true, false, __VA_ARGS__>>)

#define ROOFGATE_FLOAT32_SAT(name, function, ...)                                              \
  ROOFGATE_FLOAT32(name, function, __VA_ARGS__);                                               \
  ROOFGATE_OPERATION(name ".sat.f32", lanewise<modified<function, false, true, __VA_ARGS__>>); \
  ROOFGATE_OPERATION(name ".ftz.sat.f32", lanewise<modified<function, true, true, __VA_ARGS__>>)

ROOFGATE_FLOAT32_SAT("add", add<float>, float, float);
ROOFGATE_FLOAT32_SAT("sub", subtract<float>, float, float);
ROOFGATE_FLOAT32_SAT("mul", multiply<float>, float, float);
ROOFGATE_FLOAT32_SAT("fma", fused<float>, float, float, float);
ROOFGATE_FLOAT32("div", divide<float>, float, float);
ROOFGATE_FLOAT32("rcp", reciprocal<float>, float);
ROOFGATE_FLOAT32("sqrt", root<float>, float);
ROOFGATE_FLOAT32("min", smaller<float>, float, float);
ROOFGATE_FLOAT32("max", larger<float>, float, float);
ROOFGATE_FLOAT32("min.NaN", with_nan<smaller<float>>, float, float);
ROOFGATE_FLOAT32("max.NaN", with_nan<larger<float>>, float, float);
ROOFGATE_FLOAT32("min.xorsign", with_product_sign<smaller<float>>, float, float);
ROOFGATE_FLOAT32("max.xorsign", with_product_sign<larger<float>>, float, float);
ROOFGATE_FLOAT32("min.NaN.xorsign", with_product_sign<with_nan<smaller<float>>>, float, float);
ROOFGATE_FLOAT32("max.NaN.xorsign", with_product_sign<with_nan<larger<float>>>, float, float);
ROOFGATE_FLOAT32("abs", absolute<float>, float);
ROOFGATE_FLOAT32("neg", negated<float>, float);
ROOFGATE_OPERATION("copysign.f32", lanewise<copy_sign<float>>);

ROOFGATE_OPERATION("add.f64", lanewise<add<double>>);
ROOFGATE_OPERATION("sub.f64", lanewise<subtract<double>>);
ROOFGATE_OPERATION("mul.f64", lanewise<multiply<double>>);
ROOFGATE_OPERATION("fma.f64", lanewise<fused<double>>);
ROOFGATE_OPERATION("div.f64", lanewise<divide<double>>);
ROOFGATE_OPERATION("rcp.f64", lanewise<reciprocal<double>>);
ROOFGATE_OPERATION("sqrt.f64", lanewise<root<double>>);
ROOFGATE_OPERATION("min.f64", lanewise<smaller<double>>);
ROOFGATE_OPERATION("max.f64", lanewise<larger<double>>);
ROOFGATE_OPERATION("abs.f64", lanewise<absolute<double>>);
ROOFGATE_OPERATION("neg.f64", lanewise<negated<double>>);
ROOFGATE_OPERATION("copysign.f64", lanewise<copy_sign<double>>);

#define ROOFGATE_DIRECTED(name, function)                                       \
  ROOFGATE_OPERATION(name ".directed.f32", &Directed<function<float>>::handle); \
  ROOFGATE_OPERATION(name ".directed.f64", &Directed<function<double>>::handle)

ROOFGATE_DIRECTED("add", add);
ROOFGATE_DIRECTED("sub", subtract);
ROOFGATE_DIRECTED("mul", multiply);
ROOFGATE_DIRECTED("fma", fused);
ROOFGATE_DIRECTED("div", divide);
ROOFGATE_DIRECTED("rcp", reciprocal);
ROOFGATE_DIRECTED("sqrt", root);

}  // namespace
}  // namespace roofgate::sim
