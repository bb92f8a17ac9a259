// Convolutions and their gradients, as products of pixels with all taps of a kernel row at once.

#include "padded.h"

namespace pony {
namespace RASTERIZER_ISA {
namespace {

inline Padded PaddedX(const Convolution& c) {
  return {c.height, c.width, c.inputs, c.padding, c.padding};
}
// With all that a tap may look at.
inline Padded PaddedGrad(const Convolution& c) {
  return {c.OutHeight(), c.OutWidth(), c.outputs, c.kernel_height - 1, c.kernel_width - 1};
}

inline void PadImages(const Padded& padded, int64_t images, const float* from, float* to,
                      const Parallel& parallel) {
  const int64_t size = padded.height * padded.width * padded.channels;
  ParallelFor(parallel, images, [&](int64_t image) {
    padded.Copy(from + image * size, to + image * padded.Size());
  });
}

// Images of `rows` by `columns` pixels.
struct Grid {
  int64_t images, rows, columns;

  int64_t Pixels() const { return images * rows * columns; }

  struct Place {
    int64_t image, y, x;
  };
  Place At(int64_t pixel) const {
    return {pixel / columns / rows, pixel / columns % rows, pixel % columns};
  }
  int64_t Pixel(const Place& at) const { return (at.image * rows + at.y) * columns + at.x; }
  Place After(Place at) const {
    if (++at.x < columns) return at;
    if (++at.y < rows) return {at.image, at.y, 0};
    return {at.image + 1, 0, 0};
  }
};

// Calls store(place, channel, sums) for each vector of the products of all pixels' windows with
// `kernel`. A window begins at `window(place)`; its rows are `taps` long and `step` apart.
template <class Window, class Store>
inline void SlidingProducts(const Grid& grid, int64_t taps, int64_t step, const Panels& kernel,
                            const Parallel& parallel, Window window, Store store) {
  const int64_t parts = CountParts(grid.Pixels() / kRows);
  ParallelFor(parallel, parts, [&](int64_t part) {
    const int64_t begin = PartBegin(grid.Pixels(), parts, part);
    const int64_t count = PartBegin(grid.Pixels(), parts, part + 1) - begin;
    ForPanels(kernel.width, [&](int64_t column, int vectors) {
      const float* const panel = kernel.panel(column);
      ForTiles(count, vectors, [=, depth = kernel.depth](int64_t first, auto& tile) {
        const int64_t lanes = tile.kTileVectors * kLanes;
        Grid::Place places[kRows];
        const float* rows[kRows];
        for (int r = 0; r < tile.kTileRows; ++r) {
          places[r] = r == 0 ? grid.At(begin + first) : grid.After(places[r - 1]);
          rows[r] = window(places[r]);
        }
        // Kernel rows are summed on their own: a third of the rounding of one long sum.
        auto total = tile;
        for (int64_t k = 0; k < depth; k += taps) {
          tile.Clear();
          tile.Add(rows, panel + k * lanes, lanes, taps);
          for (int r = 0; r < tile.kTileRows; ++r) rows[r] += step;
          tile.ForEach([&](int r, int v, Vec sums) { total.sum[r][v] += sums; });
        }
        total.ForEach([&](int r, int v, Vec sums) { store(places[r], column + v * kLanes, sums); });
      });
    });
  });
}

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

// The kernel for gradients of inputs of a phase along each axis, in `data`. Taps go from the last to
// the first: their outputs then follow each other in memory.
inline Panels TransposedKernel(const Convolution& c, const Phase& of_y, const Phase& of_x,
                               const float* kernel, float* data, const Parallel& parallel) {
  const Panels panels = {of_y.count * of_x.count * c.outputs, RoundUp(c.inputs, kLanes), data};
  ParallelFor(parallel, of_y.count * of_x.count, [&](int64_t t) {
    const int64_t dy = of_y.first + c.stride * (of_y.count - 1 - t / of_x.count);
    const int64_t dx = of_x.first + c.stride * (of_x.count - 1 - t % of_x.count);
    panels.Pack(t * c.outputs, c.outputs, c.inputs,
                kernel + (dy * c.kernel_width + dx) * c.inputs * c.outputs, 1, c.outputs);
  });
  return panels;
}

}  // namespace

bool ForwardConvolution(const ConvolutionForward& args, const Parallel& parallel) {
  const Convolution& c = args.shape;
  const Padded padded = PaddedX(c);
  const Scratch<float> x(c.images * padded.Size());
  const int64_t depth = c.kernel_height * c.kernel_width * c.inputs;
  const int64_t lanes = RoundUp(c.outputs, kLanes);
  const Scratch<float> packed(depth * lanes);
  if (!x.ok() || !packed.ok()) return false;
  PadImages(padded, c.images, args.x, x.get(), parallel);
  const Panels kernel = {depth, lanes, packed.get()};
  ParallelFor(parallel, c.kernel_height * c.kernel_width, [&](int64_t tap) {
    const int64_t row = tap * c.inputs;
    kernel.Pack(row, c.inputs, c.outputs, args.kernel + row * c.outputs, c.outputs, 1);
  });
  const Grid grid = {c.images, c.OutHeight(), c.OutWidth()};
  SlidingProducts(
      grid, c.kernel_width * c.inputs, padded.Step(), kernel, parallel,
      [&](const Grid::Place& at) {
        return x.get() + at.image * padded.Size() +
               padded.Pixel(at.y * c.stride - c.padding, at.x * c.stride - c.padding);
      },
      [=, out = args.out, outputs = c.outputs](const Grid::Place& at, int64_t channel, Vec sums) {
        StoreSome(out + grid.Pixel(at) * outputs + channel, sums, outputs - channel);
      });
  return true;
}

bool ConvolutionGradientOfX(const ConvolutionGradX& args, const Parallel& parallel) {
  const Convolution& c = args.shape;
  const Padded padded = PaddedGrad(c);
  const Scratch<float> grad(c.images * padded.Size());
  const Scratch<float> packed(c.kernel_height * c.kernel_width * c.outputs *
                              RoundUp(c.inputs, kLanes));
  if (!grad.ok() || !packed.ok()) return false;
  PadImages(padded, c.images, args.grad_out, grad.get(), parallel);
  for (int64_t y = 0; y < c.stride; ++y) {
    for (int64_t x = 0; x < c.stride; ++x) {
      const Phase of_y(y, c.stride, c.padding, c.kernel_height);
      const Phase of_x(x, c.stride, c.padding, c.kernel_width);
      const Grid grid = {c.images, (c.height - y + c.stride - 1) / c.stride,
                         (c.width - x + c.stride - 1) / c.stride};
      SlidingProducts(
          grid, of_x.count * c.outputs, padded.Step(),
          TransposedKernel(c, of_y, of_x, args.kernel, packed.get(), parallel), parallel,
          [&](const Grid::Place& at) {
            return grad.get() + at.image * padded.Size() +
                   padded.Pixel(of_y.offset + at.y - (of_y.count - 1),
                                of_x.offset + at.x - (of_x.count - 1));
          },
          [=, out = args.grad_x](const Grid::Place& at, int64_t channel, Vec sums) {
            const int64_t row = at.image * c.height + y + c.stride * at.y;
            StoreSome(out + (row * c.width + x + c.stride * at.x) * c.inputs + channel, sums,
                      c.inputs - channel);
          });
    }
  }
  return true;
}

// A part of the kernel's rows at a time, summed over all images. What they are multiplied with lies
// far apart, so that some pixels' is copied together first.
bool ConvolutionGradientOfKernel(const ConvolutionGradKernel& args, const Parallel& parallel) {
  constexpr int64_t kRowsOfPart = 4 * kRows, kPixels = 256;
  const Convolution& c = args.shape;
  const Padded padded = PaddedX(c);
  const Grid grid = {c.images, c.OutHeight(), c.OutWidth()};
  const int64_t lanes = RoundUp(c.outputs, kLanes);
  const Scratch<float> x(c.images * padded.Size() + kLanes);
  const Scratch<float> packed(grid.Pixels() * lanes);
  if (!x.ok() || !packed.ok()) return false;
  PadImages(padded, c.images, args.x, x.get(), parallel);
  const Panels grads = {grid.Pixels(), lanes, packed.get()};
  const int64_t chunks = (grid.Pixels() + kPixels - 1) / kPixels;
  ParallelFor(parallel, chunks, [&](int64_t chunk) {
    const int64_t begin = chunk * kPixels;
    grads.Pack(begin, Min(grid.Pixels() - begin, kPixels), c.outputs,
               args.grad_out + begin * c.outputs, c.outputs, 1);
  });

  const int64_t taps = c.kernel_width * c.inputs;  // of a kernel row, neighbours in memory
  const int64_t parts = (taps + kRowsOfPart - 1) / kRowsOfPart;
  return ParallelWithScratch(
      parallel, c.kernel_height * parts, kRowsOfPart * (kPixels + lanes) + kLanes,
      [&](int64_t i, float* together) {
        float* const sums = together + kRowsOfPart * kPixels + kLanes;
        const int64_t dy = i / parts, first = PartBegin(taps, parts, i % parts);
        const int64_t rows = PartBegin(taps, parts, i % parts + 1) - first;
        std::memset(sums, 0, static_cast<size_t>(rows * lanes) * sizeof(float));
        for (int64_t begin = 0; begin < grid.Pixels(); begin += kPixels) {
          const int64_t count = Min(grid.Pixels() - begin, kPixels);
          Grid::Place at = grid.At(begin);
          for (int64_t k = 0; k < count; ++k, at = grid.After(at)) {
            const int64_t window =
                padded.Pixel(at.y * c.stride - c.padding + dy, at.x * c.stride - c.padding);
            const float* const from = x.get() + at.image * padded.Size() + window + first;
            // By whole vectors: what lies beyond a row is overwritten by the next.
            for (int64_t j = 0; j < rows; j += kLanes) {
              StoreVec(together + k * rows + j, LoadVec(from + j));
            }
          }
          ForPanels(lanes, [&](int64_t column, int vectors) {
            const float* const panel = grads.panel(column);
            ForTiles(rows, vectors, [=](int64_t row, auto& tile) {
              const int64_t step = tile.kTileVectors * kLanes;
              tile.Load(sums + row * lanes + column, lanes);
              tile.Add(together + row, 1, rows, panel + begin * step, step, count);
              tile.Store(sums + row * lanes + column, lanes);
            });
          });
        }
        CopyRows(sums, lanes, rows, c.outputs,
                 args.grad_kernel + (dy * taps + first) * c.outputs);
      });
}

}  // namespace RASTERIZER_ISA
}  // namespace pony
