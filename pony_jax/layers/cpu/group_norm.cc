// Normalisation of groups of channels in each image, with a rectifier.

#include "tile.h"

namespace layers {
namespace RASTERIZER_ISA {
namespace {

static_assert(kLanes % kGroupChannels == 0, "a vector is whole groups");

// Puts into every lane the sum over its group, times `share`.
template <class Float>
inline void SumGroups(Float* lanes, Float share) {
  for (int i = 0; i < kLanes; i += kGroupChannels) {
    Float sum = 0;
    for (int j = 0; j < kGroupChannels; ++j) sum += lanes[i + j];
    for (int j = 0; j < kGroupChannels; ++j) lanes[i + j] = sum * share;
  }
}

inline Vec GroupSums(Vec v, float share) {
  float lanes[kLanes];
  StoreVec(lanes, v);
  SumGroups(lanes, share);
  return LoadVec(lanes);
}

// A vector of channels at all pixels of an image.
struct Column {
  const float* x;
  int64_t pixels, step;
  Vec mean, inverse_deviation;

  Column(const GroupNorm& norm, int64_t image, int64_t channel)
      : x(norm.x + image * norm.pixels * norm.channels + channel), pixels(norm.pixels),
        step(norm.channels) {
    // Sums of single precision are as far off as all that follows together.
    double sums[kLanes] = {}, squares[kLanes] = {};
    const double share = 1.0 / static_cast<double>(pixels * kGroupChannels);
    for (int64_t i = 0; i < pixels; ++i) {
      for (int k = 0; k < kLanes; ++k) sums[k] += x[i * step + k];
    }
    SumGroups(sums, share);
    for (int64_t i = 0; i < pixels; ++i) {
      for (int k = 0; k < kLanes; ++k) {
        const double centred = x[i * step + k] - sums[k];
        squares[k] += centred * centred;
      }
    }
    SumGroups(squares, share);
    for (int k = 0; k < kLanes; ++k) {
      mean[k] = static_cast<float>(sums[k]);
      inverse_deviation[k] = static_cast<float>(1 / __builtin_sqrt(squares[k] + norm.epsilon));
    }
  }

  Vec Unit(int64_t pixel) const { return (LoadVec(x + pixel * step) - mean) * inverse_deviation; }
};

}  // namespace

bool ForwardGroupNorm(const GroupNormForward& args, const Parallel& parallel) {
  const GroupNorm& norm = args.norm;
  ParallelFor(parallel, norm.images, [&](int64_t image) {
    for (int64_t channel = 0; channel < norm.channels; channel += kLanes) {
      const Column column(norm, image, channel);
      const Vec scale = LoadVec(norm.scale + channel), shift = LoadVec(norm.shift + channel);
      float* const out = args.out + image * norm.pixels * norm.channels + channel;
      for (int64_t i = 0; i < norm.pixels; ++i) {
        const Vec value = column.Unit(i) * scale + shift;
        StoreVec(out + i * norm.channels, value < 0.0f ? norm.slope * value : value);
      }
    }
  });
  return true;
}

bool BackwardGroupNorm(const GroupNormBackward& args, const Parallel& parallel) {
  const GroupNorm& norm = args.norm;
  const Scratch<float> sums(2 * norm.images * norm.channels);  // of scale and shift, by image
  if (!sums.ok()) return false;
  const float share = 1.0f / static_cast<float>(norm.pixels * kGroupChannels);
  ParallelFor(parallel, norm.images, [&](int64_t image) {
    for (int64_t channel = 0; channel < norm.channels; channel += kLanes) {
      const Column column(norm, image, channel);
      const Vec scale = LoadVec(norm.scale + channel), shift = LoadVec(norm.shift + channel);
      const int64_t first = image * norm.pixels * norm.channels + channel;
      // Of the value before the rectifier.
      const auto gradient = [&](int64_t i, Vec unit) {
        const Vec grad = LoadVec(args.grad_out + first + i * norm.channels);
        return unit * scale + shift < 0.0f ? norm.slope * grad : grad;
      };
      Vec grad_scale = {}, grad_shift = {};
      for (int64_t i = 0; i < norm.pixels; ++i) {
        const Vec unit = column.Unit(i), grad = gradient(i, unit);
        grad_scale += grad * unit;
        grad_shift += grad;
      }
      StoreVec(&sums[2 * image * norm.channels + channel], grad_scale);
      StoreVec(&sums[(2 * image + 1) * norm.channels + channel], grad_shift);
      const Vec mean = GroupSums(grad_shift * scale, share);
      const Vec slope = GroupSums(grad_scale * scale, share);
      for (int64_t i = 0; i < norm.pixels; ++i) {
        const Vec unit = column.Unit(i), scaled = gradient(i, unit) * scale;
        StoreVec(args.grad_x + first + i * norm.channels,
                 (scaled - mean - unit * slope) * column.inverse_deviation);
      }
    }
  });
  for (int64_t j = 0; j < norm.channels; ++j) {
    float grad_scale = 0.0f, grad_shift = 0.0f;
    for (int64_t image = 0; image < norm.images; ++image) {
      grad_scale += sums[2 * image * norm.channels + j];
      grad_shift += sums[(2 * image + 1) * norm.channels + j];
    }
    args.grad_scale[j] = grad_scale;
    args.grad_shift[j] = grad_shift;
  }
  return true;
}

}  // namespace RASTERIZER_ISA
}  // namespace layers
