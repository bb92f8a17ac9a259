// The gelu by tanh, and its slope.

#ifndef PONY_JAX_LAYERS_CPU_GELU_H_
#define PONY_JAX_LAYERS_CPU_GELU_H_

#include "exponential.h"

namespace layers {
namespace RASTERIZER_ISA {
namespace {

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
}  // namespace layers

#endif  // PONY_JAX_LAYERS_CPU_GELU_H_
