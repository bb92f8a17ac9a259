// The depth of a triangle at the pixels it covers, in integers: which of two triangles is in front,
// or whether they are equally deep, must not depend on where in the image one begins to compute.
// The numbers are nvdiffrast's wherever a triangle fits its largest viewport.

#ifndef RASTERIZER_FFI_SHARED_DEPTH_H_
#define RASTERIZER_FFI_SHARED_DEPTH_H_

#include <string.h>

#include "snapping.h"

namespace rasterizer {
namespace RASTERIZER_ISA {
namespace {

constexpr int64_t kMaxExactExtent = 1 << 15;  // lattice units: 2048 pixels

// Depth modulo 2^32 at pixel (0, 0), and its steps along columns and rows. It is exact modulo 2^32
// at every pixel, and within the triangle it is less than 2^32.
struct DepthPlane {
  uint32_t origin, dx, dy;

  RASTERIZER_HD uint32_t At(int32_t column, int32_t row) const {
    return origin + static_cast<uint32_t>(column) * dx + static_cast<uint32_t>(row) * dy;
  }
};

RASTERIZER_HD inline int32_t FloatBits(float x) {
  int32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

// A double rounded to the nearest integer, modulo 2^32. The bound makes the trick of adding
// 1.5 * 2^52, after which the low bits of the mantissa are the integer, work for any input.
RASTERIZER_HD inline uint32_t RoundModulo32(double x) {
  const double bound = 1125899906842624.0;  // 2^50
  x = x < bound ? x : bound;
  x = x > -bound ? x : -bound;
  x += 6755399441055744.0;
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  return static_cast<uint32_t>(bits);
}

// Products here wrap modulo 2^64, as integers without a sign do; shifts keep the sign.
RASTERIZER_HD inline int64_t Times(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
}

// Whether 32 bits hold the edge functions of a triangle, and 64 bits the arithmetic of its depth.
RASTERIZER_HD inline bool FitsExactly(const int32_t* x, const int32_t* y) {
  const int64_t width = static_cast<int64_t>(Max(x[0], Max(x[1], x[2]))) -
                        Min(x[0], Min(x[1], x[2]));
  const int64_t height = static_cast<int64_t>(Max(y[0], Max(y[1], y[2]))) -
                         Min(y[0], Min(y[1], y[2]));
  return width <= kMaxExactExtent && height <= kMaxExactExtent;
}

// The plane of a triangle with `area`, twice its signed area in lattice units, which is not 0.
// `centre_x`, `centre_y`: where pixel (0, 0) has its centre on the lattice, negated.
RASTERIZER_HD inline DepthPlane PlaneOfDepth(const int32_t* x, const int32_t* y, const float* depth,
                                             int64_t area, int32_t centre_x, int32_t centre_y) {
  // Counter-clockwise, from the first vertex.
  const int second = area > 0 ? 1 : 2, third = 3 - second;
  const int64_t dx1 = static_cast<int64_t>(x[second]) - x[0], dy1 = static_cast<int64_t>(y[second]) - y[0];
  const int64_t dx2 = static_cast<int64_t>(x[third]) - x[0], dy2 = static_cast<int64_t>(y[third]) - y[0];
  const int64_t x0 = static_cast<int64_t>(x[0]) + centre_x, y0 = static_cast<int64_t>(y[0]) + centre_y;
  DepthPlane plane;
  if (!FitsExactly(x, y)) {
    const double z0 = depth[0], z1 = depth[second] - z0, z2 = depth[third] - z0;
    const double scale = kSubpixels / static_cast<double>(area < 0 ? -area : area);
    const double slope_x = (z1 * dy2 - z2 * dy1) * scale, slope_y = (z2 * dx1 - z1 * dx2) * scale;
    plane.dx = RoundModulo32(slope_x);
    plane.dy = RoundModulo32(slope_y);
    // The pixel nearest to vertex 0: from there the steps are exact.
    const int64_t column = (x0 + kSubpixels / 2) >> 4, row = (y0 + kSubpixels / 2) >> 4;
    const double along_x = static_cast<double>(column * kSubpixels - x0) / kSubpixels;
    const double along_y = static_cast<double>(row * kSubpixels - y0) / kSubpixels;
    plane.origin = RoundModulo32(z0 + slope_x * along_x + slope_y * along_y) -
                   static_cast<uint32_t>(column) * plane.dx - static_cast<uint32_t>(row) * plane.dy;
    return plane;
  }

  // Depths as integers of at most 24 bits, and 1 / area as a mantissa of 24 bits and a shift.
  const float deepest = Max(depth[0], Max(depth[1], depth[2]));
  const int coarse = Min(Max((FloatBits(deepest) >> 23) - 149, 0), 8);
  const int64_t z0 = static_cast<uint32_t>(depth[0]) >> coarse;
  const int64_t z1 = (static_cast<uint32_t>(depth[second]) >> coarse) - z0;
  const int64_t z2 = (static_cast<uint32_t>(depth[third]) >> coarse) - z0;
  const int32_t inverse = FloatBits(1.0f / static_cast<float>(area < 0 ? -area : area));
  const int64_t mantissa = (inverse & 0x7fffff) | 0x800000;
  const int shift = 150 - (inverse >> 23) - coarse;  // of a slope per lattice unit

  const int64_t slope_x = Times(z1 * dy2 - z2 * dy1, mantissa);
  const int64_t slope_y = Times(z2 * dx1 - z1 * dx2, mantissa);
  plane.dx = static_cast<uint32_t>(slope_x >> (shift - 4));
  plane.dy = static_cast<uint32_t>(slope_y >> (shift - 4));
  // From vertex 0 to the pixel in the middle of the bounding box; from there by whole pixels.
  const int64_t sum_x = Min(dx1, Min(dx2, int64_t{0})) + Max(dx1, Max(dx2, int64_t{0}));
  const int64_t sum_y = Min(dy1, Min(dy2, int64_t{0})) + Max(dy1, Max(dy2, int64_t{0}));
  const int64_t column = (2 * x0 + sum_x) >> 5, row = (2 * y0 + sum_y) >> 5;
  const int64_t back_x = Times(slope_x >> 13, x0 - column * kSubpixels);
  const int64_t back_y = Times(slope_y >> 13, y0 - row * kSubpixels);
  const int64_t back = static_cast<int64_t>(static_cast<uint64_t>(back_x) +
                                            static_cast<uint64_t>(back_y)) >> (shift - 13);
  plane.origin = (static_cast<uint32_t>(z0) << coarse) - static_cast<uint32_t>(back) -
                 static_cast<uint32_t>(column) * plane.dx - static_cast<uint32_t>(row) * plane.dy;
  return plane;
}

}  // namespace
}  // namespace RASTERIZER_ISA
}  // namespace rasterizer

#endif  // RASTERIZER_FFI_SHARED_DEPTH_H_
