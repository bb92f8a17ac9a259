// Where silhouette edges cross the lines between the centres of neighbouring pixels (Laine et al.
// 2020, section 3.5), and how that moves with the vertices.

#ifndef RASTERIZER_FFI_SHARED_SILHOUETTE_H_
#define RASTERIZER_FFI_SHARED_SILHOUETTE_H_

#include "portable.h"

namespace rasterizer {
namespace RASTERIZER_ISA {
namespace {

constexpr float kLowest = -3.402823466e38f;
constexpr float kEdgeSlack = 0.0625f;  // a sixteenth of a pixel: vertices were snapped that far

// F: float, or a vector of them.
template <class F>
struct PlanePoint {
  F x, y;
};
using Point = PlanePoint<float>;

// The silhouette edge between two neighbouring pixels.
struct Crossing {
  float alpha;        // > 0: pixel 0 becomes (1-alpha) c0 + alpha c1; < 0: pixel 1, with -alpha
  int32_t vertex[2];  // ends of the edge; only set if alpha != 0
  bool second;        // the edge belongs to the triangle of pixel 1
};

RASTERIZER_HD inline bool SameSign(float a, float b) {
  return (__builtin_signbit(a) != 0) == (__builtin_signbit(b) != 0);
}

template <class F>
RASTERIZER_HD inline F Abs(F a) {
  return a < 0.0f ? -a : a;
}

template <class F>
RASTERIZER_HD inline F Cross(const PlanePoint<F>& a, const PlanePoint<F>& b,
                             const PlanePoint<F>& origin) {
  return (a.x - origin.x) * (b.y - origin.y) - (b.x - origin.x) * (a.y - origin.y);
}

// a / da > b / db, without dividing.
RASTERIZER_HD inline bool RatioGreater(float a, float da, float b, float db) {
  return (a * db > b * da) == SameSign(da, db);
}

// Where a vertex is, in pixels from the image centre.
RASTERIZER_HD inline Point PointOfVertex(const float* pos, float half_width, float half_height) {
  const float inverse_w = 1.0f / pos[3];
  return {pos[0] * inverse_w * half_width, pos[1] * inverse_w * half_height};
}

// Whether edge k of a triangle p, which faces vertex k, is no silhouette: `far`, the vertex on its
// far side, is clearly on the other side. `extent`: half the image's width plus half its height.
// An edge is ruled out only where rounding cannot matter: the decision itself is taken relative to
// a pixel.
template <class F>
RASTERIZER_HD inline auto RuledOut(const PlanePoint<F> p[3], int k, const PlanePoint<F>& far,
                                   float extent) {
  const PlanePoint<F>&a = p[k == 2 ? 0 : k + 1], &b = p[k == 0 ? 2 : k - 1];
  const F area = Cross(p[1], p[2], p[0]), side = Cross(a, b, far);
  const F size = Abs(a.x - far.x) + Abs(a.y - far.y) + Abs(b.x - far.x) + Abs(b.y - far.y) +
                 Abs(p[k].x - a.x) + Abs(p[k].y - a.y);
  const F slack = 1e-5f * size * (extent + size);
  return ((side > slack) & (area < -slack)) | ((side < -slack) & (area > slack));
}

// Bit k: edge k of a triangle may be a silhouette.
RASTERIZER_HD inline int32_t PossibleEdges(const AntialiasForward& args, int64_t triangle,
                                           const Point* points, float extent) {
  const Geometry& g = args.geometry;
  const int32_t* tri = g.tri + 3 * triangle;
  if (!IndicesValid(tri, g.num_vertices)) return 0;
  const Point p[3] = {points[tri[0]], points[tri[1]], points[tri[2]]};
  int32_t possible = 0;
  for (int k = 0; k < 3; ++k) {
    const int32_t opposite = args.opposite[3 * triangle + k];
    const bool open = static_cast<uint32_t>(opposite) >= static_cast<uint64_t>(g.num_vertices);
    const bool ruled_out = !open && RuledOut(p, k, points[opposite], extent);
    possible |= static_cast<int32_t>(!ruled_out) << k;
  }
  return possible;
}

// Finds the crossings of one image and their gradients.
class Silhouette {
 public:
  // Tables make the search among all pairs fast; where it is known which pairs are crossed, null
  // does as well. `points`: PointOfVertex of all vertices. `edges_by_id`: 0 for the background, then
  // PossibleEdges of all triangles.
  RASTERIZER_HD Silhouette(const AntialiasForward& args, int64_t image, const Point* points,
                           const int32_t* edges_by_id)
      : args_(args), geometry_(args.geometry), pos_(args.geometry.ImagePos(image)),
        points_(points), edges_(edges_by_id),
        half_width_(0.5f * static_cast<float>(args.geometry.width)),
        half_height_(0.5f * static_cast<float>(args.geometry.height)) {}

  // The pair of pixel (column, row) with its right (vertical = false) or next-row neighbour.
  RASTERIZER_HD Crossing Find(const float* rast0, const float* rast1, int64_t column, int64_t row,
                              bool vertical) const {
    const Crossing none = {};
    const int64_t t0 = TriangleOfPixel(rast0, geometry_.num_triangles);
    const int64_t t1 = TriangleOfPixel(rast1, geometry_.num_triangles);
    if (t0 == t1) return none;
    // The nearer triangle has the edge.
    const bool first = t1 < 0 || (t0 >= 0 && rast0[2] < rast1[2]);
    const int64_t triangle = first ? t0 : t1;
    // Where an edge is possible, the indices are known to be valid.
    const int32_t possible = edges_ != nullptr ? edges_[triangle + 1] : 7;
    if (possible == 0) return none;
    if (!first) (vertical ? row : column) += 1;
    const int32_t* tri = geometry_.tri + 3 * triangle;

    const Point centre = Centre(column, row);
    Point p[3];
    for (int k = 0; k < 3; ++k) p[k] = Relative(tri[k], centre);

    // The edges as functions of the coordinate across the pair. Edge k faces vertex k.
    float dx[3], dy[3], distance[3];
    const float towards = first ? 1.0f : -1.0f;
    for (int k = 0; k < 3; ++k) {
      const Point a = p[(k + 1) % 3], b = p[(k + 2) % 3];
      const float ax = vertical ? a.y : a.x, ay = vertical ? a.x : a.y;
      const float bx = vertical ? b.y : b.x, by = vertical ? b.x : b.y;
      dx[k] = bx - ax;
      dy[k] = by - ay;
      distance[k] = towards * (ax * dy[k] - ay * dx[k]);
      if (SameSign(ay, by)) {  // does not cross the line through the pixel centres
        distance[k] = kLowest;
        dy[k] = 1.0f;
      }
    }
    int k = 0;
    if (RatioGreater(distance[2], dy[2], distance[0], dy[0]) &&
        RatioGreater(distance[2], dy[2], distance[1], dy[1])) {
      k = 2;
    } else if (RatioGreater(distance[1], dy[1], distance[0], dy[0])) {
      k = 1;
    }
    if (!(possible >> k & 1)) return none;
    // Only edges that run more across the pair than along it: the others belong to the other pairs.
    if (!(__builtin_fabsf(dy[k]) >= __builtin_fabsf(dx[k]))) return none;
    const float at = distance[k] / dy[k];
    if (!(at > -kEdgeSlack && at < 1.0f + kEdgeSlack)) return none;
    if (!IsSilhouette(triangle, k, p, centre)) return none;

    const float clamped = Min(Max(at, 0.0f), 1.0f);
    Crossing crossing;
    crossing.alpha = towards * (0.5f - clamped);
    crossing.second = !first;
    crossing.vertex[0] = tri[(k + 1) % 3];
    crossing.vertex[1] = tri[(k + 2) % 3];
    return crossing;
  }

  // Adds factor * dalpha/dpos to the sums. The gradient ends where the crossing was clamped.
  template <class Add>
  RASTERIZER_HD void AddGradient(const Crossing& crossing, int64_t column, int64_t row,
                                 bool vertical, float factor, float* sums, Add add) const {
    if (__builtin_fabsf(crossing.alpha) >= 0.5f) return;
    if (crossing.second) (vertical ? row : column) += 1;
    const Point centre = Centre(column, row);
    const Point a = Relative(crossing.vertex[0], centre), b = Relative(crossing.vertex[1], centre);
    const float ax = vertical ? a.y : a.x, ay = vertical ? a.x : a.y;
    const float bx = vertical ? b.y : b.x, by = vertical ? b.x : b.y;
    const float dx = bx - ax, dy = by - ay;
    const float inverse = 1.0f / (dy + __builtin_copysignf(1e-3f, dy));
    const float at = (ax * dy - ay * dx) * inverse;
    // alpha = const - at, whichever pixel the edge was found from.
    const float scale = -factor * inverse;
    const float along_a = scale * by, across_a = scale * (at - bx);
    const float along_b = -scale * ay, across_b = scale * (ax - at);
    AddVertex(crossing.vertex[0], vertical ? across_a : along_a, vertical ? along_a : across_a,
              sums, add);
    AddVertex(crossing.vertex[1], vertical ? across_b : along_b, vertical ? along_b : across_b,
              sums, add);
  }

 private:
  // Of a pixel, in pixels from the image centre.
  RASTERIZER_HD Point Centre(int64_t column, int64_t row) const {
    return {static_cast<float>(static_cast<int32_t>(column)) + 0.5f - half_width_,
            static_cast<float>(static_cast<int32_t>(row)) + 0.5f - half_height_};
  }

  RASTERIZER_HD Point Relative(int32_t vertex, Point centre) const {
    const Point point = points_ != nullptr
                            ? points_[vertex]
                            : PointOfVertex(pos_ + 4 * static_cast<int64_t>(vertex), half_width_,
                                            half_height_);
    return {point.x - centre.x, point.y - centre.y};
  }

  // Whether both triangles at edge k lie on the same side of it, or there is only one.
  RASTERIZER_HD bool IsSilhouette(int64_t triangle, int k, const Point* p, Point centre) const {
    const int32_t opposite = args_.opposite[3 * triangle + k];
    if (static_cast<uint32_t>(opposite) >= static_cast<uint64_t>(geometry_.num_vertices)) {
      return true;
    }
    const Point far = Relative(opposite, centre);
    return SameSign(Cross(p[(k + 1) % 3], p[(k + 2) % 3], far), Cross(p[1], p[2], p[0]));
  }

  template <class Add>
  RASTERIZER_HD void AddVertex(int32_t vertex, float gx, float gy, float* sums, Add add) const {
    const float* p = pos_ + 4 * static_cast<int64_t>(vertex);
    float* sum = sums + 4 * static_cast<int64_t>(vertex);
    const float inverse_w = 1.0f / p[3];
    gx *= half_width_ * inverse_w;
    gy *= half_height_ * inverse_w;
    add(&sum[0], gx);
    add(&sum[1], gy);
    add(&sum[3], -((p[0] * gx + p[1] * gy) * inverse_w));
  }

  const AntialiasForward& args_;
  const Geometry& geometry_;
  const float* pos_;
  const Point* points_;
  const int32_t* edges_;
  float half_width_, half_height_;
};

}  // namespace
}  // namespace RASTERIZER_ISA
}  // namespace rasterizer

#endif  // RASTERIZER_FFI_SHARED_SILHOUETTE_H_
