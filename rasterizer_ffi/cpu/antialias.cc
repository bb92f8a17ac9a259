// Analytic antialiasing (Laine et al. 2020, section 3.5): two neighbouring pixels that show different
// triangles are blended by where the silhouette edge between them crosses the line through their
// centres. This is what gives coverage, and so the silhouette, a gradient. The same for pixels that
// consist of samples, of which only the means are stored.

#include "../shared/silhouette.h"
#include "accumulate.h"
#include "kernels.h"
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
        points_(sets_ * args.geometry.num_vertices + 1),
        edges_(sets_ * (args.geometry.num_triangles + 1)) {}

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
    points_[vertices] = {};  // LoadRows reads the point behind each
    const int64_t chunks = Max(int64_t{1}, (g.num_triangles + chunk - 1) / chunk);
    ParallelFor(parallel, sets_ * chunks, [&](int64_t task) {
      const int64_t set = task / chunks, first = task % chunks * chunk;
      int32_t* by_id = edges_.get() + set * (g.num_triangles + 1);
      if (first == 0) by_id[0] = 0;
      const int64_t end = Min(g.num_triangles, first + chunk);
      for (int64_t t = first; t < end; t += kGroup) {
        const int count = static_cast<int>(Min(int64_t{kGroup}, end - t));
        FindPossibleEdges(t, count, points(set), half_width + half_height, by_id + t + 1);
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
  // PossibleEdges of up to kGroup triangles.
  void FindPossibleEdges(int64_t first, int count, const Point* points, float extent,
                         int32_t* out) const {
    const Geometry& g = args_.geometry;
    if (count < kGroup) {
      for (int i = 0; i < count; ++i) out[i] = PossibleEdges(args_, first + i, points, extent);
      return;
    }
    // The corners of each triangle, then what lies beyond the edges that face them.
    GroupI vertex[6], known[6];
    LoadTriples(g.tri + 3 * first, vertex);
    LoadTriples(args_.opposite + 3 * first, vertex + 3);
    const uint32_t num_vertices = static_cast<uint32_t>(Min(g.num_vertices, int64_t{1} << 31));
    PlanePoint<GroupF> p[6];
    for (int k = 0; k < 6; ++k) {
      known[k] = (GroupU)vertex[k] < num_vertices;
      alignas(64) int32_t index[kGroup];
      const GroupI safe = vertex[k] & known[k];
      std::memcpy(index, &safe, sizeof safe);
      const Columns columns = LoadRows([&](int i) { return points + index[i]; });
      p[k] = {columns.x, columns.y};
    }
    GroupI possible = {};
    for (int k = 0; k < 3; ++k) {
      const GroupI ruled_out = known[3 + k] & RuledOut(p, k, p[3 + k], extent);
      possible |= ~ruled_out & (1 << k);
    }
    possible &= known[0] & known[1] & known[2];
    std::memcpy(out, &possible, sizeof possible);
  }

  const AntialiasForward& args_;
  int64_t sets_;
  Scratch<Point> points_;
  Scratch<int32_t> edges_;
};

// Columns of an image that are worked on together: two rows of them fit into the nearest cache.
constexpr int64_t kStrip = 1024;

// What a row of a strip shows, and the column after it.
struct Row {
  alignas(64) int32_t id[kStrip + kGroup];  // triangle + 1; 0: the background, or beyond the image
  alignas(64) float depth[kStrip + kGroup];
  alignas(64) int32_t edges[kStrip + kGroup];  // of that triangle that may be silhouettes

  // Reads `count` pixels.
  void Read(const float* rast, int64_t count, int64_t num_triangles, const int32_t* edges_by_id) {
    for (int64_t i = 0; i < count; i += kGroup) {
      if (count - i >= kGroup && NoneShown(rast + 4 * i)) {
        const GroupI none = {};
        std::memcpy(id + i, &none, sizeof none);
        std::memcpy(edges + i, &none, sizeof none);
        continue;
      }
      const Columns pixels = LoadPixelRows(rast + 4 * i, count - i);
      const GroupI valid =
          (pixels.w >= 1.0f) & (pixels.w <= GroupF{} + static_cast<float>(num_triangles));
      const GroupI ids = __builtin_convertvector(valid ? pixels.w : GroupF{}, GroupI);
      const GroupI possible = AllZero((GroupU)ids) ? GroupI{} : Gather(edges_by_id, ids);
      std::memcpy(id + i, &ids, sizeof ids);
      std::memcpy(depth + i, &pixels.z, sizeof pixels.z);
      std::memcpy(edges + i, &possible, sizeof possible);
    }
  }
};

// Bit i: pixel `at` + i of a row and pixel `other_at` + i of another show different triangles, and
// the nearer has an edge that may be a silhouette. Without a branch per pixel: this turns down
// nearly all pairs of a fine mesh.
inline uint32_t CandidatePairs(const Row& row, int64_t at, const Row& other, int64_t other_at) {
  const GroupI id0 = Load<GroupI>(row.id + at), id1 = Load<GroupI>(other.id + other_at);
  const GroupI differ = id0 != id1;
  if (AllZero((GroupU)differ)) return 0;
  const GroupI nearer = Load<GroupF>(row.depth + at) < Load<GroupF>(other.depth + other_at);
  const GroupI first = (id1 == 0) | ((id0 != 0) & nearer);
  const GroupI edges0 = Load<GroupI>(row.edges + at);
  const GroupI edges1 = Load<GroupI>(other.edges + other_at);
  return BitsOfMask(differ & (first ? edges0 : edges1));
}

// The lowest `count` of kGroup bits.
inline uint32_t FirstBits(int64_t count) {
  return count < kGroup ? (uint32_t{1} << count) - 1 : (uint32_t{1} << kGroup) - 1;
}

// Calls visit(crossing, pixel 0, pixel 1, vertical) for the silhouette crossings of some rows'
// pairs, and of the row before them those with the first of them. Rows and pixels are counted over
// all images. A pixel receives from the pair above it first, then from its left, right and next-row
// pairs: the same order however rows are grouped.
template <class Visit>
void VisitCrossings(const AntialiasForward& args, const Outlines& outlines, int64_t begin,
                    int64_t end, Visit visit) {
  const Geometry& g = args.geometry;
  Row rows[2] = {};
  Row *row = &rows[0], *next_row = &rows[1];
  bool row_is_read = false;
  for (int64_t i = begin % g.height == 0 ? begin : begin - 1; i < end; ++i) {
    const int64_t image = i / g.height, y = i % g.height;
    const bool has_next_row = y + 1 < g.height;
    const int32_t* edges_by_id = outlines.edges_by_id(image);
    const Silhouette silhouette(args, image, outlines.points(image), edges_by_id);
    for (int64_t strip = 0; strip < g.width; strip += kStrip) {
      const int64_t count = Min(kStrip, g.width - strip);
      const int64_t pairs = Min(kStrip, g.width - strip - 1);  // with a right neighbour
      const int64_t first = i * g.width + strip;
      const auto read = [&](Row* to, int64_t pixel) {
        to->Read(args.rast + 4 * pixel, pairs + 1, g.num_triangles, edges_by_id);
      };
      if (!row_is_read) read(row, first);
      if (has_next_row) read(next_row, first + g.width);
      for (int64_t at = 0; at < count; at += kGroup) {
        uint32_t right = 0, down = 0;
        if (i >= begin) right = CandidatePairs(*row, at, *row, at + 1) & FirstBits(pairs - at);
        if (has_next_row) down = CandidatePairs(*row, at, *next_row, at) & FirstBits(count - at);
        for (uint32_t left = right | down; left != 0; left &= left - 1) {
          const int bit = __builtin_ctz(left);
          const int64_t x = strip + at + bit, pixel = first + at + bit;
          for (int vertical = 0; vertical < 2; ++vertical) {
            if (!((vertical ? down : right) >> bit & 1)) continue;
            const int64_t other = pixel + (vertical ? g.width : 1);
            const Crossing crossing =
                silhouette.Find(args.rast + 4 * pixel, args.rast + 4 * other, x, y, vertical != 0);
            if (crossing.alpha != 0.0f) visit(crossing, pixel, other, vertical != 0);
          }
        }
      }
      row_is_read = has_next_row && g.width <= kStrip;
      if (row_is_read) {
        Row* const read_row = next_row;
        next_row = row, row = read_row;
      }
    }
  }
}

// How the pixels that are compared correspond to those whose colours are given, mixed and returned.
// Here they are the same.
class Pixels {
 public:
  explicit Pixels(const AntialiasForward& args) : args_(args) {}

  // Pixels that are compared, along each side of one that is returned.
  int64_t samples() const { return 1; }
  // The pixel that a compared one belongs to.
  int64_t Owner(int64_t pixel) const { return pixel; }
  const float* Color(int64_t pixel) const { return args_.color + args_.num_channels * pixel; }
  // Where the gradient of a compared pixel's colour is; null for one without.
  float* ColorGradient(const AntialiasBackward& args, int64_t pixel) const {
    return args.grad_color + args_.num_channels * pixel;
  }
  // What a compared pixel counts for in its owner.
  float Weighted(float alpha) const { return alpha; }

  // Of some rows: the result without crossings, and the gradient of that.
  void Start(int64_t begin, int64_t end) const { Copy(args_.color, args_.out, begin, end); }
  void StartGradient(const AntialiasBackward& args, int64_t begin, int64_t end) const {
    Copy(args.dy, args.grad_color, begin, end);
  }

 private:
  void Copy(const float* from, float* to, int64_t begin, int64_t end) const {
    const int64_t row = args_.num_channels * args_.geometry.width;
    std::memcpy(to + row * begin, from + row * begin,
                sizeof(float) * static_cast<size_t>(row * (end - begin)));
  }

  const AntialiasForward& args_;
};

// Samples are compared. Like Pixels for the pixels that they belong to.
class Samples {
 public:
  Samples(const AntialiasForward& fine, const Pooling& pooling)
      : fine_(fine), pooling_(pooling), samples_(pooling.samples),
        height_(fine.geometry.height / pooling.samples),
        width_(fine.geometry.width / pooling.samples),
        num_samples_(static_cast<float>(pooling.samples * pooling.samples)),
        rows_(packed() ? fine.geometry.num_images * height_ * width_ : 0),
        no_color_(packed() ? fine.num_channels : 0) {}

  bool ok() const { return rows_.ok() && no_color_.ok(); }

  // To be called first. Calls unused(row) for the rows of color that no pixel has.
  template <class Use>
  void FindRows(Use unused) {
    if (!packed()) return;
    const int64_t pixels = fine_.geometry.num_images * height_ * width_;
    std::memset(rows_.get(), 0xff, static_cast<size_t>(pixels) * sizeof(int32_t));
    for (int64_t i = 0; i < pooling_.num_rows; ++i) {
      const int64_t pixel = pooling_.pixel[i];
      if (pixel >= 0 && pixel < pixels && rows_[pixel] < 0) {
        rows_[pixel] = static_cast<int32_t>(i);
      } else {
        unused(i);
      }
    }
    for (int64_t c = 0; c < fine_.num_channels; ++c) no_color_[c] = 0.0f;
  }

  int64_t samples() const { return samples_; }
  int64_t Owner(int64_t sample) const { return Row(sample) * width_ + Column(sample); }
  const float* Color(int64_t sample) const {
    return IsCovered(sample) ? ColorOf(Owner(sample)) : Background(Row(sample), Column(sample));
  }
  float* ColorGradient(const AntialiasBackward& args, int64_t sample) const {
    return IsCovered(sample) ? GradientOf(args, Owner(sample)) : nullptr;
  }
  float Weighted(float alpha) const { return alpha / num_samples_; }

  void Start(int64_t begin, int64_t end) const {
    CountCovered(begin, end);
    const int64_t channels = fine_.num_channels;
    const size_t num_bytes = sizeof(float) * static_cast<size_t>(channels);
    for (int64_t row = begin / samples_; row < end / samples_; ++row) {
      const float* background = Background(row, 0);
      for (int64_t i = row * width_; i < (row + 1) * width_; ++i) {
        const float* color = ColorOf(i);
        float* out = fine_.out + channels * i;
        const float share = CoveredShare(i), rest = 1.0f - share;
        if (share == 0.0f || rest == 0.0f) {
          std::memcpy(out, rest == 0.0f ? color : background, num_bytes);
        } else {
          for (int64_t c = 0; c < channels; ++c) out[c] = share * color[c] + rest * background[c];
        }
        background += pooling_.background_strides[2];
      }
    }
  }

  void StartGradient(const AntialiasBackward& args, int64_t begin, int64_t end) const {
    const int64_t channels = fine_.num_channels;
    for (int64_t i = begin / samples_ * width_; i < end / samples_ * width_; ++i) {
      float* grad = GradientOf(args, i);
      if (grad == nullptr) continue;
      const float* dy = args.dy + channels * i;
      const float share = CoveredShare(i);
      if (share == 0.0f) {
        std::memset(grad, 0, sizeof(float) * static_cast<size_t>(channels));
      } else {
        for (int64_t c = 0; c < channels; ++c) grad[c] = share * dy[c];
      }
    }
  }

 private:
  // Of the owner of a sample; rows are counted over all images.
  int64_t Row(int64_t sample) const { return sample / fine_.geometry.width / samples_; }
  int64_t Column(int64_t sample) const { return sample % fine_.geometry.width / samples_; }

  bool packed() const { return pooling_.num_rows >= 0; }
  bool IsCovered(int64_t sample) const { return fine_.rast[4 * sample + 3] > 0.0f; }

  // Of a pixel in color; negative where it has none.
  int64_t RowOf(int64_t owner) const { return packed() ? rows_[owner] : owner; }

  const float* ColorOf(int64_t owner) const {
    const int64_t row = RowOf(owner);
    return row < 0 ? no_color_.get() : fine_.color + fine_.num_channels * row;
  }

  float* GradientOf(const AntialiasBackward& args, int64_t owner) const {
    const int64_t row = RowOf(owner);
    return row < 0 ? nullptr : args.grad_color + fine_.num_channels * row;
  }

  float CoveredShare(int64_t owner) const {
    return static_cast<float>(pooling_.covered[owner]) / num_samples_;
  }

  const float* Background(int64_t row, int64_t column) const {
    const int64_t* strides = pooling_.background_strides;
    return pooling_.background + row / height_ * strides[0] + row % height_ * strides[1] +
           column * strides[2];
  }

  void CountCovered(int64_t begin, int64_t end) const {
    const int64_t width = fine_.geometry.width, first = begin / samples_ * width_;
    std::memset(pooling_.covered + first, 0,
                sizeof(int32_t) * static_cast<size_t>(end / samples_ * width_ - first));
    for (int64_t row = begin; row < end; ++row) {
      const float* rast = fine_.rast + 4 * row * width;
      int32_t* covered = pooling_.covered + row / samples_ * width_;
      for (int64_t i = 0; i < width; i += kGroup) {
        const int64_t count = Min(int64_t{kGroup}, width - i);
        if (count == kGroup && NoneShown(rast + 4 * i)) continue;
        int64_t column = i / samples_, sample = i % samples_;
        for (int64_t x = i; x < i + count; ++x) {
          covered[column] += rast[4 * x + 3] > 0.0f;
          if (++sample == samples_) sample = 0, ++column;
        }
      }
    }
  }

  const AntialiasForward& fine_;
  const Pooling& pooling_;
  int64_t samples_, height_, width_;
  float num_samples_;
  Scratch<int32_t> rows_;
  Scratch<float> no_color_;
};

// Image: Pixels or Samples.
template <class Image>
void ForwardRows(const AntialiasForward& args, const Image& image, const Outlines& outlines,
                 int64_t begin, int64_t end) {
  const int64_t channels = args.num_channels, width = args.geometry.width;
  const int64_t begin_pixel = begin * width, end_pixel = end * width;
  image.Start(begin, end);
  std::memset(args.crossings + begin_pixel, 0, static_cast<size_t>(end_pixel - begin_pixel));
  // Pairs that reach into the first row from above belong to another task, their effect here to
  // this one.
  const auto is_ours = [&](int64_t pixel) { return pixel >= begin_pixel && pixel < end_pixel; };
  VisitCrossings(args, outlines, begin, end,
                 [&](const Crossing& crossing, int64_t pixel0, int64_t pixel1, bool vertical) {
    if (is_ours(pixel0)) args.crossings[pixel0] |= static_cast<uint8_t>(1 << vertical);
    const int64_t target = crossing.alpha > 0.0f ? pixel0 : pixel1;
    if (!is_ours(target)) return;
    const float *color0 = image.Color(pixel0), *color1 = image.Color(pixel1);
    const float alpha = image.Weighted(crossing.alpha);
    float* out = args.out + channels * image.Owner(target);
    for (int64_t c = 0; c < channels; ++c) out[c] += alpha * (color1[c] - color0[c]);
  });
}

// Calls visit(column, vertical) for the crossings of one row, in the order of VisitCrossings.
template <class Visit>
inline void VisitMarks(const uint8_t* crossings, int64_t width, Visit visit) {
  for (int64_t begin = 0; begin < width; begin += 8) {
    const int64_t count = Min(int64_t{8}, width - begin);
    uint64_t marks = 0;
    std::memcpy(&marks, crossings + begin, static_cast<size_t>(count));
    if (marks == 0) continue;
    for (int64_t x = begin; x < begin + count; ++x) {
      for (int vertical = 0; vertical < 2; ++vertical) {
        if (crossings[x] >> vertical & 1) visit(x, vertical != 0);
      }
    }
  }
}

template <class Image>
void BackwardRows(const AntialiasBackward& args, const Image& image, int64_t begin, int64_t end,
                  float* sums) {
  const AntialiasForward& forward = args.forward;
  const Geometry& g = forward.geometry;
  const int64_t channels = forward.num_channels;
  const int64_t begin_pixel = begin * g.width, end_pixel = end * g.width;
  image.StartGradient(args, begin, end);
  const auto add_color = [&](int64_t pixel, float alpha, const float* dy) {
    if (pixel < begin_pixel || pixel >= end_pixel) return;
    float* grad = image.ColorGradient(args, pixel);
    if (grad == nullptr) return;
    for (int64_t c = 0; c < channels; ++c) grad[c] += alpha * dy[c];
  };
  for (int64_t i = begin % g.height == 0 ? begin : begin - 1; i < end; ++i) {
    const int64_t y = i % g.height;
    const Silhouette silhouette(forward, i / g.height, nullptr, nullptr);
    VisitMarks(args.crossings + i * g.width, g.width, [&](int64_t x, bool vertical) {
      if (i < begin && !vertical) return;
      const int64_t pixel0 = i * g.width + x, pixel1 = pixel0 + (vertical ? g.width : 1);
      const Crossing crossing =
          silhouette.Find(forward.rast + 4 * pixel0, forward.rast + 4 * pixel1, x, y, vertical);
      const float* dy = args.dy + channels * image.Owner(crossing.alpha > 0.0f ? pixel0 : pixel1);
      const float alpha = image.Weighted(crossing.alpha);
      add_color(pixel0, -alpha, dy);
      add_color(pixel1, alpha, dy);
      if (i < begin) return;
      const float *color0 = image.Color(pixel0), *color1 = image.Color(pixel1);
      float by_alpha = 0.0f;
      for (int64_t c = 0; c < channels; ++c) by_alpha += dy[c] * (color1[c] - color0[c]);
      if (by_alpha == 0.0f) return;
      silhouette.AddGradient(crossing, x, y, vertical,
                             image.Weighted(by_alpha * args.pos_gradient_boost), sums, PlainAdd());
    });
  }
}

template <class Image>
bool Forward(const AntialiasForward& args, const Image& image, const Parallel& parallel) {
  const Geometry& g = args.geometry;
  const Outlines outlines(args);
  if (!outlines.ok()) return false;
  outlines.Prepare(parallel);
  const int64_t step = image.samples(), rows = g.num_images * g.height / step;
  const int64_t tasks = Max(int64_t{1}, Min(rows, rows * step * g.width / 8192));
  ParallelFor(parallel, rows > 0 ? tasks : 0, [&](int64_t task) {
    ForwardRows(args, image, outlines, step * PartBegin(rows, tasks, task),
                step * PartBegin(rows, tasks, task + 1));
  });
  return true;
}

template <class Image>
bool Backward(const AntialiasBackward& args, const Image& image, const Parallel& parallel) {
  const Geometry& g = args.forward.geometry;
  const int64_t step = image.samples(), targets = g.shared_pos ? 1 : g.num_images;
  const int64_t rows = (g.shared_pos ? g.num_images : 1) * g.height / step;
  const VertexSums sums(args.grad_pos, targets, 4 * g.num_vertices, rows, step * g.width);
  if (!sums.ok()) return false;
  sums.Run(parallel, [&](int64_t target, int64_t begin, int64_t end, float* out) {
    if (begin >= end) return;
    BackwardRows(args, image, step * (target * rows + begin), step * (target * rows + end), out);
  });
  return true;
}

}  // namespace

bool ForwardAntialias(const AntialiasForward& args, const Parallel& parallel) {
  return Forward(args, Pixels(args), parallel);
}

bool BackwardAntialias(const AntialiasBackward& args, const Parallel& parallel) {
  return Backward(args, Pixels(args.forward), parallel);
}

bool ForwardAntialiasPooled(const AntialiasPooledForward& args, const Parallel& parallel) {
  Samples samples(args.fine, args.pooling);
  if (!samples.ok()) return false;
  samples.FindRows([](int64_t) {});
  return Forward(args.fine, samples, parallel);
}

bool BackwardAntialiasPooled(const AntialiasPooledBackward& args, const Parallel& parallel) {
  Samples samples(args.fine.forward, args.pooling);
  if (!samples.ok()) return false;
  const int64_t channels = args.fine.forward.num_channels;
  samples.FindRows([&](int64_t row) {
    std::memset(args.fine.grad_color + channels * row, 0,
                static_cast<size_t>(channels) * sizeof(float));
  });
  return Backward(args.fine, samples, parallel);
}

}  // namespace RASTERIZER_ISA
}  // namespace rasterizer
