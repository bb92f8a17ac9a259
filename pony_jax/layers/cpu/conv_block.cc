// Residual blocks of a convolution between a normalisation and a gelu, an image at a time.

#include "convolution.h"
#include "normalise.h"

namespace layers {
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
  const Vec tail = 1.0f / 6 + r * (1.0f / 24 + r * (1.0f / 120 + r * (1.0f / 720 + r / 5040)));
  const Vec value = 1 + r * (1 + r * (0.5f + r * tail));
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

inline Norm NormOf(const ConvBlock& block) {
  return {block.shape.inputs, block.epsilon, block.scale, block.shift};
}

// The normalised image, padded; notes the moments of its pixels unless null.
inline void Normalise(const ConvBlock& block, const float* image, float* out, Moments* moments) {
  const Convolution& c = block.shape;
  const Norm norm = NormOf(block);
  const Padded padded = PaddedX(c);
  padded.Clear(out);
  for (int64_t i = 0; i < c.height * c.width; ++i) {
    const float* pixel = image + i * c.inputs;
    const Moments m = norm.MomentsOf(pixel);
    if (moments != nullptr) moments[i] = m;
    norm.Apply(pixel, m, out + padded.Pixel(i / c.width, i % c.width));
  }
}

}  // namespace

bool ForwardConvBlock(const ConvBlockForward& args, const Parallel& parallel) {
  const ConvBlock& block = args.block;
  const Convolution& c = block.shape;
  const int64_t size = c.height * c.width * c.inputs, padded_size = PaddedX(c).Size();
  const Scratch<float> packed(KernelSize(c)), images(c.images * padded_size);
  if (!packed.ok() || !images.ok()) return false;
  const Panels kernel = PackKernel(c, block.kernel, packed.get());
  ParallelFor(parallel, c.images, [&](int64_t image) {
    float* const unit = images.get() + image * padded_size;
    const float* const x = block.x + image * size;
    Normalise(block, x, unit, nullptr);
    Convolve(c, unit, kernel, [&](int64_t row, int64_t column, int64_t channel, Vec sums) {
      const int64_t at = (row * c.width + column) * c.inputs + channel;
      const Activation gelu = Gelu(sums + LoadVec(block.bias + channel));
      if (args.kept != nullptr) StoreVec(args.kept + image * size + at, gelu.slope);
      StoreVec(args.out + image * size + at, LoadVec(x + at) + gelu.value);
    });
  });
  return true;
}

bool BackwardConvBlock(const ConvBlockBackward& args, const Parallel& parallel) {
  const ConvBlock& block = args.block;
  const Convolution& c = block.shape;
  const int64_t channels = c.inputs, size = c.height * c.width * channels;
  const int64_t parts = CountParts(c.images), sums_size = KernelSize(c) + 3 * channels;
  const Padded padded_x = PaddedX(c), padded_grad = PaddedGrad(c);
  const int64_t scratch_size = padded_x.Size() + padded_grad.Size() + size;
  const Scratch<float> packed(TransposedKernelSize(c)), all_sums(parts * sums_size);
  const Scratch<float> scratch(parts * scratch_size);
  const Scratch<Moments> all_moments(parts * c.height * c.width);
  if (!packed.ok() || !all_sums.ok() || !scratch.ok() || !all_moments.ok()) return false;
  const Norm norm = NormOf(block);
  const TransposedKernel kernel(c, block.kernel, packed.get());
  ParallelFor(parallel, parts, [&](int64_t part) {
    float* const sums = all_sums.get() + part * sums_size;
    float* const grad_scale = sums + KernelSize(c);
    float* const grad_shift = grad_scale + channels;
    float* const grad_bias = grad_shift + channels;
    float* const unit = scratch.get() + part * scratch_size;
    float* const grad_u = unit + padded_x.Size();
    float* const grad_unit = grad_u + padded_grad.Size();
    Moments* const moments = all_moments.get() + part * c.height * c.width;
    std::memset(sums, 0, static_cast<size_t>(sums_size) * sizeof(float));
    padded_grad.Clear(grad_u);
    const int64_t end = PartBegin(c.images, parts, part + 1);
    for (int64_t image = PartBegin(c.images, parts, part); image < end; ++image) {
      const float* const x = block.x + image * size;
      const float* const grad_out = args.grad_out + image * size;
      float* const grad_x = args.grad_x + image * size;
      for (int64_t i = 0; i < c.height * c.width; ++i) {
        float* const to = grad_u + padded_grad.Pixel(i / c.width, i % c.width);
        for (int64_t j = 0; j < channels; j += kLanes) {
          const int64_t at = i * channels + j;
          const Vec grad = LoadVec(grad_out + at) * LoadVec(args.kept + image * size + at);
          StoreVec(to + j, grad);
          StoreVec(grad_bias + j, LoadVec(grad_bias + j) + grad);
        }
      }
      Normalise(block, x, unit, moments);
      AddKernelGradient(c, unit, grad_u + padded_grad.Pixel(0, 0), padded_grad.Step(), sums);
      kernel.Apply(grad_u, [&](int64_t row, int64_t column, int64_t channel, Vec grad) {
        StoreVec(grad_unit + (row * c.width + column) * channels + channel, grad);
      });
      std::memcpy(grad_x, grad_out, static_cast<size_t>(size) * sizeof(float));
      for (int64_t i = 0; i < c.height * c.width; ++i) {
        const int64_t at = i * channels;
        norm.AddGradient(x + at, moments[i], grad_unit + at, grad_x + at, grad_scale, grad_shift);
      }
    }
  });
  AddParts(all_sums.get(), parts, sums_size, parallel);
  CopyKernel(c, all_sums.get(), args.grad_kernel);
  const float* const rest = all_sums.get() + KernelSize(c);
  const size_t bytes = static_cast<size_t>(channels) * sizeof(float);
  std::memcpy(args.grad_scale, rest, bytes);
  std::memcpy(args.grad_shift, rest + channels, bytes);
  std::memcpy(args.grad_bias, rest + 2 * channels, bytes);
  return true;
}

}  // namespace RASTERIZER_ISA
}  // namespace layers
