// Harmonic embedding of points: the point, sines, cosines; see pony_jax/ops/harmonic.py.

#ifndef PONY_JAX_KERNELS_CPU_EMBEDDING_H_
#define PONY_JAX_KERNELS_CPU_EMBEDDING_H_

#include <cmath>

#include "tile.h"

namespace pony {
namespace RASTERIZER_ISA {
namespace {

// Both of |phase| up to 6,000 radians, right to 2e-7.
inline void SinCos(Vec phase, Vec* sine, Vec* cosine) {
  // pi/2 in three parts, the first two with so few bits that their products below are exact.
  constexpr double kHalfPi = 1.57079632679489661923, kHigh = 1.5703125;
  constexpr double kMiddle = 2029.0 / 4194304.0, kLow = kHalfPi - kHigh - kMiddle;
  constexpr float kToInteger = 12582912.0f;  // 1.5 * 2^23: sums with it have no fraction
  const Vec quarters = (phase * static_cast<float>(1 / kHalfPi) + kToInteger) - kToInteger;
  Vec r = phase - quarters * static_cast<float>(kHigh);
  r = r - quarters * static_cast<float>(kMiddle);
  r = r - quarters * static_cast<float>(kLow);  // within +-pi/4
  const Vec r2 = r * r;
  // Factors in brackets are constants: vectors are not divided.
  const Vec s_tail = -1.0f / 5040 + r2 * (1.0f / 362880), c_tail = -1.0f / 720 + r2 * (1.0f / 40320);
  const Vec s = r + r * r2 * (-1.0f / 6 + r2 * (1.0f / 120 + r2 * s_tail));
  const Vec c = 1 + r2 * (-0.5f + r2 * (1.0f / 24 + r2 * c_tail));
  const IntVec quadrant = __builtin_convertvector(quarters, IntVec);
  const Vec for_sine = (quadrant & 1) != 0 ? c : s, for_cosine = (quadrant & 1) != 0 ? s : c;
  *sine = (quadrant & 2) != 0 ? -for_sine : for_sine;
  *cosine = ((quadrant + 1) & 2) != 0 ? -for_cosine : for_cosine;
}

class Embedding {
 public:
  Embedding(int64_t num_frequencies, double scale)
      : waves_(3 * num_frequencies), padded_(RoundUp(waves_, kLanes)), of_axis_(3 * padded_) {
    if (!ok()) return;
    for (int64_t i = 0; i < 3 * padded_; ++i) of_axis_[i] = 0.0f;
    for (int64_t i = 0; i < waves_; ++i) {
      const int64_t axis = i / num_frequencies, octave = i % num_frequencies;
      of_axis_[axis * padded_ + i] =
          static_cast<float>(std::ldexp(scale, static_cast<int>(octave)));
    }
  }

  bool ok() const { return of_axis_.ok(); }
  int64_t width() const { return 3 + 2 * waves_; }
  // Of a row: waves are written a vector at a time, and so beyond its width.
  int64_t stride() const { return RoundUp(width(), kLanes) + kLanes; }

  void Embed(const float* point, float* row) const {
    for (int axis = 0; axis < 3; ++axis) row[axis] = point[axis];
    float* const sines = row + 3;
    float* const cosines = sines + waves_;
    // From the last to the first: beyond the last sines lie the first cosines.
    for (int64_t i = padded_ - kLanes; i >= 0; i -= kLanes) {
      Vec sine, cosine;
      SinCos(Phase(point, i), &sine, &cosine);
      StoreVec(sines + i, sine);
      StoreVec(cosines + i, cosine);
    }
  }

  // The change of a point's row when the point moves by `direction`.
  void Tangent(const float* row, const float* direction, float* tangent) const {
    for (int axis = 0; axis < 3; ++axis) tangent[axis] = direction[axis];
    const float *sines = row + 3, *cosines = sines + waves_;
    float* const of_sines = tangent + 3;
    float* const of_cosines = of_sines + waves_;
    // From the last to the first, as in Embed.
    for (int64_t i = padded_ - kLanes; i >= 0; i -= kLanes) {
      const Vec phase = Phase(direction, i);
      StoreVec(of_sines + i, LoadVec(cosines + i) * phase);
      StoreVec(of_cosines + i, -LoadVec(sines + i) * phase);
    }
  }

  // Before the first use of rows of gradients: products do not write them beyond the embedding's
  // width, and `Gradient` reads there what it multiplies by 0.
  void ClearGradients(int64_t rows, float* grad_rows) const {
    std::memset(grad_rows, 0, static_cast<size_t>(rows * stride()) * sizeof(float));
  }

  // The gradient of a point, from its row and that row's gradient.
  void Gradient(const float* row, const float* grad_row, float* grad_point) const {
    Vec sums[3] = {};
    const float *sines = row + 3, *cosines = sines + waves_;
    const float *grad_sines = grad_row + 3, *grad_cosines = grad_sines + waves_;
    for (int64_t i = 0; i < padded_; i += kLanes) {
      const Vec by_sine = LoadVec(cosines + i) * LoadVec(grad_sines + i);
      const Vec phase = by_sine - LoadVec(sines + i) * LoadVec(grad_cosines + i);
      for (int axis = 0; axis < 3; ++axis) sums[axis] += phase * Frequencies(axis, i);
    }
    for (int axis = 0; axis < 3; ++axis) {
      grad_point[axis] = grad_row[axis] + Sum(sums[axis]);
    }
  }

 private:
  // Of each wave's own axis, 0 elsewhere.
  Vec Frequencies(int axis, int64_t wave) const {
    return LoadVec(of_axis_.get() + axis * padded_ + wave);
  }
  Vec Phase(const float* point, int64_t wave) const {
    return point[0] * Frequencies(0, wave) + point[1] * Frequencies(1, wave) +
           point[2] * Frequencies(2, wave);
  }

  int64_t waves_, padded_;
  Scratch<float> of_axis_;
};

}  // namespace
}  // namespace RASTERIZER_ISA
}  // namespace pony

#endif  // PONY_JAX_KERNELS_CPU_EMBEDDING_H_
