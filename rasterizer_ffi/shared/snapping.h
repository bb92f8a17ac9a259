// From clip space to the lattice of a sixteenth of a pixel that decides coverage and visibility.

#ifndef RASTERIZER_FFI_SHARED_SNAPPING_H_
#define RASTERIZER_FFI_SHARED_SNAPPING_H_

#include <string.h>

#include "portable.h"

namespace rasterizer {
namespace RASTERIZER_ISA {
namespace {

constexpr int kSubpixels = 16;  // the lattice that vertices are snapped to, per pixel
constexpr int kMaxClipped = 9;  // a triangle cut by six planes has at most nine corners

// A depth unit is 2^-32 of the range -1 <= z/w <= 1, less a margin for the rounding of the slopes.
constexpr double kDepthScale = 2147483648.0 - 32768.0;
constexpr double kDepthOffset = 2147483648.0;
constexpr uint32_t kFarthest = 0xffffffffu;

// A vertex in lattice coordinates around the image centre. `inside`: -w <= x, y, z <= w and w > 0;
// otherwise x, y, z/w mean nothing and the triangle is clipped first.
struct Snapped {
  int32_t x;
  int32_t y;
  float zw;
  int32_t inside;
};

// Rounds half to even. The argument is below 2^22 in magnitude.
RASTERIZER_HD inline int32_t RoundToLattice(float x) {
  const float shift = 12582912.0f;  // 1.5 * 2^23: here floats are the integers
  return static_cast<int32_t>((x + shift) - shift);
}

RASTERIZER_HD inline Snapped Snap(const float* p, float half_width, float half_height) {
  const float x = p[0], y = p[1], z = p[2], w = p[3];
  const bool inside = w > 0.0f && w >= x && w >= -x && w >= y && w >= -y && w >= z && w >= -z &&
                      w < 3e38f;
  const float inverse_w = 1.0f / (inside ? w : 1.0f);
  Snapped s;
  s.x = RoundToLattice(inside ? x * inverse_w * half_width : 0.0f);
  s.y = RoundToLattice(inside ? y * inverse_w * half_height : 0.0f);
  s.zw = inside ? z * inverse_w : 0.0f;
  s.inside = inside;
  return s;
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

// Cuts a polygon, given by barycentric weights (b1, b2), with the half-space where the affine
// function f of the weights, with values f0, f1, f2 at the triangle's corners, is >= 0. The edge
// into corner i comes before the corner: this order decides where the fan of what is left begins.
RASTERIZER_HD inline int ClipPolygon(const float (*in)[2], int count, float f0, float f1, float f2,
                                     float (*out)[2]) {
  int written = 0;
  for (int i = 0; i < count; ++i) {
    const float* a = in[i == 0 ? count - 1 : i - 1];
    const float* b = in[i];
    const float fa = f0 + a[0] * (f1 - f0) + a[1] * (f2 - f0);
    const float fb = f0 + b[0] * (f1 - f0) + b[1] * (f2 - f0);
    if ((fa >= 0.0f) != (fb >= 0.0f)) {
      const float t = fa / (fa - fb);
      out[written][0] = a[0] + t * (b[0] - a[0]);
      out[written][1] = a[1] + t * (b[1] - a[1]);
      ++written;
    }
    if (fb >= 0.0f) {
      out[written][0] = b[0];
      out[written][1] = b[1];
      ++written;
    }
  }
  return written;
}

// Clips a triangle against the six planes of the frustum and snaps the corners of what is left.
// Returns the number of corners: 0, or 3 to kMaxClipped.
RASTERIZER_HD inline int ClipAndSnap(const float* pos, const int32_t* tri, float half_width,
                                     float half_height, Snapped* corners) {
  const float* v0 = pos + 4 * static_cast<int64_t>(tri[0]);
  const float* v1 = pos + 4 * static_cast<int64_t>(tri[1]);
  const float* v2 = pos + 4 * static_cast<int64_t>(tri[2]);
  float polygon[2][2 * kMaxClipped][2] = {{{0, 0}, {1, 0}, {0, 1}}};
  int count = 3;
  int current = 0;
  for (int axis = 0; axis < 3 && count > 0; ++axis) {
    for (int side = 0; side < 2 && count > 0; ++side) {
      const float sign = side == 0 ? 1.0f : -1.0f;
      const float f0 = v0[3] + sign * v0[axis];
      const float f1 = v1[3] + sign * v1[axis];
      const float f2 = v2[3] + sign * v2[axis];
      if (f0 >= 0.0f && f1 >= 0.0f && f2 >= 0.0f) continue;
      count = ClipPolygon(polygon[current], count, f0, f1, f2, polygon[1 - current]);
      current = 1 - current;
    }
  }
  if (count < 3) return 0;
  for (int i = 0; i < count; ++i) {
    const float b1 = polygon[current][i][0], b2 = polygon[current][i][1];
    float p[4];
    for (int k = 0; k < 4; ++k) p[k] = v0[k] + b1 * (v1[k] - v0[k]) + b2 * (v2[k] - v0[k]);
    // Rounding may leave a corner just outside of a plane that it was cut with.
    for (int k = 0; k < 3; ++k) p[k] = Min(Max(p[k], -p[3]), p[3]);
    corners[i] = Snap(p, half_width, half_height);
    if (!corners[i].inside) return 0;  // w is 0 or something is not finite
  }
  return count;
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
