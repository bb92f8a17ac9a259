// Images with a border, where windows reach beyond them.

#ifndef PONY_JAX_KERNELS_CPU_PADDED_H_
#define PONY_JAX_KERNELS_CPU_PADDED_H_

#include "tile.h"

namespace pony {
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

}  // namespace
}  // namespace RASTERIZER_ISA
}  // namespace pony

#endif  // PONY_JAX_KERNELS_CPU_PADDED_H_
