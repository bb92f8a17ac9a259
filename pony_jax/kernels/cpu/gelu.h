// The exponential function of vectors; the gelu by tanh, and its slope.

#ifndef PONY_JAX_KERNELS_CPU_GELU_H_
#define PONY_JAX_KERNELS_CPU_GELU_H_

#include "tile.h"

namespace pony {
namespace RASTERIZER_ISA {
namespace {

// Right to 2e-7 of the value; 0 and infinity where that is so.
inline Vec Exp(Vec x) {
  constexpr float kLog2E = 1.44269504088896341f, kToInteger = 12582912.0f;  // 1.5 * 2^23
  // ln 2 in two parts, the first with few enough bits for exact products with exponents.
  constexpr float kHigh = 0.693359375f, kLow = -2.12194440e-4f;
  x = x < -87.0f ? Vec{} - 87.0f : x > 88.0f ? Vec{} + 88.0f : x;
  const Vec n = (x * kLog2E + kToInteger) - kToInteger;
  const Vec r = x - n * kHigh - n * kLow;
  const Vec tail = 1.0f / 120 + r * (1.0f / 720 + r * (1.0f / 5040));
  const Vec value = 1 + r * (1 + r * (0.5f + r * (1.0f / 6 + r * (1.0f / 24 + r * tail))));
  const IntVec bits = (IntVec)value + (__builtin_convertvector(n, IntVec) << 23);
  return (Vec)bits;
}

// u / 2 * (1 + tanh(z)) with z = sqrt(2/pi) (u + 0.044715 u^3), which is u * sigmoid(2z).
constexpr float kTwoRoot = 1.5957691216057308f, kCube = 0.044715f;

inline Vec Sigmoid(Vec x) { return 1 / (1 + Exp(-x)); }

struct Activation {
  Vec value, slope;
};

inline Activation Gelu(Vec u) {
  const Vec s = Sigmoid(kTwoRoot * (u + kCube * u * u * u));
  return {u * s, s + u * s * (1 - s) * (kTwoRoot * (1 + 3 * kCube * u * u))};
}

}  // namespace
}  // namespace RASTERIZER_ISA
}  // namespace pony

#endif  // PONY_JAX_KERNELS_CPU_GELU_H_
