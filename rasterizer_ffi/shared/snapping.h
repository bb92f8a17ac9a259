// From clip space to the lattice of a sixteenth of a pixel that decides coverage and visibility.

#ifndef RASTERIZER_FFI_SHARED_SNAPPING_H_
#define RASTERIZER_FFI_SHARED_SNAPPING_H_

#include "portable.h"

namespace rasterizer {
namespace RASTERIZER_ISA {
namespace {

constexpr int kSubpixels = 16;  // the lattice that vertices are snapped to, per pixel
constexpr uint32_t kFarthest = 0xffffffffu;  // depth where nothing is drawn

// A vertex in lattice coordinates around the image centre. `inside`: -w <= x, y, z <= w and w > 0;
// otherwise the rest means nothing and the triangle is clipped first. The depth z/w is mapped from
// [-1, 1] to the range of uint32_t less a margin, which the rounding of a triangle's plane may use.
struct Snapped {
  int32_t x;
  int32_t y;
  float depth;
  int32_t inside;
};

constexpr float kDepthScale = 2147465984.0f;   // 2^31 - 17664
constexpr float kDepthOffset = 2147483648.0f;  // 2^31
constexpr float kDepthLimit = 4294967040.0f;   // the largest float below 2^32

// Rounds half to even. The argument is below 2^22 in magnitude: images have at most 2^15 rows and
// columns.
RASTERIZER_HD inline int32_t RoundToLattice(float x) {
  const float shift = 12582912.0f;  // 1.5 * 2^23: here floats are the integers
  return static_cast<int32_t>((x + shift) - shift);
}

RASTERIZER_HD inline float SnappedDepth(float z, float inverse_w) {
  const float depth = z * kDepthScale * inverse_w + kDepthOffset;
  const float positive = depth > 0.0f ? depth : 0.0f;  // 0 for NaN, where products overflowed
  return positive < kDepthLimit ? positive : kDepthLimit;
}

RASTERIZER_HD inline Snapped Snap(const float* p, float half_width, float half_height) {
  const float x = p[0], y = p[1], z = p[2], w = p[3];
  const bool inside = w > 0.0f && w >= x && w >= -x && w >= y && w >= -y && w >= z && w >= -z &&
                      w < 3e38f;
  const float inverse_w = 1.0f / (inside ? w : 1.0f);
  Snapped s;
  s.x = RoundToLattice(inside ? x * inverse_w * half_width : 0.0f);
  s.y = RoundToLattice(inside ? y * inverse_w * half_height : 0.0f);
  s.depth = SnappedDepth(inside ? z : 0.0f, inverse_w);
  s.inside = inside;
  return s;
}

// One past the last and the first triangle that an image draws; ranges come from outside.
RASTERIZER_HD inline void ImageTriangles(const Geometry& g, int64_t image, int64_t* begin,
                                         int64_t* end) {
  *begin = 0;
  *end = g.num_triangles;
  if (g.ranges != nullptr) {
    const int64_t first = g.ranges[2 * image], count = g.ranges[2 * image + 1];
    *begin = Min(Max(first, int64_t{0}), g.num_triangles);
    *end = Min(Max(first + Max(count, int64_t{0}), *begin), g.num_triangles);
  }
}

}  // namespace
}  // namespace RASTERIZER_ISA
}  // namespace rasterizer

#endif  // RASTERIZER_FFI_SHARED_SNAPPING_H_
