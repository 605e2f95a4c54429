// Arithmetic of f32 and f64: add sub mul fma div rcp sqrt, min max abs neg copysign.
#include "extrema.h"
#include "lanewise.h"
#include "numerics.h"
#include "program.h"
#include "rounding_mode.h"

namespace roofgate::sim {
namespace {

template <class Value>
Value add(Value a, Value b) {
  return a + b;
}

template <class Value>
Value subtract(Value a, Value b) {
  return a - b;
}

template <class Value>
Value multiply(Value a, Value b) {
  return a * b;
}

template <class Value>
Value fused(Value a, Value b, Value c) {
  return std::fma(a, b, c);
}

template <class Value>
Value divide(Value a, Value b) {
  return a / b;
}

template <class Value>
Value reciprocal(Value a) {
  return 1 / a;
}

template <class Value>
Value root(Value a) {
  return std::sqrt(a);
}

// The function with canonical NaNs, and with .ftz (of operands and result) and .sat as asked.
template <auto kFunction, bool kFlush, bool kSaturate, class... Arguments>
auto modified(Arguments... arguments) {
  if constexpr (kFlush) {
    const auto result = flush(canonical(kFunction(flush(arguments)...)));
    return kSaturate ? saturate(result) : result;
  } else {
    const auto result = canonical(kFunction(arguments...));
    return kSaturate ? saturate(result) : result;
  }
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
                [&](int l) { return saturating ? saturate(result[l]) : canonical(result[l]); });
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

template <class Value>
Value absolute(Value a) {
  return canonical(std::fabs(a));
}

template <class Value>
Value negated(Value a) {
  return canonical(-a);
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

ROOFGATE_OPERATION("add.f64", lanewise<modified<add<double>, false, false, double, double>>);
ROOFGATE_OPERATION("sub.f64", lanewise<modified<subtract<double>, false, false, double, double>>);
ROOFGATE_OPERATION("mul.f64", lanewise<modified<multiply<double>, false, false, double, double>>);
ROOFGATE_OPERATION("fma.f64",
                   lanewise<modified<fused<double>, false, false, double, double, double>>);
ROOFGATE_OPERATION("div.f64", lanewise<modified<divide<double>, false, false, double, double>>);
ROOFGATE_OPERATION("rcp.f64", lanewise<modified<reciprocal<double>, false, false, double>>);
ROOFGATE_OPERATION("sqrt.f64", lanewise<modified<root<double>, false, false, double>>);
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
