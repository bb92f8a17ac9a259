// Triangles that leave the frustum -w <= x, y, z <= w, cut to what is inside of it.
//
// Two triangles that share an edge must cut it at the same points, bit for bit: else the lines that
// are drawn between the snapped points differ, which leaves holes and pixels drawn twice along
// them. So everything on an edge is a function of that edge alone, whichever triangle asks: points
// are computed from its ends, in an order given by their positions.
//
// Depth is another matter: neighbours need not agree on it, but of two triangles in the same place
// the later one is seen only if both have the same depth to the last bit. It comes from weights of
// the vertices in single precision, computed as nvdiffrast does, so that it is equal where it is so
// there.

#ifndef RASTERIZER_FFI_SHARED_CLIPPING_H_
#define RASTERIZER_FFI_SHARED_CLIPPING_H_

#include "snapping.h"

namespace rasterizer {
namespace RASTERIZER_ISA {
namespace {

constexpr int kMaxClipped = 9;  // each of six planes adds at most one corner to three

// A corner of what is left of a triangle.
struct ClippedCorner {
  enum Place : int8_t { kVertex = 0, kEdge = 3, kInterior = 6 };  // kVertex + k, kEdge + k
  double u, v;   // on an edge: u is how far from its first end; else weights of vertices 1 and 2
  float weight1, weight2;  // of vertices 1 and 2, for the depth
  int8_t place;
  int8_t side;   // the triangle's edge that the polygon follows from here on; kPlane for none

  static constexpr int8_t kPlane = 3;
};

// An affine function of the weights, in single precision.
struct AffineFunction {
  float at0, by1, by2;

  RASTERIZER_HD float operator()(float weight1, float weight2) const {
    return at0 + by1 * weight1 + by2 * weight2;
  }
};

// Edge k leads from vertex k to vertex k + 1; `first` and `second` are these in an order that does
// not depend on the triangle.
struct ClippedTriangle {
  const float* pos[3];
  int8_t first[3], second[3];

  RASTERIZER_HD ClippedTriangle(const float* v0, const float* v1, const float* v2)
      : pos{v0, v1, v2} {
    for (int8_t k = 0; k < 3; ++k) {
      const int8_t next = k == 2 ? 0 : static_cast<int8_t>(k + 1);
      const bool swap = Before(pos[next], pos[k]);
      first[k] = swap ? next : k;
      second[k] = swap ? k : next;
    }
  }

  RASTERIZER_HD static bool Before(const float* a, const float* b) {
    for (int k = 0; k < 4; ++k) {
      if (a[k] != b[k]) return a[k] < b[k];
    }
    return false;
  }

  // What an affine function, given at the three vertices, is at a corner.
  RASTERIZER_HD double At(const ClippedCorner& corner, const double* f) const {
    if (corner.place < ClippedCorner::kEdge) return f[corner.place];
    if (corner.place < ClippedCorner::kInterior) {
      const int edge = corner.place - ClippedCorner::kEdge;
      return f[first[edge]] + corner.u * (f[second[edge]] - f[first[edge]]);
    }
    return f[0] + corner.u * (f[1] - f[0]) + corner.v * (f[2] - f[0]);
  }

  // Coordinate k as a function of the weights.
  RASTERIZER_HD AffineFunction Coordinate(int k) const {
    return {pos[0][k], pos[1][k] - pos[0][k], pos[2][k] - pos[0][k]};
  }

  // The point where the side from corner a to corner b crosses the plane f = 0.
  RASTERIZER_HD ClippedCorner Cross(const ClippedCorner& a, const ClippedCorner& b,
                                    const double* f, const AffineFunction& single) const {
    ClippedCorner cut = {};
    const float single_a = single(a.weight1, a.weight2), single_b = single(b.weight1, b.weight2);
    const float share = Min(Max(single_a / (single_a - single_b), 0.0f), 1.0f), rest = 1.0f - share;
    cut.weight1 = a.weight1 * rest + b.weight1 * share;
    cut.weight2 = a.weight2 * rest + b.weight2 * share;
    if (a.side != ClippedCorner::kPlane) {
      const double f0 = f[first[a.side]], f1 = f[second[a.side]];
      cut.u = Min(Max(f0 / (f0 - f1), 0.0), 1.0);
      cut.place = static_cast<int8_t>(ClippedCorner::kEdge + a.side);
      return cut;
    }
    const double weight1[3] = {0.0, 1.0, 0.0}, weight2[3] = {0.0, 0.0, 1.0};
    const double fa = At(a, f), fb = At(b, f), t = fa / (fa - fb);
    const double ua = At(a, weight1), va = At(a, weight2);
    cut.u = ua + t * (At(b, weight1) - ua);
    cut.v = va + t * (At(b, weight2) - va);
    cut.place = ClippedCorner::kInterior;
    return cut;
  }

  // Cuts a polygon with the half-space f >= 0; `single` is f in single precision. Returns the number of corners that are left, at most
  // one more than before. The corner before a cut side decides where what is left begins.
  RASTERIZER_HD int Cut(const ClippedCorner* in, int count, const double* f,
                        const AffineFunction& single, ClippedCorner* out) const {
    double value[kMaxClipped];
    int lowest = 0;
    for (int i = 0; i < count; ++i) {
      value[i] = At(in[i], f);
      if (value[i] < value[lowest]) lowest = i;
    }
    // The corners that are cut off are one run, in a polygon that is convex but for rounding.
    int begin = lowest, length = value[lowest] < 0.0 ? 1 : 0;
    while (length > 0 && length < count && value[begin == 0 ? count - 1 : begin - 1] < 0.0) {
      begin = begin == 0 ? count - 1 : begin - 1;
      ++length;
    }
    while (length > 0 && length < count && value[(begin + length) % count] < 0.0) ++length;
    if (length == count) return 0;

    int written = 0;
    for (int i = 0; i < count; ++i) {
      const int previous = i == 0 ? count - 1 : i - 1;
      const bool cut_before = (previous - begin + count) % count < length;
      const bool cut = (i - begin + count) % count < length;
      if (cut != cut_before) {
        out[written] = Cross(in[previous], in[i], f, single);
        out[written++].side = cut ? ClippedCorner::kPlane : in[previous].side;
      }
      if (!cut) out[written++] = in[i];
    }
    return written;
  }
};

// Twice the area of a triangle on the lattice.
RASTERIZER_HD inline int64_t LatticeArea(const Snapped& a, const Snapped& b, const Snapped& c) {
  return static_cast<int64_t>(b.x - a.x) * (c.y - a.y) -
         static_cast<int64_t>(c.x - a.x) * (b.y - a.y);
}

// The corner of a polygon from which the triangles of a fan all turn the same way: the first, unless
// snapping has bent the polygon inwards. Others would also cover what is outside of the polygon.
RASTERIZER_HD inline int FanApex(const Snapped* corners, int count) {
  for (int apex = 0; apex < count; ++apex) {
    bool left = false, right = false;
    for (int k = 2; k < count; ++k) {
      const int64_t area = LatticeArea(corners[apex], corners[(apex + k - 1) % count],
                                       corners[(apex + k) % count]);
      left = left || area > 0;
      right = right || area < 0;
    }
    if (!(left && right)) return apex;
  }
  return 0;
}

// Clips a triangle against the six planes of the frustum and snaps the corners of what is left, to
// be drawn as a fan around the first. Returns the number of corners: 0, or 3 to kMaxClipped.
RASTERIZER_HD inline int ClipAndSnap(const float* pos, const int32_t* tri, float half_width,
                                     float half_height, Snapped* corners) {
  const ClippedTriangle triangle(pos + 4 * static_cast<int64_t>(tri[0]),
                                 pos + 4 * static_cast<int64_t>(tri[1]),
                                 pos + 4 * static_cast<int64_t>(tri[2]));
  ClippedCorner polygon[2][kMaxClipped];
  for (int8_t k = 0; k < 3; ++k) {
    polygon[0][k] = {0.0, 0.0, k == 1 ? 1.0f : 0.0f, k == 2 ? 1.0f : 0.0f, k, k};
  }
  const AffineFunction z_single = triangle.Coordinate(2), w_single = triangle.Coordinate(3);
  int count = 3;
  int current = 0;
  for (int axis = 0; axis < 3; ++axis) {
    for (int side = 0; side < 2; ++side) {
      double f[3];
      for (int k = 0; k < 3; ++k) {
        const double w = triangle.pos[k][3], x = triangle.pos[k][axis];
        f[k] = side == 0 ? w + x : w - x;
      }
      if (f[0] >= 0.0 && f[1] >= 0.0 && f[2] >= 0.0) continue;
      const AffineFunction x = triangle.Coordinate(axis);
      const float sign = side == 0 ? 1.0f : -1.0f;
      const AffineFunction single = {w_single.at0 + sign * x.at0, w_single.by1 + sign * x.by1,
                                     w_single.by2 + sign * x.by2};
      count = triangle.Cut(polygon[current], count, f, single, polygon[1 - current]);
      current = 1 - current;
      if (count < 3) return 0;
    }
  }
  for (int i = 0; i < count; ++i) {
    const ClippedCorner& corner = polygon[current][i];
    float p[4];
    for (int k = 0; k < 4; ++k) {
      const double f[3] = {triangle.pos[0][k], triangle.pos[1][k], triangle.pos[2][k]};
      p[k] = static_cast<float>(triangle.At(corner, f));
    }
    // Rounding may leave a corner just outside of a plane that it was cut with.
    for (int k = 0; k < 3; ++k) p[k] = Min(Max(p[k], -p[3]), p[3]);
    corners[i] = Snap(p, half_width, half_height);
    if (!corners[i].inside) return 0;  // w is 0 or something is not finite
    corners[i].depth = SnappedDepth(z_single(corner.weight1, corner.weight2),
                                    1.0f / w_single(corner.weight1, corner.weight2));
  }
  for (int apex = FanApex(corners, count); apex > 0; --apex) {  // begin with the apex
    const Snapped first = corners[0];
    for (int i = 1; i < count; ++i) corners[i - 1] = corners[i];
    corners[count - 1] = first;
  }
  return count;
}

}  // namespace
}  // namespace RASTERIZER_ISA
}  // namespace rasterizer

#endif  // RASTERIZER_FFI_SHARED_CLIPPING_H_
