// Arithmetic in one of the directed rounding modes of the host.
#pragma once

#include <cfenv>

#include "numerics.h"

namespace roofgate::sim {

// Sets the rounding mode of this thread for the scope's life. The arithmetic must be in a function
// that is not inlined, with operands and results in memory: the compiler takes the mode for
// constant and may move anything else across.
class RoundingMode {
 public:
  explicit RoundingMode(Rounding rounding) : before_(std::fegetround()) {
    std::fesetround(host_mode(rounding));
  }
  ~RoundingMode() { std::fesetround(before_); }
  RoundingMode(const RoundingMode&) = delete;
  RoundingMode& operator=(const RoundingMode&) = delete;

 private:
  static int host_mode(Rounding rounding) {
    switch (rounding) {
      case Rounding::kTowardZero:
        return FE_TOWARDZERO;
      case Rounding::kDown:
        return FE_DOWNWARD;
      case Rounding::kUp:
        return FE_UPWARD;
      default:
        return FE_TONEAREST;
    }
  }

  int before_;
};

}  // namespace roofgate::sim
