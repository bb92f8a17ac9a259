// Forward rasterisation: visibility in integers, then barycentrics of the visible triangle in floats.
//
// An image is cut into bands of rows. A band is drawn into a small depth buffer that stays in the
// cache, by all triangles that touch it in their given order, and is shaded at once. Coverage and
// depth are exact integer arithmetic and a pixel is shaded on its own, so the cut changes no bit.

#include "../shared/snapping.h"
#include "isa.h"
#include "simd.h"

namespace rasterizer {
namespace RASTERIZER_ISA {
namespace {

constexpr int kGroup = 16;         // triangles set up together, and pixels shaded together
constexpr int kMaxBands = 32;      // bits of a band mask
constexpr int64_t kBandPixels = 1 << 16;  // depth and id of a band: 512 KiB
constexpr int64_t kStreamedPixels = 1 << 18;  // from here the results do not fit the cache

// Scratch and constants of one call.
struct Frame {
  const RasterizeForward* args;
  float half_width, half_height;  // lattice units from the image centre to its border
  const Snapped* snapped;         // [B,V] or [V]
  int64_t bands;                  // bands an image is cut into
};

// What the drawing of a triangle needs, for a group of them. Edge functions are >= 0 inside (the
// fill rule is in the constant) and hold at the pixel (x_min, y_min); steps are per pixel.
struct SetupGroup {
  int32_t x_min[kGroup], x_max[kGroup], y_min[kGroup], y_max[kGroup];
  uint32_t edge[3][kGroup], edge_dx[3][kGroup], edge_dy[3][kGroup];
  uint32_t depth[kGroup], depth_dx[kGroup], depth_dy[kGroup];
  int32_t drawn[kGroup];  // covers a pixel centre's row and column, has area
  int32_t id[kGroup];     // triangle index + 1
};

// Corners of a group of triangles, on the lattice.
struct CornerGroup {
  int32_t x[3][kGroup], y[3][kGroup];
  float zw[3][kGroup];
  int32_t id[kGroup];
};

// Products of lattice coordinates wrap modulo 2^32 here. That is exact wherever the result itself
// fits: an edge function inside the bounding box is at most the box's area, which the caller checks.
void SetUp(const CornerGroup& c, int count, int32_t width, int32_t height, SetupGroup* s) {
  const int32_t centre_x = 8 * width - 8, centre_y = 8 * height - 8;  // of pixel 0, negated
  for (int i = 0; i < kGroup; ++i) {
    const int32_t x0 = c.x[0][i], x1 = c.x[1][i], x2 = c.x[2][i];
    const int32_t y0 = c.y[0][i], y1 = c.y[1][i], y2 = c.y[2][i];
    const int32_t left = Min(x0, Min(x1, x2)), right = Max(x0, Max(x1, x2));
    const int32_t low = Min(y0, Min(y1, y2)), high = Max(y0, Max(y1, y2));
    const int32_t x_min = Max((left + centre_x + 15) >> 4, 0);
    const int32_t x_max = Min((right + centre_x) >> 4, width - 1);
    const int32_t y_min = Max((low + centre_y + 15) >> 4, 0);
    const int32_t y_max = Min((high + centre_y) >> 4, height - 1);
    const uint32_t dx1 = x1 - x0, dy1 = y1 - y0, dx2 = x2 - x0, dy2 = y2 - y0;
    const int32_t area = static_cast<int32_t>(dx1 * dy2 - dx2 * dy1);

    s->x_min[i] = x_min;
    s->x_max[i] = x_max;
    s->y_min[i] = y_min;
    s->y_max[i] = y_max;
    s->drawn[i] = (x_min <= x_max) & (y_min <= y_max) & (area != 0) & (i < count);
    s->id[i] = c.id[i];

    const int32_t px = x_min * kSubpixels - centre_x, py = y_min * kSubpixels - centre_y;
    for (int e = 0; e < 3; ++e) {
      const int a = e, b = e == 2 ? 0 : e + 1;
      const int32_t flip = area < 0 ? -1 : 0;
      const int32_t dx = ((c.x[b][i] - c.x[a][i]) ^ flip) - flip;
      const int32_t dy = ((c.y[b][i] - c.y[a][i]) ^ flip) - flip;
      // A sample on the edge belongs to the triangle on left edges and on the bottom edge.
      const uint32_t excluded = !((dy < 0) | ((dy == 0) & (dx > 0)));
      const uint32_t udx = dx, udy = dy;
      s->edge[e][i] = udx * static_cast<uint32_t>(py - c.y[a][i]) -
                      udy * static_cast<uint32_t>(px - c.x[a][i]) - excluded;
      s->edge_dx[e][i] = 0u - udy * kSubpixels;
      s->edge_dy[e][i] = udx * kSubpixels;
    }

    const double z0 = c.zw[0][i], dz1 = c.zw[1][i] - z0, dz2 = c.zw[2][i] - z0;
    const double scale = kDepthScale / static_cast<double>(area != 0 ? area : 1);
    const double slope_x = (dz1 * static_cast<int32_t>(dy2) - dz2 * static_cast<int32_t>(dy1)) * scale;
    const double slope_y = (dz2 * static_cast<int32_t>(dx1) - dz1 * static_cast<int32_t>(dx2)) * scale;
    s->depth[i] =
        RoundModulo32(z0 * kDepthScale + kDepthOffset + slope_x * (px - x0) + slope_y * (py - y0));
    s->depth_dx[i] = RoundModulo32(slope_x * kSubpixels);
    s->depth_dy[i] = RoundModulo32(slope_y * kSubpixels);
  }
}

// Depth and id of the pixels of one band; rows are padded so that whole vectors may be read past
// the last column.
struct Band {
  uint32_t* depth;
  const uint32_t* in_front;  // depth of the layer before; null for the first
  int32_t* id;
  int64_t stride;
  int32_t row_begin, row_end;
  int32_t width, height;
};

constexpr uint32_t kLanes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// Draws triangle i of the group, one vector of pixels of a row at a time.
template <class VecU, class VecI, bool kBehind>
inline void Draw(const SetupGroup& s, int i, const Band& band) {
  constexpr int kWidth = sizeof(VecU) / 4;
  const VecU lanes = Load<VecU>(kLanes);
  const VecU e0_lanes = lanes * s.edge_dx[0][i], e1_lanes = lanes * s.edge_dx[1][i],
             e2_lanes = lanes * s.edge_dx[2][i], z_lanes = lanes * s.depth_dx[i];
  const int32_t y_begin = Max(s.y_min[i], band.row_begin);
  const int32_t y_end = Min(s.y_max[i] + 1, band.row_end);
  const uint32_t skipped = y_begin - s.y_min[i];
  uint32_t e0 = s.edge[0][i] + skipped * s.edge_dy[0][i];
  uint32_t e1 = s.edge[1][i] + skipped * s.edge_dy[1][i];
  uint32_t e2 = s.edge[2][i] + skipped * s.edge_dy[2][i];
  uint32_t z = s.depth[i] + skipped * s.depth_dy[i];
  const int32_t columns = s.x_max[i] - s.x_min[i] + 1;
  const VecI id = VecI{} + s.id[i];
  int64_t at = (y_begin - band.row_begin) * band.stride + s.x_min[i];
  for (int32_t y = y_begin; y < y_end; ++y) {
    for (int32_t x = 0; x < columns; x += kWidth) {
      const uint32_t ux = x;
      const VecU outside = (e0_lanes + (e0 + ux * s.edge_dx[0][i])) |
                           (e1_lanes + (e1 + ux * s.edge_dx[1][i])) |
                           (e2_lanes + (e2 + ux * s.edge_dx[2][i]));
      const VecU depth = z_lanes + (z + ux * s.depth_dx[i]);
      const VecU old_depth = Load<VecU>(band.depth + at + x);
      const VecI old_id = Load<VecI>(band.id + at + x);
      VecI wins = ((VecI)outside >= 0) & (depth <= old_depth);
      if (kBehind) wins &= depth > Load<VecU>(band.in_front + at + x);
      const VecU new_depth = wins ? depth : old_depth;
      const VecI new_id = wins ? id : old_id;
      std::memcpy(band.depth + at + x, &new_depth, sizeof new_depth);
      std::memcpy(band.id + at + x, &new_id, sizeof new_id);
    }
    at += band.stride;
    e0 += s.edge_dy[0][i];
    e1 += s.edge_dy[1][i];
    e2 += s.edge_dy[2][i];
    z += s.depth_dy[i];
  }
}

// The same in 64-bit arithmetic, for triangles so large that 32 bits do not hold an edge function.
void DrawHuge(const CornerGroup& c, const SetupGroup& s, int i, const Band& band) {
  const int64_t centre_x = 8 * band.width - 8, centre_y = 8 * band.height - 8;
  int64_t x[3], y[3];
  for (int k = 0; k < 3; ++k) x[k] = c.x[k][i], y[k] = c.y[k][i];
  const int64_t area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0]);
  if (area == 0) return;
  const int64_t sign = area < 0 ? -1 : 1;
  const double z0 = c.zw[0][i], dz1 = c.zw[1][i] - z0, dz2 = c.zw[2][i] - z0;
  const double scale = kDepthScale / static_cast<double>(area);
  const double slope_x = (dz1 * (y[2] - y[0]) - dz2 * (y[1] - y[0])) * scale;
  const double slope_y = (dz2 * (x[1] - x[0]) - dz1 * (x[2] - x[0])) * scale;
  const int64_t px = s.x_min[i] * kSubpixels - centre_x;
  const int64_t py = s.y_min[i] * kSubpixels - centre_y;
  const uint32_t corner = RoundModulo32(z0 * kDepthScale + kDepthOffset + slope_x * (px - x[0]) +
                                        slope_y * (py - y[0]));
  const uint32_t depth_dx = RoundModulo32(slope_x * kSubpixels);
  const uint32_t depth_dy = RoundModulo32(slope_y * kSubpixels);
  const int32_t y_begin = Max(s.y_min[i], band.row_begin);
  const int32_t y_end = Min(s.y_max[i] + 1, band.row_end);
  for (int32_t row = y_begin; row < y_end; ++row) {
    const int64_t at = (row - band.row_begin) * band.stride;
    for (int32_t column = s.x_min[i]; column <= s.x_max[i]; ++column) {
      const int64_t sx = column * kSubpixels - centre_x, sy = row * kSubpixels - centre_y;
      bool inside = true;
      for (int a = 0; a < 3; ++a) {
        const int b = a == 2 ? 0 : a + 1;
        const int64_t dx = sign * (x[b] - x[a]), dy = sign * (y[b] - y[a]);
        const int64_t edge = dx * (sy - y[a]) - dy * (sx - x[a]);
        inside &= edge > 0 || (edge == 0 && (dy < 0 || (dy == 0 && dx > 0)));
      }
      const uint32_t depth = corner + static_cast<uint32_t>(column - s.x_min[i]) * depth_dx +
                             static_cast<uint32_t>(row - s.y_min[i]) * depth_dy;
      const bool behind = band.in_front == nullptr || depth > band.in_front[at + column];
      if (inside && behind && depth <= band.depth[at + column]) {
        band.depth[at + column] = depth;
        band.id[at + column] = s.id[i];
      }
    }
  }
}

// Whether 32 bits hold the edge functions in the bounding box, and the vectors' overshoot beyond it.
inline bool FitsInt32(const CornerGroup& c, int i) {
  const int64_t width = Max(c.x[0][i], Max(c.x[1][i], c.x[2][i])) -
                        static_cast<int64_t>(Min(c.x[0][i], Min(c.x[1][i], c.x[2][i])));
  const int64_t height = Max(c.y[0][i], Max(c.y[1][i], c.y[2][i])) -
                         static_cast<int64_t>(Min(c.y[0][i], Min(c.y[1][i], c.y[2][i])));
  return (width + 32 * kSubpixels) * (height + 32 * kSubpixels) < (int64_t{1} << 31);
}

void DrawGroup(const CornerGroup& corners, int count, const Band& band) {
  SetupGroup setup;
  const bool large = band.width > 1024 || band.height > 1024;
  SetUp(corners, count, band.width, band.height, &setup);
  for (int i = 0; i < count; ++i) {
    if (large && !FitsInt32(corners, i)) {
      if (setup.x_min[i] <= setup.x_max[i] && setup.y_min[i] <= setup.y_max[i]) {
        DrawHuge(corners, setup, i, band);
      }
    } else if (setup.drawn[i]) {
      if (band.in_front != nullptr) {
        Draw<Vec16u, Vec16i, true>(setup, i, band);
      } else if (setup.x_max[i] - setup.x_min[i] < 8) {
        Draw<Vec8u, Vec8i, false>(setup, i, band);
      } else {
        Draw<Vec16u, Vec16i, false>(setup, i, band);
      }
    }
  }
}

// Appends a triangle whose corners are snapped.
inline void AddCorners(const Snapped& a, const Snapped& b, const Snapped& c, int32_t id, int slot,
                       CornerGroup* group) {
  group->x[0][slot] = a.x, group->x[1][slot] = b.x, group->x[2][slot] = c.x;
  group->y[0][slot] = a.y, group->y[1][slot] = b.y, group->y[2][slot] = c.y;
  group->zw[0][slot] = a.zw, group->zw[1][slot] = b.zw, group->zw[2][slot] = c.zw;
  group->id[slot] = id;
}

void DrawClipped(const float* pos, const int32_t* tri, int32_t id, const Frame& frame,
                 const Band& band) {
  Snapped corners[2 * kMaxClipped];
  const int count = ClipAndSnap(pos, tri, frame.half_width, frame.half_height, corners);
  if (count == 0) return;
  CornerGroup group = {};
  for (int i = 2; i < count; ++i) AddCorners(corners[0], corners[i - 1], corners[i], id, i - 2, &group);
  DrawGroup(group, count - 2, band);
}

inline bool NoneHasBit(const uint32_t* masks, uint32_t bit) {
  uint32_t any = 0;
  for (int i = 0; i < kGroup; ++i) any |= masks[i];
  return (any & bit) == 0;
}

// Draws the triangles of an image that touch a band, in their order. `masks` has one bit per band
// for every triangle, or is null when there is one band.
void DrawTriangles(const Frame& frame, int64_t image, const uint32_t* masks, int64_t band_index,
                   const Band& band) {
  const Geometry& g = frame.args->geometry;
  const Snapped* snapped = frame.snapped + (g.shared_pos ? 0 : image * g.num_vertices);
  const float* pos = g.ImagePos(image);
  int64_t begin, end;
  ImageTriangles(g, image, &begin, &end);
  CornerGroup group = {};
  int count = 0;
  for (int64_t t = begin; t < end; ++t) {
    if (masks != nullptr) {
      // Neighbours in the list mostly are neighbours in the image: whole groups are elsewhere.
      while (t + kGroup <= end && NoneHasBit(masks + t, uint32_t{1} << band_index)) t += kGroup;
      if (t == end) break;
      if (!(masks[t] >> band_index & 1)) continue;
    }
    const int32_t* tri = g.tri + 3 * t;
    if (!IndicesValid(tri, g.num_vertices)) continue;
    const Snapped& a = snapped[tri[0]];
    const Snapped& b = snapped[tri[1]];
    const Snapped& c = snapped[tri[2]];
    const int32_t id = static_cast<int32_t>(t) + 1;
    if (a.inside & b.inside & c.inside) {
      AddCorners(a, b, c, id, count++, &group);
    } else {
      DrawGroup(group, count, band);  // keep the order: the later of equally deep triangles wins
      count = 0;
      DrawClipped(pos, tri, id, frame, band);
    }
    if (count == kGroup) {
      DrawGroup(group, count, band);
      count = 0;
    }
  }
  DrawGroup(group, count, band);
}

// Which bands the rows from `low` to `high` (lattice) touch.
inline uint32_t BandMask(int32_t low, int32_t high, int32_t height, int64_t bands) {
  const int32_t centre = 8 * height - 8;
  const int64_t y_min = Max((low + centre + 15) >> 4, 0);
  const int64_t y_max = Min((high + centre) >> 4, height - 1);
  if (y_min > y_max) return 0;
  // Band k begins at row height * k / bands, rounded down.
  const int64_t first = ((y_min + 1) * bands - 1) / height;
  const int64_t last = ((y_max + 1) * bands - 1) / height;
  return static_cast<uint32_t>(((uint64_t{2} << last) - 1) & ~((uint64_t{1} << first) - 1));
}

uint32_t TriangleBands(const Frame& frame, int64_t image, int64_t t) {
  const Geometry& g = frame.args->geometry;
  const int32_t* tri = g.tri + 3 * t;
  if (!IndicesValid(tri, g.num_vertices)) return 0;
  const Snapped* snapped = frame.snapped + (g.shared_pos ? 0 : image * g.num_vertices);
  Snapped corners[2 * kMaxClipped] = {snapped[tri[0]], snapped[tri[1]], snapped[tri[2]]};
  int count = 3;
  if (!(corners[0].inside & corners[1].inside & corners[2].inside)) {
    count = ClipAndSnap(g.ImagePos(image), tri, frame.half_width, frame.half_height, corners);
    if (count == 0) return 0;
  }
  int32_t low = corners[0].y, high = corners[0].y;
  for (int i = 1; i < count; ++i) {
    low = Min(low, corners[i].y);
    high = Max(high, corners[i].y);
  }
  return BandMask(low, high, static_cast<int32_t>(g.height), frame.bands);
}

// Per image constants of the shading.
struct Shading {
  const float* pos;
  const int32_t* tri;
  float step_x, step_y;    // clip-space size of a pixel
  float first_x, first_y;  // clip-space centre of the first pixel
  bool streamed;           // results bypass the cache
};

Shading MakeShading(const RasterizeForward& args, int64_t image) {
  const Geometry& g = args.geometry;
  Shading s;
  s.pos = g.ImagePos(image);
  s.tri = g.tri;
  s.step_x = 2.0f / static_cast<float>(g.width);
  s.step_y = 2.0f / static_cast<float>(g.height);
  s.first_x = 1.0f / static_cast<float>(g.width) - 1.0f;
  s.first_y = 1.0f / static_cast<float>(g.height) - 1.0f;
  s.streamed = CanStream(args.rast) && CanStream(args.rast_db) &&
               g.num_images * g.height * g.width >= kStreamedPixels;
  return s;
}

// Barycentrics, depth and pixel derivatives of kGroup pixels of a row, from the unsnapped vertices of
// the triangles they show. At least one of the ids is not 0.
void ShadeGroup(const Shading& s, const int32_t* ids, float fy, int32_t column, float* rast,
                float* rast_db) {
  // By corner: x, y, z, w.
  alignas(64) float corner[3][4][kGroup];
  int32_t any = 0;
  for (int i = 0; i < kGroup; ++i) any |= ids[i];
  for (int i = kGroup - 1; i >= 0; --i) any = ids[i] != 0 ? ids[i] : any;
  for (int i = 0; i < kGroup; i += 4) {
    const float* vertex[3][4];
    for (int j = 0; j < 4; ++j) {
      // Pixels without a triangle compute with any other's and are set to zero at the end.
      const int32_t* tri = s.tri + 3 * static_cast<int64_t>((ids[i + j] != 0 ? ids[i + j] : any) - 1);
      for (int k = 0; k < 3; ++k) vertex[k][j] = s.pos + 4 * static_cast<int64_t>(tri[k]);
    }
    for (int k = 0; k < 3; ++k) {
      Transpose4(vertex[k][0], vertex[k][1], vertex[k][2], vertex[k][3], &corner[k][0][i],
                 &corner[k][1][i], &corner[k][2][i], &corner[k][3][i]);
    }
  }
  const float *x0_ = corner[0][0], *y0_ = corner[0][1], *z0_ = corner[0][2], *w0_ = corner[0][3];
  const float *x1_ = corner[1][0], *y1_ = corner[1][1], *z1_ = corner[1][2], *w1_ = corner[1][3];
  const float *x2_ = corner[2][0], *y2_ = corner[2][1], *z2_ = corner[2][2], *w2_ = corner[2][3];

  alignas(64) float out[4][kGroup], out_db[4][kGroup];
  for (int i = 0; i < kGroup; ++i) {
    const float fx = s.step_x * static_cast<float>(column + i) + s.first_x;
    const float w0 = w0_[i], w1 = w1_[i], w2 = w2_[i];
    // Vertices as seen from the pixel: the homogeneous weights are the areas of opposite edges.
    const float x0 = x0_[i] - fx * w0, y0 = y0_[i] - fy * w0;
    const float x1 = x1_[i] - fx * w1, y1 = y1_[i] - fy * w1;
    const float x2 = x2_[i] - fx * w2, y2 = y2_[i] - fy * w2;
    const float a0 = x1 * y2 - y1 * x2;
    const float a1 = x2 * y0 - y2 * x0;
    const float a2 = x0 * y1 - y0 * x1;
    const float inverse = 1.0f / (a0 + a1 + a2);
    const float b0 = a0 * inverse, b1 = a1 * inverse;
    const float depth = (z0_[i] * a0 + z1_[i] * a1 + z2_[i] * a2) / (w0 * a0 + w1 * a1 + w2 * a2);

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
    const float a0x = y1_[i] * w2 - w1 * y2_[i], a0y = w1 * x2_[i] - x1_[i] * w2;
    const float a1x = y2_[i] * w0 - w2 * y0_[i], a1y = w2 * x0_[i] - x2_[i] * w0;
    const float a2x = y0_[i] * w1 - w0 * y1_[i], a2y = w0 * x1_[i] - x0_[i] * w1;
    const float sum_x = a0x + a1x + a2x, sum_y = a0y + a1y + a2y;
    const float per_x = s.step_x * inverse, per_y = s.step_y * inverse;

    const bool shown = ids[i] != 0;
    out[0][i] = shown ? u : 0.0f;
    out[1][i] = shown ? v : 0.0f;
    out[2][i] = shown ? zw : 0.0f;
    out[3][i] = static_cast<float>(ids[i]);
    out_db[0][i] = shown ? per_x * (a0x - u * sum_x) : 0.0f;
    out_db[1][i] = shown ? per_y * (a0y - u * sum_y) : 0.0f;
    out_db[2][i] = shown ? per_x * (a1x - v * sum_x) : 0.0f;
    out_db[3][i] = shown ? per_y * (a1y - v * sum_y) : 0.0f;
  }
  for (int i = 0; i < kGroup; i += 4) {
    Interleave4(&out[0][i], &out[1][i], &out[2][i], &out[3][i], rast + 4 * i, s.streamed);
    Interleave4(&out_db[0][i], &out_db[1][i], &out_db[2][i], &out_db[3][i], rast_db + 4 * i,
                s.streamed);
  }
}

// Shades one row. `ids` may be read up to the next multiple of kGroup; what lies there is ignored.
void ShadeRow(const Shading& s, int32_t* ids, int64_t row, int64_t width, float* rast,
              float* rast_db) {
  const float fy = s.step_y * static_cast<float>(row) + s.first_y;
  for (int64_t i = width; i % kGroup != 0; ++i) ids[i] = 0;
  int64_t column = 0;
  while (column < width) {
    const int64_t empty_begin = column;
    while (column < width && AllZero(ids + column)) column += kGroup;
    const int64_t empty = 4 * (Min(column, width) - empty_begin);
    if (empty > 0) {
      ZeroFill(rast + 4 * empty_begin, empty, s.streamed);
      ZeroFill(rast_db + 4 * empty_begin, empty, s.streamed);
    }
    if (column + kGroup <= width) {
      ShadeGroup(s, ids + column, fy, static_cast<int32_t>(column), rast + 4 * column,
                 rast_db + 4 * column);
    } else if (column < width) {
      alignas(64) float tail[4 * kGroup], tail_db[4 * kGroup];
      Shading unstreamed = s;
      unstreamed.streamed = false;
      ShadeGroup(unstreamed, ids + column, fy, static_cast<int32_t>(column), tail, tail_db);
      const size_t size = sizeof(float) * 4 * static_cast<size_t>(width - column);
      std::memcpy(rast + 4 * column, tail, size);
      std::memcpy(rast_db + 4 * column, tail_db, size);
    }
    column += kGroup;
  }
}

bool DrawBand(const Frame& frame, int64_t image, const uint32_t* masks, int64_t band_index) {
  const Geometry& g = frame.args->geometry;
  Band band;
  band.width = static_cast<int32_t>(g.width);
  band.height = static_cast<int32_t>(g.height);
  band.row_begin = static_cast<int32_t>(PartBegin(g.height, frame.bands, band_index));
  band.row_end = static_cast<int32_t>(PartBegin(g.height, frame.bands, band_index + 1));
  band.stride = g.width + kGroup;
  const int64_t size = band.stride * (band.row_end - band.row_begin);
  const int64_t layers = frame.args->num_layers;
  Scratch<uint32_t> depth(layers > 1 ? 2 * size : size);
  Scratch<int32_t> id(size);
  if (!depth.ok() || !id.ok()) return false;
  band.id = id.get();
  const Shading shading = MakeShading(*frame.args, image);
  for (int64_t layer = 0; layer < layers; ++layer) {
    band.depth = depth.get() + (layer % 2) * size;
    band.in_front = layer == 0 ? nullptr : depth.get() + (1 - layer % 2) * size;
    for (int64_t i = 0; i < size; ++i) {
      band.depth[i] = kFarthest;
      band.id[i] = 0;
    }
    DrawTriangles(frame, image, masks, band_index, band);
    for (int32_t row = band.row_begin; row < band.row_end; ++row) {
      const int64_t first = 4 * ((layer * g.num_images + image) * g.height + row) * g.width;
      ShadeRow(shading, band.id + (row - band.row_begin) * band.stride, row, g.width,
               frame.args->rast + first, frame.args->rast_db + first);
    }
  }
  if (shading.streamed) StreamFence();
  return true;
}

}  // namespace

bool ForwardRasterize(const RasterizeForward& args, const Parallel& parallel) {
  const Geometry& g = args.geometry;
  if (g.num_images == 0 || g.height == 0 || g.width == 0) return true;
  const int64_t vertices = g.num_vertices * (g.shared_pos ? 1 : g.num_images);
  Scratch<Snapped> snapped(vertices);
  if (!snapped.ok()) return false;

  Frame frame;
  frame.args = &args;
  frame.half_width = static_cast<float>(g.width * (kSubpixels / 2));
  frame.half_height = static_cast<float>(g.height * (kSubpixels / 2));
  frame.snapped = snapped.get();
  // Enough bands for the threads and for the cache, no more: a triangle is set up in each it touches.
  const int64_t wanted = Max((g.height * g.width + kBandPixels - 1) / kBandPixels,
                             (2 * parallel.num_threads() + g.num_images - 1) / g.num_images);
  frame.bands = Min(Min(wanted, int64_t{kMaxBands}), (g.height + 15) / 16);
  if (parallel.num_threads() == 1 && g.height * g.width <= kBandPixels) frame.bands = 1;

  const int64_t chunk = 4096;
  ParallelFor(parallel, (vertices + chunk - 1) / chunk, [&](int64_t task) {
    const int64_t end = Min(vertices, (task + 1) * chunk);
    for (int64_t i = task * chunk; i < end; ++i) {
      snapped[i] = Snap(g.pos + 4 * i, frame.half_width, frame.half_height);
    }
  });

  const int64_t num_masks = frame.bands > 1 ? g.num_images * g.num_triangles : 0;
  Scratch<uint32_t> masks(num_masks);
  if (!masks.ok()) return false;
  const int64_t chunks = (g.num_triangles + chunk - 1) / chunk;
  if (num_masks > 0) {
    ParallelFor(parallel, g.num_images * chunks, [&](int64_t task) {
      const int64_t image = task / chunks, first = task % chunks * chunk;
      const int64_t end = Min(g.num_triangles, first + chunk);
      for (int64_t t = first; t < end; ++t) {
        masks[image * g.num_triangles + t] = TriangleBands(frame, image, t);
      }
    });
  }

  Scratch<bool> done(g.num_images * frame.bands);
  if (!done.ok()) return false;
  ParallelFor(parallel, g.num_images * frame.bands, [&](int64_t task) {
    const int64_t image = task / frame.bands;
    const uint32_t* image_masks = num_masks > 0 ? masks.get() + image * g.num_triangles : nullptr;
    done[task] = DrawBand(frame, image, image_masks, task % frame.bands);
  });
  for (int64_t i = 0; i < g.num_images * frame.bands; ++i) {
    if (!done[i]) return false;
  }
  return true;
}

}  // namespace RASTERIZER_ISA
}  // namespace rasterizer
