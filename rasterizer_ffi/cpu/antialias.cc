// Analytic antialiasing (Laine et al. 2020, section 3.5): two neighbouring pixels that show different
// triangles are blended by where the silhouette edge between them crosses the line through their
// centres. This is what gives coverage, and so the silhouette, a gradient.

#include "accumulate.h"

namespace rasterizer {
namespace RASTERIZER_ISA {
namespace {

constexpr float kLowest = -3.402823466e38f;
constexpr float kEdgeSlack = 0.0625f;  // a sixteenth of a pixel: vertices were snapped that far

struct Point {
  float x, y;
};

// The silhouette edge between two neighbouring pixels.
struct Crossing {
  float alpha;         // > 0: pixel 0 becomes (1-alpha) c0 + alpha c1; < 0: pixel 1 the same with -alpha
  int32_t vertex[2];   // ends of the edge; only set if alpha != 0
  bool second;         // the edge belongs to the triangle of pixel 1
};

inline bool SameSign(float a, float b) { return __builtin_signbit(a) == __builtin_signbit(b); }

inline float Cross(Point a, Point b, Point origin) {
  return (a.x - origin.x) * (b.y - origin.y) - (b.x - origin.x) * (a.y - origin.y);
}

// a / da > b / db, without dividing.
inline bool RatioGreater(float a, float da, float b, float db) {
  return (a * db > b * da) == SameSign(da, db);
}

class Silhouette {
 public:
  Silhouette(const AntialiasForward& args, int64_t image)
      : args_(args), geometry_(args.geometry), pos_(args.geometry.ImagePos(image)),
        half_width_(0.5f * static_cast<float>(args.geometry.width)),
        half_height_(0.5f * static_cast<float>(args.geometry.height)) {}

  // The pair of pixel (column, row) with its right (vertical = false) or next-row neighbour.
  Crossing Find(const float* rast0, const float* rast1, int64_t column, int64_t row,
                bool vertical) const {
    const Crossing none = {};
    if (rast0[3] == rast1[3]) return none;
    const int64_t t0 = TriangleOfPixel(rast0, geometry_.num_triangles);
    const int64_t t1 = TriangleOfPixel(rast1, geometry_.num_triangles);
    if (t0 == t1) return none;
    // The nearer triangle has the edge.
    const bool first = t1 < 0 || (t0 >= 0 && rast0[2] < rast1[2]);
    const int64_t triangle = first ? t0 : t1;
    if (!first) (vertical ? row : column) += 1;
    const int32_t* tri = geometry_.tri + 3 * triangle;
    if (!IndicesValid(tri, geometry_.num_vertices)) return none;

    const Point centre = {static_cast<float>(static_cast<int32_t>(column)) + 0.5f - half_width_,
                          static_cast<float>(static_cast<int32_t>(row)) + 0.5f - half_height_};
    Point p[3];
    for (int k = 0; k < 3; ++k) p[k] = Project(tri[k], centre);
    const float area = Cross(p[1], p[2], p[0]);

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
    // Only edges that run more across the pair than along it: the others belong to the other pairs.
    if (!(__builtin_fabsf(dy[k]) >= __builtin_fabsf(dx[k]))) return none;
    const float at = distance[k] / dy[k];
    if (!(at > -kEdgeSlack && at < 1.0f + kEdgeSlack)) return none;
    if (!IsSilhouette(triangle, k, p, centre, area)) return none;

    const float clamped = Min(Max(at, 0.0f), 1.0f);
    Crossing crossing;
    crossing.alpha = towards * (0.5f - clamped);
    crossing.second = !first;
    crossing.vertex[0] = tri[(k + 1) % 3];
    crossing.vertex[1] = tri[(k + 2) % 3];
    return crossing;
  }

  // Adds factor * dalpha/dpos to the sums. The gradient ends where the crossing was clamped.
  void AddGradient(const Crossing& crossing, int64_t column, int64_t row, bool vertical,
                   float factor, float* sums) const {
    if (__builtin_fabsf(crossing.alpha) >= 0.5f) return;
    if (crossing.second) (vertical ? row : column) += 1;
    const float* v0 = pos_ + 4 * static_cast<int64_t>(crossing.vertex[0]);
    const float* v1 = pos_ + 4 * static_cast<int64_t>(crossing.vertex[1]);
    const Point centre = {static_cast<float>(static_cast<int32_t>(column)) + 0.5f - half_width_,
                          static_cast<float>(static_cast<int32_t>(row)) + 0.5f - half_height_};
    const Point a = Project(crossing.vertex[0], centre), b = Project(crossing.vertex[1], centre);
    const float ax = vertical ? a.y : a.x, ay = vertical ? a.x : a.y;
    const float bx = vertical ? b.y : b.x, by = vertical ? b.x : b.y;
    const float dx = bx - ax, dy = by - ay;
    const float inverse = 1.0f / (dy + __builtin_copysignf(1e-3f, dy));
    const float at = (ax * dy - ay * dx) * inverse;
    // alpha = const - at, whichever pixel the edge was found from.
    const float scale = -factor * inverse;
    const float along_a = scale * by, across_a = scale * (at - bx);
    const float along_b = -scale * ay, across_b = scale * (ax - at);
    AddVertex(v0, vertical ? across_a : along_a, vertical ? along_a : across_a,
              sums + 4 * static_cast<int64_t>(crossing.vertex[0]));
    AddVertex(v1, vertical ? across_b : along_b, vertical ? along_b : across_b,
              sums + 4 * static_cast<int64_t>(crossing.vertex[1]));
  }

 private:
  // In pixels, relative to a pixel centre.
  Point Project(int32_t vertex, Point centre) const {
    const float* p = pos_ + 4 * static_cast<int64_t>(vertex);
    const float inverse_w = 1.0f / p[3];
    return {p[0] * inverse_w * half_width_ - centre.x, p[1] * inverse_w * half_height_ - centre.y};
  }

  // Whether both triangles at edge k lie on the same side of it, or there is only one.
  bool IsSilhouette(int64_t triangle, int k, const Point* p, Point centre, float area) const {
    const int32_t opposite = args_.opposite[3 * triangle + k];
    if (opposite < 0 || opposite >= geometry_.num_vertices) return true;
    const Point far = Project(opposite, centre);
    return SameSign(Cross(p[(k + 1) % 3], p[(k + 2) % 3], far), area);
  }

  void AddVertex(const float* vertex, float gx, float gy, float* sum) const {
    const float inverse_w = 1.0f / vertex[3];
    gx *= half_width_ * inverse_w;
    gy *= half_height_ * inverse_w;
    sum[0] += gx;
    sum[1] += gy;
    sum[3] -= (vertex[0] * gx + vertex[1] * gy) * inverse_w;
  }

  const AntialiasForward& args_;
  const Geometry& geometry_;
  const float* pos_;
  float half_width_, half_height_;
};

// Calls visit(crossing, pixel 0, pixel 1, column, row, vertical) for the silhouette crossings of one row's
// pairs, in a fixed order; the pixels are counted over all images. A pixel receives from the pair above
// it first, then from its left, right and next-row pairs: the same order however rows are grouped.
template <class Visit>
inline void VisitRow(const AntialiasForward& args, const Silhouette& silhouette, int64_t image,
                     int64_t row, bool only_vertical, Visit visit) {
  const Geometry& g = args.geometry;
  const int64_t first = (image * g.height + row) * g.width;
  const bool has_next_row = row + 1 < g.height;
  for (int64_t column = 0; column < g.width; ++column) {
    const int64_t pixel = first + column;
    for (int vertical = only_vertical; vertical < 2; ++vertical) {
      if (vertical ? !has_next_row : column + 1 == g.width) continue;
      const int64_t other = pixel + (vertical ? g.width : 1);
      if (args.rast[4 * pixel + 3] == args.rast[4 * other + 3]) continue;
      const Crossing crossing =
          silhouette.Find(args.rast + 4 * pixel, args.rast + 4 * other, column, row, vertical);
      if (crossing.alpha != 0.0f) visit(crossing, pixel, other, column, row, vertical != 0);
    }
  }
}

void ForwardRows(const AntialiasForward& args, int64_t begin, int64_t end) {
  const Geometry& g = args.geometry;
  const int64_t channels = args.num_channels;
  const int64_t begin_pixel = begin * g.width, end_pixel = end * g.width;
  std::memcpy(args.out + channels * begin_pixel, args.color + channels * begin_pixel,
              sizeof(float) * static_cast<size_t>(channels * (end_pixel - begin_pixel)));
  // The pairs that reach into the first row from above belong to another task, their effect here to this.
  for (int64_t i = begin % g.height == 0 ? begin : begin - 1; i < end; ++i) {
    const int64_t image = i / g.height;
    const Silhouette silhouette(args, image);
    VisitRow(args, silhouette, image, i % g.height, i < begin,
             [&](const Crossing& crossing, int64_t pixel0, int64_t pixel1, int64_t, int64_t, bool) {
               const int64_t target = crossing.alpha > 0.0f ? pixel0 : pixel1;
               if (target < begin_pixel || target >= end_pixel) return;
               const float* color0 = args.color + channels * pixel0;
               const float* color1 = args.color + channels * pixel1;
               float* out = args.out + channels * target;
               for (int64_t c = 0; c < channels; ++c) {
                 out[c] += crossing.alpha * (color1[c] - color0[c]);
               }
             });
  }
}

void BackwardRows(const AntialiasBackward& args, int64_t begin, int64_t end, float* sums) {
  const AntialiasForward& forward = args.forward;
  const Geometry& g = forward.geometry;
  const int64_t channels = forward.num_channels;
  const int64_t begin_pixel = begin * g.width, end_pixel = end * g.width;
  std::memcpy(args.grad_color + channels * begin_pixel, args.dy + channels * begin_pixel,
              sizeof(float) * static_cast<size_t>(channels * (end_pixel - begin_pixel)));
  for (int64_t i = begin % g.height == 0 ? begin : begin - 1; i < end; ++i) {
    const int64_t image = i / g.height;
    const Silhouette silhouette(forward, image);
    const auto add_color = [&](int64_t pixel, float alpha, const float* dy) {
      if (pixel < begin_pixel || pixel >= end_pixel) return;
      float* grad = args.grad_color + channels * pixel;
      for (int64_t c = 0; c < channels; ++c) grad[c] += alpha * dy[c];
    };
    VisitRow(forward, silhouette, image, i % g.height, i < begin,
             [&](const Crossing& crossing, int64_t pixel0, int64_t pixel1, int64_t column,
                 int64_t row, bool vertical) {
               const float* dy = args.dy + channels * (crossing.alpha > 0.0f ? pixel0 : pixel1);
               add_color(pixel0, -crossing.alpha, dy);
               add_color(pixel1, crossing.alpha, dy);
               if (i < begin) return;
               const float* color0 = forward.color + channels * pixel0;
               const float* color1 = forward.color + channels * pixel1;
               float by_alpha = 0.0f;
               for (int64_t c = 0; c < channels; ++c) by_alpha += dy[c] * (color1[c] - color0[c]);
               if (by_alpha == 0.0f) return;
               silhouette.AddGradient(crossing, column, row, vertical,
                                      by_alpha * args.pos_gradient_boost, sums);
             });
  }
}

}  // namespace

bool ForwardAntialias(const AntialiasForward& args, const Parallel& parallel) {
  const Geometry& g = args.geometry;
  const int64_t rows = g.num_images * g.height;
  const int64_t tasks = Max(int64_t{1}, Min(rows, rows * g.width / 8192));
  ParallelFor(parallel, rows > 0 ? tasks : 0, [&](int64_t task) {
    ForwardRows(args, PartBegin(rows, tasks, task), PartBegin(rows, tasks, task + 1));
  });
  return true;
}

bool BackwardAntialias(const AntialiasBackward& args, const Parallel& parallel) {
  const Geometry& g = args.forward.geometry;
  const int64_t targets = g.shared_pos ? 1 : g.num_images;
  const int64_t rows = g.shared_pos ? g.num_images * g.height : g.height;
  const VertexSums sums(args.grad_pos, targets, 4 * g.num_vertices, rows, g.width);
  if (!sums.ok()) return false;
  sums.Run(parallel, [&](int64_t target, int64_t begin, int64_t end, float* out) {
    if (begin < end) BackwardRows(args, target * rows + begin, target * rows + end, out);
  });
  return true;
}

}  // namespace RASTERIZER_ISA
}  // namespace rasterizer
