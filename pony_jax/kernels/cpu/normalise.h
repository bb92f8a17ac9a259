// Normalisation of rows: to mean 0 and variance 1, then scaled and shifted.

#ifndef PONY_JAX_KERNELS_CPU_NORMALISE_H_
#define PONY_JAX_KERNELS_CPU_NORMALISE_H_

#include "tile.h"

namespace pony {
namespace RASTERIZER_ISA {
namespace {

struct Moments {
  float mean, inverse_deviation;
};

// Of rows of `channels`, a multiple of kLanes.
struct Norm {
  int64_t channels;
  float epsilon;        // added to variances
  const float* scale;   // [channels]
  const float* shift;   // [channels]

  Moments MomentsOf(const float* row) const {
    Vec sums = {};
    for (int64_t j = 0; j < channels; j += kLanes) sums += LoadVec(row + j);
    const float mean = Sum(sums) / static_cast<float>(channels);
    Vec squares = {};
    for (int64_t j = 0; j < channels; j += kLanes) {
      const Vec centred = LoadVec(row + j) - mean;
      squares += centred * centred;
    }
    const float variance = Sum(squares) / static_cast<float>(channels);
    return {mean, 1 / __builtin_sqrtf(variance + epsilon)};
  }

  void Apply(const float* row, Moments m, float* out) const {
    for (int64_t j = 0; j < channels; j += kLanes) {
      const Vec unit = (LoadVec(row + j) - m.mean) * m.inverse_deviation;
      StoreVec(out + j, unit * LoadVec(scale + j) + LoadVec(shift + j));
    }
  }

  // Calls use(channel, vector) for the gradient of a row, from that of its normalised values; adds
  // those of scale and shift.
  template <class Use>
  void Gradient(const float* row, Moments m, const float* grad_out, float* grad_scale,
                float* grad_shift, Use use) const {
    Vec sums = {}, products = {};
    for (int64_t j = 0; j < channels; j += kLanes) {
      const Vec unit = (LoadVec(row + j) - m.mean) * m.inverse_deviation;
      const Vec incoming = LoadVec(grad_out + j), scaled = incoming * LoadVec(scale + j);
      StoreVec(grad_scale + j, LoadVec(grad_scale + j) + incoming * unit);
      StoreVec(grad_shift + j, LoadVec(grad_shift + j) + incoming);
      sums += scaled;
      products += scaled * unit;
    }
    const float mean = Sum(sums) / static_cast<float>(channels);
    const float slope = Sum(products) / static_cast<float>(channels);
    for (int64_t j = 0; j < channels; j += kLanes) {
      const Vec unit = (LoadVec(row + j) - m.mean) * m.inverse_deviation;
      const Vec scaled = LoadVec(grad_out + j) * LoadVec(scale + j);
      use(j, (scaled - mean - unit * slope) * m.inverse_deviation);
    }
  }
};

}  // namespace
}  // namespace RASTERIZER_ISA
}  // namespace pony

#endif  // PONY_JAX_KERNELS_CPU_NORMALISE_H_
