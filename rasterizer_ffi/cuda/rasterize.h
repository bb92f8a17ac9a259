// Forward rasterisation. Every covered pixel takes the least key of (depth, later triangle first);
// then each pixel computes the barycentrics of the triangle it shows.
//
// A triangle within one tile is drawn by the thread that sets it up. The tiles of larger ones are
// counted, and drawn by one thread each in a second loop: no thread draws more than a tile at a
// time, whatever the triangle.

#ifndef RASTERIZER_FFI_CUDA_RASTERIZE_H_
#define RASTERIZER_FFI_CUDA_RASTERIZE_H_

#include "../shared/clipping.h"
#include "../shared/depth.h"
#include "device.h"
#include "prefix_sum.h"

namespace rasterizer {
namespace RASTERIZER_ISA {
namespace {

constexpr int32_t kTile = 8;                        // rows and columns of pixels
constexpr int64_t kTileThreads = int64_t{1} << 18;  // enough to fill any GPU

// What the drawing of a triangle needs. Edge functions are >= 0 inside (the fill rule is in the
// constant) and hold at the pixel (x_min, y_min), as does the depth; steps are per pixel.
struct Setup {
  int32_t x_min, x_max, y_min, y_max;
  int64_t edge[3], edge_dx[3], edge_dy[3];
  uint32_t depth, depth_dx, depth_dy;  // modulo 2^32; exact inside the triangle
};

// False if the triangle has no area or reaches no pixel centre's row or column.
RASTERIZER_HD inline bool SetUpTriangle(const Snapped& c0, const Snapped& c1, const Snapped& c2,
                                        int32_t width, int32_t height, Setup* s) {
  const int32_t centre_x = 8 * width - 8, centre_y = 8 * height - 8;  // of pixel 0, negated
  s->x_min = Max((Min(c0.x, Min(c1.x, c2.x)) + centre_x + 15) >> 4, 0);
  s->x_max = Min((Max(c0.x, Max(c1.x, c2.x)) + centre_x) >> 4, width - 1);
  s->y_min = Max((Min(c0.y, Min(c1.y, c2.y)) + centre_y + 15) >> 4, 0);
  s->y_max = Min((Max(c0.y, Max(c1.y, c2.y)) + centre_y) >> 4, height - 1);
  if (s->x_min > s->x_max || s->y_min > s->y_max) return false;

  const int64_t area = LatticeArea(c0, c1, c2);
  if (area == 0) return false;
  const int32_t x[3] = {c0.x, c1.x, c2.x}, y[3] = {c0.y, c1.y, c2.y};
  const int64_t px = s->x_min * kSubpixels - centre_x, py = s->y_min * kSubpixels - centre_y;
  for (int a = 0; a < 3; ++a) {
    const int b = a == 2 ? 0 : a + 1;
    const int64_t dx = area < 0 ? x[a] - x[b] : x[b] - x[a];
    const int64_t dy = area < 0 ? y[a] - y[b] : y[b] - y[a];
    // A sample on the edge belongs to the triangle on left edges and on the bottom edge.
    const bool excluded = !(dy < 0 || (dy == 0 && dx > 0));
    s->edge[a] = dx * (py - y[a]) - dy * (px - x[a]) - (excluded ? 1 : 0);
    s->edge_dx[a] = -dy * kSubpixels;
    s->edge_dy[a] = dx * kSubpixels;
  }

  const float depth[3] = {c0.depth, c1.depth, c2.depth};
  const DepthPlane plane = PlaneOfDepth(x, y, depth, area, centre_x, centre_y);
  s->depth = plane.At(s->x_min, s->y_min);
  s->depth_dx = plane.dx;
  s->depth_dy = plane.dy;
  return true;
}

RASTERIZER_HD inline int64_t TilesAcross(const Setup& s) { return (s.x_max - s.x_min) / kTile + 1; }

RASTERIZER_HD inline int64_t CountTiles(const Setup& s) {
  return TilesAcross(s) * ((s.y_max - s.y_min) / kTile + 1);
}

// The triangles of all images and what they are drawn into. A key holds the depth in its upper half
// and the inverted id in its lower one; all ones mean background.
struct Drawing {
  Geometry geometry;
  float half_width, half_height;  // lattice units from the image centre to its border
  uint64_t* keys;                 // [B,H,W]
  const uint64_t* in_front;       // keys of the layer before; null for the first

  // The corners of what is left of a triangle in the frustum. Returns their number, 0 or at least
  // 3.
  RASTERIZER_HD int Corners(int64_t image, int64_t triangle, Snapped* corners) const {
    int64_t begin, end;
    ImageTriangles(geometry, image, &begin, &end);
    const int32_t* tri = geometry.tri + 3 * triangle;
    if (triangle < begin || triangle >= end || !IndicesValid(tri, geometry.num_vertices)) return 0;
    const float* pos = geometry.ImagePos(image);
    bool inside = true;
    for (int k = 0; k < 3; ++k) {
      corners[k] = Snap(pos + 4 * static_cast<int64_t>(tri[k]), half_width, half_height);
      inside = inside && corners[k].inside;
    }
    return inside ? 3 : ClipAndSnap(pos, tri, half_width, half_height, corners);
  }

  RASTERIZER_HD bool SetUp(const Snapped& c0, const Snapped& c1, const Snapped& c2,
                           Setup* setup) const {
    return SetUpTriangle(c0, c1, c2, static_cast<int32_t>(geometry.width),
                         static_cast<int32_t>(geometry.height), setup);
  }

  RASTERIZER_HD void DrawTile(const Setup& s, int64_t tile, int64_t image,
                              int64_t triangle) const {
    const int32_t x_skipped = static_cast<int32_t>(tile % TilesAcross(s)) * kTile;
    const int32_t y_skipped = static_cast<int32_t>(tile / TilesAcross(s)) * kTile;
    const int32_t columns = Min(kTile, s.x_max - s.x_min - x_skipped + 1);
    const int32_t rows = Min(kTile, s.y_max - s.y_min - y_skipped + 1);
    int64_t edge[3];
    for (int k = 0; k < 3; ++k) {
      edge[k] = s.edge[k] + x_skipped * s.edge_dx[k] + y_skipped * s.edge_dy[k];
      const int64_t most = edge[k] + Max(int64_t{0}, (columns - 1) * s.edge_dx[k]) +
                           Max(int64_t{0}, (rows - 1) * s.edge_dy[k]);
      if (most < 0) return;  // the whole tile is outside of this edge
    }
    uint32_t depth_of_row = s.depth + static_cast<uint32_t>(x_skipped) * s.depth_dx +
                            static_cast<uint32_t>(y_skipped) * s.depth_dy;
    const uint32_t inverted_id = ~static_cast<uint32_t>(triangle + 1);
    int64_t first = (image * geometry.height + s.y_min + y_skipped) * geometry.width + s.x_min +
                    x_skipped;
    for (int32_t row = 0; row < rows; ++row) {
      int64_t e0 = edge[0], e1 = edge[1], e2 = edge[2];
      uint32_t depth = depth_of_row;
      for (int32_t column = 0; column < columns; ++column) {
        if ((e0 | e1 | e2) >= 0) Show(first + column, depth, inverted_id);
        e0 += s.edge_dx[0], e1 += s.edge_dx[1], e2 += s.edge_dx[2];
        depth += s.depth_dx;
      }
      for (int k = 0; k < 3; ++k) edge[k] += s.edge_dy[k];
      depth_of_row += s.depth_dy;
      first += geometry.width;
    }
  }

  RASTERIZER_HD void Show(int64_t pixel, uint32_t depth, uint32_t inverted_id) const {
    if (in_front != nullptr && depth <= static_cast<uint32_t>(in_front[pixel] >> 32)) return;
    AtomicMin(&keys[pixel], static_cast<uint64_t>(depth) << 32 | inverted_id);
  }
};

// Draws the parts of a triangle that fit a tile and counts the tiles of the others. The index is of
// [B,F].
struct DrawSmall {
  Drawing drawing;
  int64_t* tiles;  // out [B,F]

  RASTERIZER_HD void operator()(int64_t i) const {
    const int64_t image = i / drawing.geometry.num_triangles;
    const int64_t triangle = i % drawing.geometry.num_triangles;
    Snapped corners[kMaxClipped];
    const int count = drawing.Corners(image, triangle, corners);
    int64_t large = 0;
    for (int k = 2; k < count; ++k) {
      Setup setup;
      if (!drawing.SetUp(corners[0], corners[k - 1], corners[k], &setup)) continue;
      const int64_t count_tiles = CountTiles(setup);
      if (count_tiles == 1) {
        drawing.DrawTile(setup, 0, image, triangle);
      } else {
        large += count_tiles;
      }
    }
    tiles[i] = large;
  }
};

// Draws every kTileThreads-th of the tiles that DrawSmall counted.
struct DrawLarge {
  Drawing drawing;
  const int64_t* tiles;  // [B,F], up to and including each triangle
  int64_t size;          // B * F

  RASTERIZER_HD void operator()(int64_t thread) const {
    for (int64_t tile = thread; tile < tiles[size - 1]; tile += kTileThreads) {
      // Finds the first triangle up to which there are more than `tile` tiles.
      int64_t low = 0, high = size - 1;
      while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (tiles[middle] > tile) {
          high = middle;
        } else {
          low = middle + 1;
        }
      }
      Draw(low, tile - (low > 0 ? tiles[low - 1] : 0));
    }
  }

  RASTERIZER_HD void Draw(int64_t i, int64_t tile) const {
    const int64_t image = i / drawing.geometry.num_triangles;
    const int64_t triangle = i % drawing.geometry.num_triangles;
    Snapped corners[kMaxClipped];
    const int count = drawing.Corners(image, triangle, corners);
    for (int k = 2; k < count; ++k) {
      Setup setup;
      if (!drawing.SetUp(corners[0], corners[k - 1], corners[k], &setup)) continue;
      const int64_t count_tiles = CountTiles(setup);
      if (count_tiles == 1) continue;
      if (tile < count_tiles) {
        drawing.DrawTile(setup, tile, image, triangle);
        return;
      }
      tile -= count_tiles;
    }
  }
};

// Barycentrics, depth and pixel derivatives of a pixel, from the unsnapped vertices. The index is
// of [B,H,W].
struct Shade {
  Geometry geometry;
  const uint64_t* keys;
  float* rast;     // out [B,H,W,4]
  float* rast_db;  // out [B,H,W,4]

  RASTERIZER_HD void operator()(int64_t i) const {
    const uint32_t id = ~static_cast<uint32_t>(keys[i]);
    if (id == 0) {
      Store4(rast + 4 * i, 0.0f, 0.0f, 0.0f, 0.0f);
      Store4(rast_db + 4 * i, 0.0f, 0.0f, 0.0f, 0.0f);
      return;
    }
    const int64_t column = i % geometry.width, row = i / geometry.width % geometry.height;
    const float step_x = 2.0f / static_cast<float>(geometry.width);
    const float step_y = 2.0f / static_cast<float>(geometry.height);
    const float fx = step_x * static_cast<float>(static_cast<int32_t>(column)) +
                     (1.0f / static_cast<float>(geometry.width) - 1.0f);
    const float fy = step_y * static_cast<float>(static_cast<int32_t>(row)) +
                     (1.0f / static_cast<float>(geometry.height) - 1.0f);
    const float* pos = geometry.ImagePos(i / (geometry.width * geometry.height));
    const int32_t* tri = geometry.tri + 3 * static_cast<int64_t>(id - 1);
    // Vertices as seen from the pixel: the homogeneous weights are the areas of opposite edges.
    float clip_x[3], clip_y[3], x[3], y[3], z[3], w[3];
    for (int k = 0; k < 3; ++k) {
      const float* p = pos + 4 * static_cast<int64_t>(tri[k]);
      clip_x[k] = p[0], clip_y[k] = p[1], z[k] = p[2], w[k] = p[3];
      x[k] = clip_x[k] - fx * w[k], y[k] = clip_y[k] - fy * w[k];
    }
    const float a0 = x[1] * y[2] - y[1] * x[2];
    const float a1 = x[2] * y[0] - y[2] * x[0];
    const float a2 = x[0] * y[1] - y[0] * x[1];
    const float inverse = 1.0f / (a0 + a1 + a2);
    const float b0 = a0 * inverse, b1 = a1 * inverse;
    const float depth =
        (z[0] * a0 + z[1] * a1 + z[2] * a2) / (w[0] * a0 + w[1] * a1 + w[2] * a2);

    // Written so that NaN becomes 0, or -1 for the depth.
    float u = b0 > 0.0f ? b0 : 0.0f;
    float v = b1 > 0.0f ? b1 : 0.0f;
    u = u < 1.0f ? u : 1.0f;
    v = v < 1.0f ? v : 1.0f;
    const float sum = u + v;
    const float shrink = 1.0f / (sum > 1.0f ? sum : 1.0f);
    u *= shrink;
    v *= shrink;
    float zw = depth > -1.0f ? depth : -1.0f;
    zw = zw < 1.0f ? zw : 1.0f;

    // The pixel's own coordinates cancel in the derivatives of the areas.
    float ax[3], ay[3];
    for (int k = 0; k < 3; ++k) {
      const int m = k == 2 ? 0 : k + 1, n = k == 0 ? 2 : k - 1;
      ax[k] = clip_y[m] * w[n] - w[m] * clip_y[n];
      ay[k] = w[m] * clip_x[n] - clip_x[m] * w[n];
    }
    const float sum_x = ax[0] + ax[1] + ax[2], sum_y = ay[0] + ay[1] + ay[2];
    const float per_x = step_x * inverse, per_y = step_y * inverse;
    Store4(rast + 4 * i, u, v, zw, static_cast<float>(id));
    Store4(rast_db + 4 * i, per_x * (ax[0] - u * sum_x), per_y * (ay[0] - u * sum_y),
           per_x * (ax[1] - v * sum_x), per_y * (ay[1] - v * sum_y));
  }
};

// Returns false when there is no memory for its scratch, as all operations here do.
template <class Device>
bool ForwardRasterize(const RasterizeForward& args, Device& device) {
  const Geometry& g = args.geometry;
  const int64_t pixels = g.num_images * g.height * g.width;
  const int64_t triangles = g.num_images * g.num_triangles;
  uint64_t* keys = device.template Allocate<uint64_t>(Min(args.num_layers, int64_t{2}) * pixels);
  int64_t* tiles = device.template Allocate<int64_t>(triangles);
  int64_t* sums = device.template Allocate<int64_t>(PrefixSumScratch(triangles));
  if (keys == nullptr || tiles == nullptr || sums == nullptr) return false;

  Drawing drawing;
  drawing.geometry = g;
  drawing.half_width = static_cast<float>(g.width * (kSubpixels / 2));
  drawing.half_height = static_cast<float>(g.height * (kSubpixels / 2));
  for (int64_t layer = 0; layer < args.num_layers; ++layer) {
    drawing.keys = keys + layer % 2 * pixels;
    drawing.in_front = layer == 0 ? nullptr : keys + (layer + 1) % 2 * pixels;
    device.Fill(drawing.keys, 0xff, pixels * static_cast<int64_t>(sizeof(uint64_t)));
    if (triangles > 0) {
      device.ForEach(triangles, DrawSmall{drawing, tiles});
      PrefixSum(tiles, triangles, sums, device);
      device.ForEach(kTileThreads, DrawLarge{drawing, tiles, triangles});
    }
    const int64_t first = 4 * layer * pixels;
    device.ForEach(pixels, Shade{g, drawing.keys, args.rast + first, args.rast_db + first});
  }
  return true;
}

}  // namespace
}  // namespace RASTERIZER_ISA
}  // namespace rasterizer

#endif  // RASTERIZER_FFI_CUDA_RASTERIZE_H_
