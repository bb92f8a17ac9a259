// Convolutions and their gradients.

#include "convolution.h"

namespace layers {
namespace RASTERIZER_ISA {

bool ForwardConvolution(const ConvolutionForward& args, const Parallel& parallel) {
  const Convolution& c = args.shape;
  const Padded padded = PaddedX(c);
  const Scratch<float> packed(KernelSize(c)), images(c.images * padded.Size());
  if (!packed.ok() || !images.ok()) return false;
  const Panels kernel = PackKernel(c, args.kernel, packed.get());
  ParallelFor(parallel, c.images, [&](int64_t image) {
    float* const x = images.get() + image * padded.Size();
    padded.Copy(args.x + image * c.height * c.width * c.inputs, x);
    float* const out = args.out + image * c.OutHeight() * c.OutWidth() * c.outputs;
    Convolve(c, x, kernel, [&](int64_t row, int64_t column, int64_t channel, Vec sums) {
      StoreSome(out + (row * c.OutWidth() + column) * c.outputs + channel, sums,
                c.outputs - channel);
    });
  });
  return true;
}

bool ConvolutionGradientOfX(const ConvolutionGradX& args, const Parallel& parallel) {
  const Convolution& c = args.shape;
  const Padded padded = PaddedGrad(c);
  const Scratch<float> packed(TransposedKernelSize(c)), grads(c.images * padded.Size());
  if (!packed.ok() || !grads.ok()) return false;
  const TransposedKernel kernel(c, args.kernel, packed.get());
  ParallelFor(parallel, c.images, [&](int64_t image) {
    float* const grad = grads.get() + image * padded.Size();
    padded.Copy(args.grad_out + image * c.OutHeight() * c.OutWidth() * c.outputs, grad);
    float* const out = args.grad_x + image * c.height * c.width * c.inputs;
    kernel.Apply(grad, [&](int64_t row, int64_t column, int64_t channel, Vec sums) {
      StoreSome(out + (row * c.width + column) * c.inputs + channel, sums, c.inputs - channel);
    });
  });
  return true;
}

bool ConvolutionGradientOfKernel(const ConvolutionGradKernel& args, const Parallel& parallel) {
  const Convolution& c = args.shape;
  const int64_t parts = CountParts(c.images), size = KernelSize(c), lanes = OutputLanes(c);
  const int64_t pixels = c.OutHeight() * c.OutWidth();
  const Padded padded = PaddedX(c);
  const int64_t widened_size = lanes == c.outputs ? 0 : pixels * lanes;
  const int64_t scratch_size = padded.Size() + widened_size;
  const Scratch<float> sums(parts * size), scratch(parts * scratch_size);
  if (!sums.ok() || !scratch.ok()) return false;
  ParallelFor(parallel, parts, [&](int64_t part) {
    float* const own_sums = sums.get() + part * size;
    float* const x = scratch.get() + part * scratch_size;
    float* const widened = x + padded.Size();
    std::memset(own_sums, 0, static_cast<size_t>(size) * sizeof(float));
    const int64_t end = PartBegin(c.images, parts, part + 1);
    for (int64_t image = PartBegin(c.images, parts, part); image < end; ++image) {
      padded.Copy(args.x + image * c.height * c.width * c.inputs, x);
      const float* grad = args.grad_out + image * pixels * c.outputs;
      for (int64_t i = 0; i < widened_size; ++i) {
        const int64_t channel = i % lanes;
        widened[i] = channel < c.outputs ? grad[i / lanes * c.outputs + channel] : 0.0f;
      }
      AddKernelGradient(c, x, widened_size > 0 ? widened : grad, c.OutWidth() * lanes, own_sums);
    }
  });
  AddParts(sums.get(), parts, size, parallel);
  CopyKernel(c, sums.get(), args.grad_kernel);
  return true;
}

}  // namespace RASTERIZER_ISA
}  // namespace layers
