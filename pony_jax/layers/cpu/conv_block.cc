// Residual blocks of a convolution between a normalisation and a gelu, an image at a time.

#include "convolution.h"

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

inline Vec Gelu(Vec u) { return u * Sigmoid(kTwoRoot * (u + kCube * u * u * u)); }

inline Vec GeluSlope(Vec u) {
  const Vec s = Sigmoid(kTwoRoot * (u + kCube * u * u * u));
  return s + u * s * (1 - s) * (kTwoRoot * (1 + 3 * kCube * u * u));
}

inline float Sum(Vec v) {
  float sum = 0;
  for (int i = 0; i < kLanes; ++i) sum += v[i];
  return sum;
}

struct Moments {
  float mean, inverse_deviation;
};

inline Moments MomentsOf(const float* pixel, int64_t channels, float epsilon) {
  Vec sums = {};
  for (int64_t j = 0; j < channels; j += kLanes) sums += LoadVec(pixel + j);
  const float mean = Sum(sums) / static_cast<float>(channels);
  Vec squares = {};
  for (int64_t j = 0; j < channels; j += kLanes) {
    const Vec centred = LoadVec(pixel + j) - mean;
    squares += centred * centred;
  }
  const float variance = Sum(squares) / static_cast<float>(channels);
  return {mean, 1 / __builtin_sqrtf(variance + epsilon)};
}

// The normalised image, padded.
inline void Normalise(const ConvBlock& block, const float* image, float* out) {
  const Convolution& c = block.shape;
  const Padded padded = PaddedX(c);
  padded.Clear(out);
  for (int64_t i = 0; i < c.height * c.width; ++i) {
    const float* pixel = image + i * c.inputs;
    const Moments m = MomentsOf(pixel, c.inputs, block.epsilon);
    float* const to = out + padded.Pixel(i / c.width, i % c.width);
    for (int64_t j = 0; j < c.inputs; j += kLanes) {
      const Vec unit = (LoadVec(pixel + j) - m.mean) * m.inverse_deviation;
      StoreVec(to + j, unit * LoadVec(block.scale + j) + LoadVec(block.shift + j));
    }
  }
}

// The gradient of a pixel from that of its normalised channels, added to what is in `grad`.
inline void AddNormGradient(const ConvBlock& block, const float* pixel, const float* grad_unit,
                            float* grad, float* grad_scale, float* grad_shift) {
  const int64_t channels = block.shape.inputs;
  const Moments m = MomentsOf(pixel, channels, block.epsilon);
  Vec sums = {}, products = {};
  for (int64_t j = 0; j < channels; j += kLanes) {
    const Vec unit = (LoadVec(pixel + j) - m.mean) * m.inverse_deviation;
    const Vec incoming = LoadVec(grad_unit + j), scaled = incoming * LoadVec(block.scale + j);
    StoreVec(grad_scale + j, LoadVec(grad_scale + j) + incoming * unit);
    StoreVec(grad_shift + j, LoadVec(grad_shift + j) + incoming);
    sums += scaled;
    products += scaled * unit;
  }
  const float mean = Sum(sums) / static_cast<float>(channels);
  const float slope = Sum(products) / static_cast<float>(channels);
  for (int64_t j = 0; j < channels; j += kLanes) {
    const Vec unit = (LoadVec(pixel + j) - m.mean) * m.inverse_deviation;
    const Vec scaled = LoadVec(grad_unit + j) * LoadVec(block.scale + j);
    StoreVec(grad + j, LoadVec(grad + j) + (scaled - mean - unit * slope) * m.inverse_deviation);
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
    Normalise(block, x, unit);
    Convolve(c, unit, kernel, [&](int64_t row, int64_t column, int64_t channel, Vec sums) {
      const int64_t at = (row * c.width + column) * c.inputs + channel;
      const Vec u = sums + LoadVec(block.bias + channel);
      if (args.kept != nullptr) StoreVec(args.kept + image * size + at, u);
      StoreVec(args.out + image * size + at, LoadVec(x + at) + Gelu(u));
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
  if (!packed.ok() || !all_sums.ok() || !scratch.ok()) return false;
  const TransposedKernel kernel(c, block.kernel, packed.get());
  ParallelFor(parallel, parts, [&](int64_t part) {
    float* const sums = all_sums.get() + part * sums_size;
    float* const grad_scale = sums + KernelSize(c);
    float* const grad_shift = grad_scale + channels;
    float* const grad_bias = grad_shift + channels;
    float* const unit = scratch.get() + part * scratch_size;
    float* const grad_u = unit + padded_x.Size();
    float* const grad_unit = grad_u + padded_grad.Size();
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
          const Vec u = LoadVec(args.kept + image * size + at);
          const Vec grad = LoadVec(grad_out + at) * GeluSlope(u);
          StoreVec(to + j, grad);
          StoreVec(grad_bias + j, LoadVec(grad_bias + j) + grad);
        }
      }
      Normalise(block, x, unit);
      AddKernelGradient(c, unit, grad_u + padded_grad.Pixel(0, 0), padded_grad.Step(), sums);
      kernel.Apply(grad_u, [&](int64_t row, int64_t column, int64_t channel, Vec grad) {
        StoreVec(grad_unit + (row * c.width + column) * channels + channel, grad);
      });
      std::memcpy(grad_x, grad_out, static_cast<size_t>(size) * sizeof(float));
      for (int64_t at = 0; at < size; at += channels) {
        AddNormGradient(block, x + at, grad_unit + at, grad_x + at, grad_scale, grad_shift);
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
