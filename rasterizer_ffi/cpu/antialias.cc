// Analytic antialiasing (Laine et al. 2020, section 3.5): two neighbouring pixels that show different
// triangles are blended by where the silhouette edge between them crosses the line through their
// centres. This is what gives coverage, and so the silhouette, a gradient.

#include "../shared/silhouette.h"
#include "accumulate.h"
#include "simd.h"

namespace rasterizer {
namespace RASTERIZER_ISA {
namespace {

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
        points_[i] = PointOfVertex(g.pos + 4 * i, half_width, half_height);
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
        by_id[t + 1] = PossibleEdges(args_, t, points(set), extent);
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
  const AntialiasForward& args_;
  int64_t sets_;
  Scratch<Point> points_;
  Scratch<int32_t> edges_;
};

// Depths and ids of up to kGroup pixels of rast and the one after them.
struct Run {
  alignas(64) float depth[kGroup + 4];
  alignas(64) float id[kGroup + 4];
};

// Reads `count` pixels; those beyond are background.
inline void LoadRun(const float* rast, int count, Run* run) {
  int i = 0;
  if (count >= kGroup) {
    alignas(64) float unused[2][kGroup];
    LoadRows([&](int j) { return rast + 4 * j; }, unused[0], unused[1], run->depth, run->id);
    i = kGroup;
  }
  for (; i < count; ++i) {
    run->depth[i] = rast[4 * i + 2];
    run->id[i] = rast[4 * i + 3];
  }
  for (; i < kGroup + 1; ++i) run->depth[i] = run->id[i] = 0.0f;
}

// Bit i: pixels i of a run and i + offset of another show different triangles, and the nearer has
// an edge that may be a silhouette. Without a branch per pixel: this turns down nearly all pairs of a fine mesh.
inline uint32_t CandidatePairs(const Run& run, const Run& other, int offset,
                               const int32_t* edges_by_id, float num_triangles) {
  const auto ids = [&](const float* from) {
    const Vec16f f = Load<Vec16f>(from);
    const Vec16i valid = (f >= 1.0f) & (f <= Vec16f{} + num_triangles);  // not NaN either
    return __builtin_convertvector(valid ? f : Vec16f{}, Vec16i);
  };
  const Vec16i id0 = ids(run.id), id1 = ids(other.id + offset);
  const Vec16i nearer = Load<Vec16f>(run.depth) < Load<Vec16f>(other.depth + offset);
  const Vec16i first = (id1 == 0) | ((id0 != 0) & nearer);
  const Vec16i triangle = id0 == id1 ? Vec16i{} : first ? id0 : id1;
  uint32_t bits = 0;
  for (int i = 0; i < kGroup; ++i) {
    bits |= static_cast<uint32_t>(edges_by_id[triangle[i]] != 0) << i;
  }
  return bits;
}

// Whether kGroup pixels of rast, the same shifted by one, and those of the next row show the same.
inline bool AllSame(const float* rast, const float* next_row) {
  Vec16i changes = {};
  for (int i = 0; i < 4 * kGroup; i += 16) {
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
  for (int64_t begin = 0; begin < g.width; begin += kGroup) {
    const int count = static_cast<int>(Min(int64_t{kGroup}, g.width - begin));
    const float* rast = args.rast + 4 * (first + begin);
    const bool has_next_row = row + 1 < g.height;
    if (begin + kGroup < g.width && AllSame(rast, has_next_row ? rast + 4 * g.width : rast)) continue;
    Run run, next_row;
    LoadRun(rast, static_cast<int>(Min(int64_t{kGroup + 1}, g.width - begin)), &run);
    LoadRun(rast + 4 * g.width, has_next_row ? count : 0, &next_row);
    const auto candidates = [&](const Run& other, int offset) {
      return CandidatePairs(run, other, offset, silhouette.edges_by_id(),
                            static_cast<float>(g.num_triangles));
    };
    const uint32_t with_right = (uint32_t{1} << (begin + count == g.width ? count - 1 : count)) - 1;
    const uint32_t with_next_row = has_next_row ? (uint32_t{1} << count) - 1 : 0;
    const uint32_t right = only_vertical ? 0 : candidates(run, 1) & with_right;
    const uint32_t down = candidates(next_row, 0) & with_next_row;
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
    const Silhouette silhouette(args, image, outlines.points(image), outlines.edges_by_id(image));
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
    const Silhouette silhouette(forward, image, outlines.points(image),
                                outlines.edges_by_id(image));
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
                                      by_alpha * args.pos_gradient_boost, sums, PlainAdd());
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
