// Convolutions of images, as products of rows of pixels with all taps of a kernel row at once.

#include "tile.h"

namespace layers {
namespace RASTERIZER_ISA {

bool ForwardConvolution(const ConvolutionForward& args, const Parallel& parallel);
bool ConvolutionGradientOfX(const ConvolutionGradX& args, const Parallel& parallel);
bool ConvolutionGradientOfKernel(const ConvolutionGradKernel& args, const Parallel& parallel);

namespace {

// An image with a border of zeros.
struct Padded {
  Padded(int64_t height, int64_t width, int64_t channels, int64_t rows, int64_t columns)
      : height(height), width(width), channels(channels), rows(rows), columns(columns) {}

  int64_t height, width, channels;
  int64_t rows, columns;  // of zeros, at either end
  int64_t Step() const { return (width + 2 * columns) * channels; }  // of a row
  int64_t Size() const { return (height + 2 * rows) * Step(); }

  void Copy(const float* image, float* to) const {
    std::memset(to, 0, static_cast<size_t>(Size()) * sizeof(float));
    for (int64_t y = 0; y < height; ++y) {
      std::memcpy(to + (y + rows) * Step() + columns * channels, image + y * width * channels,
                  static_cast<size_t>(width * channels) * sizeof(float));
    }
  }
};

inline int64_t CountTiles(int64_t width) { return (width + kRows - 1) / kRows; }

inline Padded PaddedInput(const Convolution& c) {
  return {c.height, c.width, c.inputs, c.padding, c.padding};
}

}  // namespace

bool ForwardConvolution(const ConvolutionForward& args, const Parallel& parallel) {
  const Convolution& c = args.shape;
  const int64_t out_height = c.OutHeight(), out_width = c.OutWidth();
  const int64_t taps = c.kernel_width * c.inputs;  // of a kernel row, neighbours in memory
  const Padded padded = PaddedInput(c);
  const int64_t lanes = RoundUp(c.outputs, kLanes);
  const Scratch<float> packed(c.kernel_height * taps * lanes), images(c.images * padded.Size());
  if (!packed.ok() || !images.ok()) return false;
  const Panels kernel = {c.kernel_height * taps, lanes, packed.get()};
  kernel.Pack(0, kernel.depth, c.outputs, args.kernel, c.outputs, 1);

  ParallelFor(parallel, c.images, [&](int64_t image) {
    float* const x = images.get() + image * padded.Size();
    padded.Copy(args.x + image * c.height * c.width * c.inputs, x);
    float* const out = args.out + image * out_height * out_width * c.outputs;
    ForPanels(lanes, [&](int64_t column, int vectors) {
      for (int64_t y = 0; y < out_height; ++y) {
        const int64_t tiles = CountTiles(out_width);
        for (int64_t i = 0; i < tiles; ++i) {
          const int64_t begin = PartBegin(out_width, tiles, i);
          WithTile(PartBegin(out_width, tiles, i + 1) - begin, vectors, [&](auto tile) {
            constexpr int R = decltype(tile)::kTileRows, V = decltype(tile)::kTileVectors;
            const float* from = x + y * c.stride * padded.Step() + begin * c.stride * c.inputs;
            const float* weights = kernel.panel(column);
            for (int64_t dy = 0; dy < c.kernel_height; ++dy) {
              tile.Add(from + dy * padded.Step(), c.stride * c.inputs, 1,
                       weights + dy * taps * V * kLanes, V * kLanes, taps);
            }
            float* const to = out + (y * out_width + begin) * c.outputs + column;
            for (int r = 0; r < R; ++r) {
              for (int v = 0; v < V; ++v) {
                StoreSome(to + r * c.outputs + v * kLanes, tile.sum[r][v],
                          c.outputs - column - v * kLanes);
              }
            }
          });
        }
      }
    });
  });
  return true;
}

namespace {

// Along one axis, what inputs whose place is `phase` modulo the stride have to do with outputs: the
// input at phase + stride * j meets the kernel's tap first + stride * t at the output
// offset + j - t, for t < count.
struct Phase {
  Phase(int64_t phase, int64_t stride, int64_t padding, int64_t kernel)
      : first((phase + padding) % stride),
        count(first < kernel ? (kernel - first + stride - 1) / stride : 0),
        offset((phase + padding - first) / stride) {}

  int64_t first, count, offset;
};

}  // namespace

bool ConvolutionGradientOfX(const ConvolutionGradX& args, const Parallel& parallel) {
  const Convolution& c = args.shape;
  const Padded padded = {c.OutHeight(), c.OutWidth(), c.outputs, c.kernel_height - 1,
                         c.kernel_width - 1};
  const int64_t lanes = RoundUp(c.inputs, kLanes);
  const Scratch<float> packed(c.kernel_height * c.kernel_width * c.outputs * lanes);
  const Scratch<float> grads(c.images * padded.Size());
  if (!packed.ok() || !grads.ok()) return false;
  ParallelFor(parallel, c.images, [&](int64_t image) {
    padded.Copy(args.grad_out + image * c.OutHeight() * c.OutWidth() * c.outputs,
                grads.get() + image * padded.Size());
  });

  float* weights = packed.get();
  for (int64_t phase_y = 0; phase_y < c.stride; ++phase_y) {
    for (int64_t phase_x = 0; phase_x < c.stride; ++phase_x) {
      const Phase of_y(phase_y, c.stride, c.padding, c.kernel_height);
      const Phase of_x(phase_x, c.stride, c.padding, c.kernel_width);
      const int64_t rows = (c.height - phase_y + c.stride - 1) / c.stride;
      const int64_t columns = (c.width - phase_x + c.stride - 1) / c.stride;
      // Taps from the last to the first: their outputs then follow each other in memory.
      const int64_t taps = of_x.count * c.outputs;
      const Panels kernel = {of_y.count * taps, lanes, weights};
      weights += kernel.size();
      for (int64_t t = 0; t < of_y.count * of_x.count; ++t) {
        const int64_t dy = of_y.first + c.stride * (of_y.count - 1 - t / of_x.count);
        const int64_t dx = of_x.first + c.stride * (of_x.count - 1 - t % of_x.count);
        kernel.Pack(t * c.outputs, c.outputs, c.inputs,
                    args.kernel + (dy * c.kernel_width + dx) * c.inputs * c.outputs, 1, c.outputs);
      }
      const int64_t tiles = CountTiles(columns);
      ParallelFor(parallel, c.images, [&](int64_t image) {
        const float* const grad = grads.get() + image * padded.Size();
        float* const out = args.grad_x + image * c.height * c.width * c.inputs;
        ForPanels(lanes, [&](int64_t column, int vectors) {
          for (int64_t j = 0; j < rows; ++j) {
            const int64_t y = of_y.offset + j - (of_y.count - 1) + padded.rows;
            for (int64_t i = 0; i < tiles; ++i) {
              const int64_t begin = PartBegin(columns, tiles, i);
              const int64_t x = of_x.offset + begin - (of_x.count - 1) + padded.columns;
              WithTile(PartBegin(columns, tiles, i + 1) - begin, vectors, [&](auto tile) {
                constexpr int R = decltype(tile)::kTileRows, V = decltype(tile)::kTileVectors;
                for (int64_t t = 0; t < of_y.count; ++t) {
                  tile.Add(grad + (y + t) * padded.Step() + x * c.outputs, c.outputs, 1,
                           kernel.panel(column) + t * taps * V * kLanes, V * kLanes, taps);
                }
                float* const to =
                    out + ((phase_y + c.stride * j) * c.width + phase_x + c.stride * begin) * c.inputs +
                    column;
                for (int r = 0; r < R; ++r) {
                  for (int v = 0; v < V; ++v) {
                    StoreSome(to + r * c.stride * c.inputs + v * kLanes, tile.sum[r][v],
                              c.inputs - column - v * kLanes);
                  }
                }
              });
            }
          }
        });
      });
    }
  }
  return true;
}

bool ConvolutionGradientOfKernel(const ConvolutionGradKernel& args, const Parallel& parallel) {
  const Convolution& c = args.shape;
  const int64_t out_height = c.OutHeight(), out_width = c.OutWidth();
  const int64_t taps = c.kernel_width * c.inputs, lanes = RoundUp(c.outputs, kLanes);
  const int64_t parts = CountParts(c.images), size = c.kernel_height * taps * lanes;
  const Padded padded = PaddedInput(c);
  const int64_t grad_size = lanes == c.outputs ? 0 : out_height * out_width * lanes;
  const int64_t scratch_size = padded.Size() + grad_size;
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
      const float* grad = args.grad_out + image * out_height * out_width * c.outputs;
      if (grad_size > 0) {
        for (int64_t i = 0; i < out_height * out_width; ++i) {
          for (int64_t j = 0; j < lanes; ++j) {
            widened[i * lanes + j] = j < c.outputs ? grad[i * c.outputs + j] : 0.0f;
          }
        }
        grad = widened;
      }
      for (int64_t dy = 0; dy < c.kernel_height; ++dy) {
        ForPanels(lanes, [&](int64_t column, int vectors) {
          for (int64_t row = 0; row < taps; row += kRows) {
            WithTile(taps - row < kRows ? taps - row : kRows, vectors, [&](auto tile) {
              constexpr int R = decltype(tile)::kTileRows, V = decltype(tile)::kTileVectors;
              float* const to = own_sums + (dy * taps + row) * lanes + column;
              for (int r = 0; r < R; ++r) {
                for (int v = 0; v < V; ++v) tile.sum[r][v] = Load(to + r * lanes + v * kLanes);
              }
              for (int64_t y = 0; y < out_height; ++y) {
                tile.Add(x + (y * c.stride + dy) * padded.Step() + row, 1, c.stride * c.inputs,
                         grad + y * out_width * lanes + column, lanes, out_width);
              }
              for (int r = 0; r < R; ++r) {
                for (int v = 0; v < V; ++v) Store(to + r * lanes + v * kLanes, tile.sum[r][v]);
              }
            });
          }
        });
      }
    }
  });

  AddParts(sums.get(), parts, size, parallel);
  for (int64_t i = 0; i < c.kernel_height * taps; ++i) {
    std::memcpy(args.grad_kernel + i * c.outputs, sums.get() + i * lanes,
                static_cast<size_t>(c.outputs) * sizeof(float));
  }
  return true;
}

}  // namespace RASTERIZER_ISA
}  // namespace layers
