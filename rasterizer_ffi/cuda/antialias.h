// Analytic antialiasing. Every pixel looks at the four pairs it is in and takes what is its own, so
// that colours need no atomics and come out the same in any order; shared/silhouette.h has the
// rest.

#ifndef RASTERIZER_FFI_CUDA_ANTIALIAS_H_
#define RASTERIZER_FFI_CUDA_ANTIALIAS_H_

#include "../shared/silhouette.h"
#include "device.h"

namespace rasterizer {
namespace RASTERIZER_ISA {
namespace {

// What all pixels of an image share, by vertex and by triangle. S: B, or 1 in range mode.
struct Outlines {
  Point* points;   // [S,V]
  int32_t* edges;  // [S,1+F]: 0 for the background, then PossibleEdges of each triangle

  RASTERIZER_HD Silhouette OfImage(const AntialiasForward& args, int64_t image) const {
    const Geometry& g = args.geometry;
    const int64_t set = g.shared_pos ? 0 : image;
    return Silhouette(args, image, points + set * g.num_vertices,
                      edges + set * (g.num_triangles + 1));
  }
};

// The index is of [S,V].
struct FindPoints {
  Geometry geometry;
  Point* points;  // out

  RASTERIZER_HD void operator()(int64_t i) const {
    points[i] = PointOfVertex(geometry.pos + 4 * i, 0.5f * static_cast<float>(geometry.width),
                              0.5f * static_cast<float>(geometry.height));
  }
};

// The index is of [S,1+F].
struct FindEdges {
  AntialiasForward args;
  Outlines outlines;  // points are read, edges written

  RASTERIZER_HD void operator()(int64_t i) const {
    const Geometry& g = args.geometry;
    const int64_t set = i / (g.num_triangles + 1), id = i % (g.num_triangles + 1);
    const float extent =
        0.5f * static_cast<float>(g.width) + 0.5f * static_cast<float>(g.height);
    outlines.edges[i] =
        id == 0 ? 0 : PossibleEdges(args, id - 1, outlines.points + set * g.num_vertices, extent);
  }
};

// A silhouette between two neighbours, as one of them sees it.
struct PairCrossing {
  Crossing crossing;
  int64_t pixel0, pixel1;  // of [B,H,W]
  int64_t column, row;     // of pixel0
  bool vertical;           // pixel1 is in the next row, not to the right
};

// Calls visit(crossing) for the silhouettes of a pixel of [B,H,W], in the order in which the CPU
// adds them up: with the pixel above, to the left, to the right, in the next row. `crossings` says
// which pairs there are to look at; if null, all.
template <class Visit>
RASTERIZER_HD inline void VisitPairs(const AntialiasForward& args, const Silhouette& silhouette,
                                     const uint8_t* crossings, int64_t pixel, Visit visit) {
  const Geometry& g = args.geometry;
  const int64_t column = pixel % g.width, row = pixel / g.width % g.height;
  for (int pair = 0; pair < 4; ++pair) {
    PairCrossing p;
    p.vertical = pair == 0 || pair == 3;
    p.column = column - (pair == 1), p.row = row - (pair == 0);
    const bool inside = p.column >= 0 && p.row >= 0 &&
                        (p.vertical ? p.row + 1 < g.height : p.column + 1 < g.width);
    if (!inside) continue;
    p.pixel0 = pixel - (pair == 0 ? g.width : pair == 1 ? 1 : 0);
    p.pixel1 = p.pixel0 + (p.vertical ? g.width : 1);
    if (crossings != nullptr && !(crossings[p.pixel0] >> p.vertical & 1)) continue;
    p.crossing = silhouette.Find(args.rast + 4 * p.pixel0, args.rast + 4 * p.pixel1, p.column,
                                 p.row, p.vertical);
    if (p.crossing.alpha != 0.0f) visit(p);
  }
}

// The index is of [B,H,W].
struct Antialias {
  AntialiasForward args;
  Outlines outlines;

  RASTERIZER_HD void operator()(int64_t i) const {
    const int64_t channels = args.num_channels;
    float* out = args.out + channels * i;
    for (int64_t c = 0; c < channels; ++c) out[c] = args.color[channels * i + c];
    const int64_t image = i / (args.geometry.width * args.geometry.height);
    uint8_t crossings = 0;
    VisitPairs(args, outlines.OfImage(args, image), nullptr, i, [&](const PairCrossing& p) {
      const float alpha = p.crossing.alpha;
      if (i == p.pixel0) crossings |= static_cast<uint8_t>(1 << p.vertical);
      if (i != (alpha > 0.0f ? p.pixel0 : p.pixel1)) return;
      const float* color0 = args.color + channels * p.pixel0;
      const float* color1 = args.color + channels * p.pixel1;
      for (int64_t c = 0; c < channels; ++c) out[c] += alpha * (color1[c] - color0[c]);
    });
    args.crossings[i] = crossings;
  }
};

// Writes the gradient of a pixel's colour, and adds to those of the positions for the pairs whose
// first pixel it is. The index is of [B,H,W].
struct AntialiasGradient {
  AntialiasBackward args;

  RASTERIZER_HD void operator()(int64_t i) const {
    const AntialiasForward& forward = args.forward;
    const Geometry& g = forward.geometry;
    const int64_t channels = forward.num_channels;
    const int64_t image = i / (g.width * g.height);
    float* grad = args.grad_color + channels * i;
    float* grad_pos = args.grad_pos + (g.shared_pos ? 0 : image * g.num_vertices * 4);
    for (int64_t c = 0; c < channels; ++c) grad[c] = args.dy[channels * i + c];
    const Silhouette silhouette(forward, image, nullptr, nullptr);
    VisitPairs(forward, silhouette, args.crossings, i, [&](const PairCrossing& p) {
      const float alpha = p.crossing.alpha;
      const float* dy = args.dy + channels * (alpha > 0.0f ? p.pixel0 : p.pixel1);
      const float factor = i == p.pixel0 ? -alpha : alpha;
      for (int64_t c = 0; c < channels; ++c) grad[c] += factor * dy[c];
      if (i != p.pixel0) return;
      const float* color0 = forward.color + channels * p.pixel0;
      const float* color1 = forward.color + channels * p.pixel1;
      float by_alpha = 0.0f;
      for (int64_t c = 0; c < channels; ++c) by_alpha += dy[c] * (color1[c] - color0[c]);
      if (by_alpha == 0.0f) return;
      silhouette.AddGradient(p.crossing, p.column, p.row, p.vertical,
                             by_alpha * args.pos_gradient_boost, grad_pos, AtomicAdd());
    });
  }
};

template <class Device>
bool ForwardAntialias(const AntialiasForward& args, Device& device) {
  const Geometry& g = args.geometry;
  const int64_t sets = g.shared_pos ? 1 : g.num_images;
  const Outlines outlines = {
      device.template Allocate<Point>(sets * g.num_vertices),
      device.template Allocate<int32_t>(sets * (g.num_triangles + 1)),
  };
  if (outlines.points == nullptr || outlines.edges == nullptr) return false;
  device.ForEach(sets * g.num_vertices, FindPoints{g, outlines.points});
  device.ForEach(sets * (g.num_triangles + 1), FindEdges{args, outlines});
  device.ForEach(g.num_images * g.height * g.width, Antialias{args, outlines});
  return true;
}

template <class Device>
bool BackwardAntialias(const AntialiasBackward& args, Device& device) {
  const Geometry& g = args.forward.geometry;
  const int64_t vertices = (g.shared_pos ? 1 : g.num_images) * g.num_vertices;
  device.Fill(args.grad_pos, 0, vertices * 4 * static_cast<int64_t>(sizeof(float)));
  device.ForEach(g.num_images * g.height * g.width, AntialiasGradient{args});
  return true;
}

}  // namespace
}  // namespace RASTERIZER_ISA
}  // namespace rasterizer

#endif  // RASTERIZER_FFI_CUDA_ANTIALIAS_H_
