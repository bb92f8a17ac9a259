// Analytic antialiasing (Laine et al. 2020, section 3.5): two neighbouring pixels that show different
// triangles are blended by where the silhouette edge between them crosses the line through their
// centres. This is what gives coverage, and so the silhouette, a gradient.

#include "accumulate.h"
#include "simd.h"

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

// What all pixels of an image share: where its vertices are, and which edges can be silhouettes. Most
// neighbouring pixels of a fine mesh show different triangles with no silhouette between them; one
// look into a table then answers for them.
class Outlines {
 public:
  explicit Outlines(const AntialiasForward& args)
      : args_(args), sets_(args.geometry.shared_pos ? 1 : args.geometry.num_images),
        points_(sets_ * args.geometry.num_vertices), edges_(sets_ * (args.geometry.num_triangles + 1)) {}

  bool ok() const { return points_.ok() && edges_.ok(); }

  void Prepare(const Parallel& parallel) const {
    const Geometry& g = args_.geometry;
    const float half_width = 0.5f * static_cast<float>(g.width);
    const float half_height = 0.5f * static_cast<float>(g.height);
    const int64_t vertices = sets_ * g.num_vertices, chunk = 4096;
    ParallelFor(parallel, (vertices + chunk - 1) / chunk, [&](int64_t task) {
      const int64_t end = Min(vertices, (task + 1) * chunk);
      for (int64_t i = task * chunk; i < end; ++i) {
        const float inverse_w = 1.0f / g.pos[4 * i + 3];
        points_[i].x = g.pos[4 * i] * inverse_w * half_width;
        points_[i].y = g.pos[4 * i + 1] * inverse_w * half_height;
      }
    });
    const int64_t chunks = (g.num_triangles + chunk - 1) / chunk;
    if (chunks == 0) std::memset(edges_.get(), 0, sizeof(int32_t) * static_cast<size_t>(sets_));
    ParallelFor(parallel, sets_ * chunks, [&](int64_t task) {
      const int64_t set = task / chunks, first = task % chunks * chunk;
      const int64_t end = Min(g.num_triangles, first + chunk);
      const float extent = half_width + half_height;
      int32_t* by_id = edges_.get() + set * (g.num_triangles + 1);
      if (first == 0) by_id[0] = 0;
      for (int64_t t = first; t < end; ++t) {
        by_id[t + 1] = PossibleEdges(t, points(set), extent);
      }
    });
  }

  // In pixels from the image centre.
  const Point* points(int64_t image) const {
    return points_.get() + (args_.geometry.shared_pos ? 0 : image * args_.geometry.num_vertices);
  }
  // Bit k of entry t + 1: edge k of triangle t may be a silhouette. Entry 0, the background, is 0.
  const int32_t* edges_by_id(int64_t image) const {
    const int64_t set = args_.geometry.shared_pos ? 0 : image;
    return edges_.get() + set * (args_.geometry.num_triangles + 1);
  }

 private:
  // An edge is ruled out only where rounding cannot matter: the decision itself is taken relative to
  // a pixel.
  int32_t PossibleEdges(int64_t triangle, const Point* points, float extent) const {
    const Geometry& g = args_.geometry;
    const int32_t* tri = g.tri + 3 * triangle;
    if (!IndicesValid(tri, g.num_vertices)) return 0;
    const Point p[3] = {points[tri[0]], points[tri[1]], points[tri[2]]};
    const float area = Cross(p[1], p[2], p[0]);
    int32_t possible = 0;
    for (int k = 0; k < 3; ++k) {
      const int32_t opposite = args_.opposite[3 * triangle + k];
      const bool open = static_cast<uint32_t>(opposite) >= static_cast<uint64_t>(g.num_vertices);
      const Point far = open ? p[k] : points[opposite];
      const Point a = p[k == 2 ? 0 : k + 1], b = p[k == 0 ? 2 : k - 1];
      const float side = Cross(a, b, far);
      const float size = __builtin_fabsf(a.x - far.x) + __builtin_fabsf(a.y - far.y) +
                         __builtin_fabsf(b.x - far.x) + __builtin_fabsf(b.y - far.y) +
                         __builtin_fabsf(p[k].x - a.x) + __builtin_fabsf(p[k].y - a.y);
      const float slack = 1e-5f * size * (extent + size);
      const bool opposed = (side > slack && area < -slack) || (side < -slack && area > slack);
      possible |= static_cast<int32_t>(!opposed) << k;
    }
    return possible;
  }

  const AntialiasForward& args_;
  int64_t sets_;
  Scratch<Point> points_;
  Scratch<int32_t> edges_;
};

constexpr int kStep = 16;  // pixels looked at together

// Depths and ids of up to kStep pixels of rast and the one after them.
struct Run {
  alignas(64) float depth[kStep + 4];
  alignas(64) float id[kStep + 4];
};

// Reads `count` pixels; those beyond are background.
inline void LoadRun(const float* rast, int count, Run* run) {
  float unused[kStep];
  int i = 0;
  for (; i + 4 <= count; i += 4) {
    Transpose4(rast + 4 * i, rast + 4 * i + 4, rast + 4 * i + 8, rast + 4 * i + 12, unused, unused,
               run->depth + i, run->id + i);
  }
  for (; i < count; ++i) {
    run->depth[i] = rast[4 * i + 2];
    run->id[i] = rast[4 * i + 3];
  }
  for (; i < kStep + 1; ++i) run->depth[i] = run->id[i] = 0.0f;
}

// Bit i: pixels i of two runs show different triangles, and the nearer has an edge that may be a
// silhouette. Without a branch per pixel: this turns down nearly all pairs of a fine mesh.
inline uint32_t CandidatePairs(const float* depth0, const float* depth1, const float* ids0,
                               const float* ids1, const int32_t* edges_by_id,
                               float num_triangles) {
  const auto ids = [&](const float* from) {
    const Vec16f f = Load<Vec16f>(from);
    const Vec16i valid = (f >= 1.0f) & (f <= Vec16f{} + num_triangles);  // not NaN either
    return __builtin_convertvector(valid ? f : Vec16f{}, Vec16i);
  };
  const Vec16i id0 = ids(ids0), id1 = ids(ids1);
  const Vec16i nearer = Load<Vec16f>(depth0) < Load<Vec16f>(depth1);
  const Vec16i first = (id1 == 0) | ((id0 != 0) & nearer);
  const Vec16i triangle = id0 == id1 ? Vec16i{} : first ? id0 : id1;
  uint32_t bits = 0;
  for (int i = 0; i < kStep; ++i) {
    bits |= static_cast<uint32_t>(edges_by_id[triangle[i]] != 0) << i;
  }
  return bits;
}

class Silhouette {
 public:
  Silhouette(const AntialiasForward& args, const Outlines& outlines, int64_t image)
      : args_(args), geometry_(args.geometry), pos_(args.geometry.ImagePos(image)),
        points_(outlines.points(image)), edges_(outlines.edges_by_id(image)),
        half_width_(0.5f * static_cast<float>(args.geometry.width)),
        half_height_(0.5f * static_cast<float>(args.geometry.height)) {}

  // Whether Find should look at the pairs of pixels i of a run with pixels i + offset of another.
  uint32_t Candidates(const Run& run, const Run& other, int offset) const {
    return CandidatePairs(run.depth, other.depth + offset, run.id, other.id + offset, edges_,
                          static_cast<float>(geometry_.num_triangles));
  }

  // The pair of pixel (column, row) with its right (vertical = false) or next-row neighbour.
  Crossing Find(const float* rast0, const float* rast1, int64_t column, int64_t row,
                bool vertical) const {
    const Crossing none = {};
    const int64_t t0 = TriangleOfPixel(rast0, geometry_.num_triangles);
    const int64_t t1 = TriangleOfPixel(rast1, geometry_.num_triangles);
    if (t0 == t1) return none;
    // The nearer triangle has the edge.
    const bool first = t1 < 0 || (t0 >= 0 && rast0[2] < rast1[2]);
    const int64_t triangle = first ? t0 : t1;
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
    if (!(edges_[triangle + 1] >> k & 1)) return none;
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
  void AddGradient(const Crossing& crossing, int64_t column, int64_t row, bool vertical,
                   float factor, float* sums) const {
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
    AddVertex(crossing.vertex[0], vertical ? across_a : along_a, vertical ? along_a : across_a, sums);
    AddVertex(crossing.vertex[1], vertical ? across_b : along_b, vertical ? along_b : across_b, sums);
  }

 private:
  // Of a pixel, in pixels from the image centre.
  Point Centre(int64_t column, int64_t row) const {
    return {static_cast<float>(static_cast<int32_t>(column)) + 0.5f - half_width_,
            static_cast<float>(static_cast<int32_t>(row)) + 0.5f - half_height_};
  }

  Point Relative(int32_t vertex, Point centre) const {
    return {points_[vertex].x - centre.x, points_[vertex].y - centre.y};
  }

  // Whether both triangles at edge k lie on the same side of it, or there is only one.
  bool IsSilhouette(int64_t triangle, int k, const Point* p, Point centre) const {
    const int32_t opposite = args_.opposite[3 * triangle + k];
    if (static_cast<uint32_t>(opposite) >= static_cast<uint64_t>(geometry_.num_vertices)) return true;
    const Point far = Relative(opposite, centre);
    return SameSign(Cross(p[(k + 1) % 3], p[(k + 2) % 3], far), Cross(p[1], p[2], p[0]));
  }

  void AddVertex(int32_t vertex, float gx, float gy, float* sums) const {
    const float* p = pos_ + 4 * static_cast<int64_t>(vertex);
    float* sum = sums + 4 * static_cast<int64_t>(vertex);
    const float inverse_w = 1.0f / p[3];
    gx *= half_width_ * inverse_w;
    gy *= half_height_ * inverse_w;
    sum[0] += gx;
    sum[1] += gy;
    sum[3] -= (p[0] * gx + p[1] * gy) * inverse_w;
  }

  const AntialiasForward& args_;
  const Geometry& geometry_;
  const float* pos_;
  const Point* points_;
  const int32_t* edges_;
  float half_width_, half_height_;
};

// Whether kStep pixels of rast, the same shifted by one, and those of the next row show the same.
inline bool AllSame(const float* rast, const float* next_row) {
  Vec16i changes = {};
  for (int i = 0; i < 4 * kStep; i += 16) {
    const Vec16i pixels = Load<Vec16i>(rast + i);
    changes |= pixels ^ Load<Vec16i>(rast + i + 4);
    changes |= pixels ^ Load<Vec16i>(next_row + i);
  }
  return (changes[3] | changes[7] | changes[11] | changes[15]) == 0;
}

// Calls visit(crossing, pixel 0, pixel 1, column, row, vertical) for the silhouette crossings of one
// row's pairs, in a fixed order; the pixels are counted over all images. A pixel receives from the
// pair above it first, then from its left, right and next-row pairs: the same order however rows are
// grouped.
template <class Visit>
inline void VisitRow(const AntialiasForward& args, const Silhouette& silhouette, int64_t image,
                     int64_t row, bool only_vertical, Visit visit) {
  const Geometry& g = args.geometry;
  const int64_t first = (image * g.height + row) * g.width;
  for (int64_t begin = 0; begin < g.width; begin += kStep) {
    const int count = static_cast<int>(Min(int64_t{kStep}, g.width - begin));
    const float* rast = args.rast + 4 * (first + begin);
    const bool has_next_row = row + 1 < g.height;
    if (begin + kStep < g.width && AllSame(rast, has_next_row ? rast + 4 * g.width : rast)) continue;
    Run run, next_row;
    LoadRun(rast, static_cast<int>(Min(int64_t{kStep + 1}, g.width - begin)), &run);
    LoadRun(rast + 4 * g.width, has_next_row ? count : 0, &next_row);
    const uint32_t with_right = (uint32_t{1} << (begin + count == g.width ? count - 1 : count)) - 1;
    const uint32_t with_next_row = has_next_row ? (uint32_t{1} << count) - 1 : 0;
    const uint32_t right = only_vertical ? 0 : silhouette.Candidates(run, run, 1) & with_right;
    const uint32_t down = silhouette.Candidates(run, next_row, 0) & with_next_row;
    for (int i = 0; (right | down) >> i != 0; ++i) {
      for (int vertical = 0; vertical < 2; ++vertical) {
        if (!((vertical ? down : right) >> i & 1)) continue;
        const int64_t column = begin + i;
        const int64_t pixel = first + column, other = pixel + (vertical ? g.width : 1);
        const Crossing crossing =
            silhouette.Find(args.rast + 4 * pixel, args.rast + 4 * other, column, row, vertical);
        if (crossing.alpha != 0.0f) visit(crossing, pixel, other, column, row, vertical != 0);
      }
    }
  }
}

void ForwardRows(const AntialiasForward& args, const Outlines& outlines, int64_t begin,
                 int64_t end) {
  const Geometry& g = args.geometry;
  const int64_t channels = args.num_channels;
  const int64_t begin_pixel = begin * g.width, end_pixel = end * g.width;
  std::memcpy(args.out + channels * begin_pixel, args.color + channels * begin_pixel,
              sizeof(float) * static_cast<size_t>(channels * (end_pixel - begin_pixel)));
  // The pairs that reach into the first row from above belong to another task, their effect here to this.
  for (int64_t i = begin % g.height == 0 ? begin : begin - 1; i < end; ++i) {
    const int64_t image = i / g.height;
    const Silhouette silhouette(args, outlines, image);
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

void BackwardRows(const AntialiasBackward& args, const Outlines& outlines, int64_t begin,
                  int64_t end, float* sums) {
  const AntialiasForward& forward = args.forward;
  const Geometry& g = forward.geometry;
  const int64_t channels = forward.num_channels;
  const int64_t begin_pixel = begin * g.width, end_pixel = end * g.width;
  std::memcpy(args.grad_color + channels * begin_pixel, args.dy + channels * begin_pixel,
              sizeof(float) * static_cast<size_t>(channels * (end_pixel - begin_pixel)));
  for (int64_t i = begin % g.height == 0 ? begin : begin - 1; i < end; ++i) {
    const int64_t image = i / g.height;
    const Silhouette silhouette(forward, outlines, image);
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
  const Outlines outlines(args);
  if (!outlines.ok()) return false;
  outlines.Prepare(parallel);
  const int64_t rows = g.num_images * g.height;
  const int64_t tasks = Max(int64_t{1}, Min(rows, rows * g.width / 8192));
  ParallelFor(parallel, rows > 0 ? tasks : 0, [&](int64_t task) {
    ForwardRows(args, outlines, PartBegin(rows, tasks, task), PartBegin(rows, tasks, task + 1));
  });
  return true;
}

bool BackwardAntialias(const AntialiasBackward& args, const Parallel& parallel) {
  const Geometry& g = args.forward.geometry;
  const Outlines outlines(args.forward);
  if (!outlines.ok()) return false;
  outlines.Prepare(parallel);
  const int64_t targets = g.shared_pos ? 1 : g.num_images;
  const int64_t rows = g.shared_pos ? g.num_images * g.height : g.height;
  const VertexSums sums(args.grad_pos, targets, 4 * g.num_vertices, rows, g.width);
  if (!sums.ok()) return false;
  sums.Run(parallel, [&](int64_t target, int64_t begin, int64_t end, float* out) {
    if (begin < end) BackwardRows(args, outlines, target * rows + begin, target * rows + end, out);
  });
  return true;
}

}  // namespace RASTERIZER_ISA
}  // namespace rasterizer
