// Convolutions of one image, as products of rows of pixels with all taps of a kernel row at once.

#ifndef PONY_JAX_LAYERS_CPU_CONVOLUTION_H_
#define PONY_JAX_LAYERS_CPU_CONVOLUTION_H_

#include "tile.h"

namespace layers {
namespace RASTERIZER_ISA {
namespace {

// An image with a border of zeros.
struct Padded {
  int64_t height, width, channels;
  int64_t rows, columns;  // of zeros, at either end

  int64_t Step() const { return (width + 2 * columns) * channels; }  // of a row
  int64_t Size() const { return (height + 2 * rows) * Step(); }
  int64_t Pixel(int64_t y, int64_t x) const {
    return (y + rows) * Step() + (x + columns) * channels;
  }

  void Clear(float* to) const {
    std::memset(to, 0, static_cast<size_t>(Size()) * sizeof(float));
  }
  void ClearBorder(float* to) const {
    const int64_t above = Pixel(0, -columns), side = columns * channels;
    std::memset(to, 0, static_cast<size_t>(above) * sizeof(float));
    for (int64_t y = 0; y < height; ++y) {
      std::memset(to + Pixel(y, -columns), 0, static_cast<size_t>(side) * sizeof(float));
      std::memset(to + Pixel(y, width), 0, static_cast<size_t>(side) * sizeof(float));
    }
    std::memset(to + Pixel(height, -columns), 0, static_cast<size_t>(above) * sizeof(float));
  }
  void Copy(const float* image, float* to) const {
    ClearBorder(to);
    for (int64_t y = 0; y < height; ++y) {
      std::memcpy(to + Pixel(y, 0), image + y * width * channels,
                  static_cast<size_t>(width * channels) * sizeof(float));
    }
  }
};

inline Padded PaddedX(const Convolution& c) {
  return {c.height, c.width, c.inputs, c.padding, c.padding};
}
// With all that a tap may look at.
inline Padded PaddedGrad(const Convolution& c) {
  return {c.OutHeight(), c.OutWidth(), c.outputs, c.kernel_height - 1, c.kernel_width - 1};
}
inline int64_t OutputLanes(const Convolution& c) { return RoundUp(c.outputs, kLanes); }
inline int64_t KernelSize(const Convolution& c) {
  return c.kernel_height * c.kernel_width * c.inputs * OutputLanes(c);
}
inline int64_t TransposedKernelSize(const Convolution& c) {
  return c.kernel_height * c.kernel_width * c.outputs * RoundUp(c.inputs, kLanes);
}

// The kernel as the right factor, in `data` of KernelSize.
inline Panels PackKernel(const Convolution& c, const float* kernel, float* data) {
  const Panels panels = {c.kernel_height * c.kernel_width * c.inputs, OutputLanes(c), data};
  panels.Pack(0, panels.depth, c.outputs, kernel, c.outputs, 1);
  return panels;
}

// Calls store(y, x, channel, sums) for each vector of the result; `x` is padded.
template <class Store>
inline void Convolve(const Convolution& c, const float* x, const Panels& kernel, Store store) {
  const int64_t taps = c.kernel_width * c.inputs;  // of a kernel row, neighbours in memory
  const int64_t step = PaddedX(c).Step();
  ForPanels(kernel.width, [&](int64_t column, int vectors) {
    for (int64_t y = 0; y < c.OutHeight(); ++y) {
      ForTiles(c.OutWidth(), vectors, [&](int64_t first, auto tile) {
        constexpr int R = decltype(tile)::kTileRows, V = decltype(tile)::kTileVectors;
        const float* from = x + y * c.stride * step + first * c.stride * c.inputs;
        for (int64_t dy = 0; dy < c.kernel_height; ++dy) {
          tile.Add(from + dy * step, c.stride * c.inputs, 1,
                   kernel.panel(column) + dy * taps * V * kLanes, V * kLanes, taps);
        }
        for (int r = 0; r < R; ++r) {
          for (int v = 0; v < V; ++v) store(y, first + r, column + v * kLanes, tile.sum[r][v]);
        }
      });
    }
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

// The kernel for gradients of the input, in `data` of TransposedKernelSize: for each phase one
// factor. Taps go from the last to the first: their outputs then follow each other in memory.
class TransposedKernel {
 public:
  TransposedKernel(const Convolution& c, const float* kernel, float* data) : c_(c), data_(data) {
    ForPhases([&](int64_t, int64_t, const Phase& of_y, const Phase& of_x, const Panels& panels) {
      for (int64_t t = 0; t < of_y.count * of_x.count; ++t) {
        const int64_t dy = of_y.first + c.stride * (of_y.count - 1 - t / of_x.count);
        const int64_t dx = of_x.first + c.stride * (of_x.count - 1 - t % of_x.count);
        panels.Pack(t * c.outputs, c.outputs, c.inputs,
                    kernel + (dy * c.kernel_width + dx) * c.inputs * c.outputs, 1, c.outputs);
      }
    });
  }

  // Calls store(y, x, channel, sums) for each vector of the input's gradient; `grad` is padded.
  template <class Store>
  void Apply(const float* grad, Store store) const {
    const Padded padded = PaddedGrad(c_);
    ForPhases([&](int64_t phase_y, int64_t phase_x, const Phase& of_y, const Phase& of_x,
                  const Panels& panels) {
      const int64_t rows = (c_.height - phase_y + c_.stride - 1) / c_.stride;
      const int64_t columns = (c_.width - phase_x + c_.stride - 1) / c_.stride;
      const int64_t taps = of_x.count * c_.outputs;
      ForPanels(panels.width, [&](int64_t channel, int vectors) {
        for (int64_t j = 0; j < rows; ++j) {
          ForTiles(columns, vectors, [&](int64_t first, auto tile) {
            constexpr int R = decltype(tile)::kTileRows, V = decltype(tile)::kTileVectors;
            for (int64_t t = 0; t < of_y.count; ++t) {
              const int64_t at = padded.Pixel(of_y.offset + j - (of_y.count - 1) + t,
                                              of_x.offset + first - (of_x.count - 1));
              tile.Add(grad + at, c_.outputs, 1, panels.panel(channel) + t * taps * V * kLanes,
                       V * kLanes, taps);
            }
            for (int r = 0; r < R; ++r) {
              for (int v = 0; v < V; ++v) {
                store(phase_y + c_.stride * j, phase_x + c_.stride * (first + r),
                      channel + v * kLanes, tile.sum[r][v]);
              }
            }
          });
        }
      });
    });
  }

 private:
  template <class Use>
  void ForPhases(Use use) const {
    float* data = data_;
    for (int64_t phase_y = 0; phase_y < c_.stride; ++phase_y) {
      for (int64_t phase_x = 0; phase_x < c_.stride; ++phase_x) {
        const Phase of_y(phase_y, c_.stride, c_.padding, c_.kernel_height);
        const Phase of_x(phase_x, c_.stride, c_.padding, c_.kernel_width);
        const Panels panels = {of_y.count * of_x.count * c_.outputs, RoundUp(c_.inputs, kLanes),
                               data};
        use(phase_y, phase_x, of_y, of_x, panels);
        data += panels.size();
      }
    }
  }

  const Convolution& c_;
  float* data_;
};

}  // namespace
}  // namespace RASTERIZER_ISA
}  // namespace layers

#endif  // PONY_JAX_LAYERS_CPU_CONVOLUTION_H_
