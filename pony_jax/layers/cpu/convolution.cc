// Convolutions and their gradients.

#include "convolution.h"

namespace layers {
namespace RASTERIZER_ISA {

bool ForwardConvolution(const ConvolutionForward& args, const Parallel& parallel) {
  const Convolution& c = args.shape;
  const Padded padded = PaddedX(c);
  const Scratch<float> packed(KernelSize(c));
  if (!packed.ok()) return false;
  const Panels kernel = PackKernel(c, args.kernel, packed.get());
  return ParallelWithScratch(parallel, c.images, padded.Size(), [&](int64_t image, float* x) {
    padded.Copy(args.x + image * c.height * c.width * c.inputs, x);
    float* const out = args.out + image * c.OutHeight() * c.OutWidth() * c.outputs;
    Convolve(c, x, kernel, [&](int64_t row, int64_t column, int64_t channel, Vec sums) {
      StoreSome(out + (row * c.OutWidth() + column) * c.outputs + channel, sums,
                c.outputs - channel);
    });
  });
}

bool ConvolutionGradientOfX(const ConvolutionGradX& args, const Parallel& parallel) {
  const Convolution& c = args.shape;
  const Padded padded = PaddedGrad(c);
  const Scratch<float> packed(TransposedKernelSize(c));
  if (!packed.ok()) return false;
  const TransposedKernel kernel(c, args.kernel, packed.get());
  return ParallelWithScratch(parallel, c.images, padded.Size(), [&](int64_t image, float* grad) {
    padded.Copy(args.grad_out + image * c.OutHeight() * c.OutWidth() * c.outputs, grad);
    float* const out = args.grad_x + image * c.height * c.width * c.inputs;
    kernel.Apply(grad, [&](int64_t row, int64_t column, int64_t channel, Vec sums) {
      StoreSome(out + (row * c.width + column) * c.inputs + channel, sums, c.inputs - channel);
    });
  });
}

// A part of the kernel's rows at a time, summed over all images in registers.
bool ConvolutionGradientOfKernel(const ConvolutionGradKernel& args, const Parallel& parallel) {
  constexpr int64_t kRowsOfPart = 4 * kRows;
  const Convolution& c = args.shape;
  const Padded padded = PaddedX(c);
  const int64_t lanes = OutputLanes(c), pixels = c.OutHeight() * c.OutWidth();
  const int64_t padded_lanes = lanes == c.outputs ? 0 : lanes;
  const Scratch<float> images(c.images * padded.Size());
  const Scratch<float> widened(c.images * pixels * padded_lanes);
  if (!images.ok() || !widened.ok()) return false;
  ParallelFor(parallel, c.images, [&](int64_t image) {
    padded.Copy(args.x + image * c.height * c.width * c.inputs,
                images.get() + image * padded.Size());
    for (int64_t i = image * pixels * padded_lanes; i < (image + 1) * pixels * padded_lanes; ++i) {
      const int64_t channel = i % lanes;
      widened[i] = channel < c.outputs ? args.grad_out[i / lanes * c.outputs + channel] : 0.0f;
    }
  });
  const float* const grads = padded_lanes > 0 ? widened.get() : args.grad_out;
  const int64_t taps = c.kernel_width * c.inputs;  // of a kernel row, neighbours in memory
  const int64_t parts = (taps + kRowsOfPart - 1) / kRowsOfPart;
  ParallelFor(parallel, c.kernel_height * parts, [&](int64_t i) {
    const int64_t dy = i / parts, end = PartBegin(taps, parts, i % parts + 1);
    for (int64_t row = PartBegin(taps, parts, i % parts); row < end; row += kRows) {
      ForPanels(lanes, [&](int64_t column, int vectors) {
        WithTile(end - row < kRows ? end - row : kRows, vectors, [&](auto tile) {
          constexpr int R = decltype(tile)::kTileRows, V = decltype(tile)::kTileVectors;
          for (int64_t y = 0; y < c.images * c.OutHeight(); ++y) {
            const int64_t image = y / c.OutHeight(), y_in = y % c.OutHeight() * c.stride + dy;
            tile.Add(images.get() + image * padded.Size() + y_in * padded.Step() + row, 1,
                     c.stride * c.inputs, grads + y * c.OutWidth() * lanes + column, lanes,
                     c.OutWidth());
          }
          for (int r = 0; r < R; ++r) {
            for (int v = 0; v < V; ++v) {
              const int64_t channel = column + v * kLanes;
              StoreSome(args.grad_kernel + (dy * taps + row + r) * c.outputs + channel,
                        tile.sum[r][v], c.outputs - channel);
            }
          }
        });
      });
    }
  });
  return true;
}

}  // namespace RASTERIZER_ISA
}  // namespace layers
