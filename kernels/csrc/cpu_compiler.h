// What the kernels ask of the compiler.
#pragma once

// Before a loop with a constant count: unroll it all, so that arrays of vectors become registers.
#if defined(__clang__)
#define ROOFGATE_UNROLL _Pragma("clang loop unroll(full)")
#else
#define ROOFGATE_UNROLL _Pragma("GCC unroll 32")
#endif
#define ROOFGATE_INLINE inline __attribute__((always_inline))
#define ROOFGATE_NOINLINE __attribute__((noinline))
