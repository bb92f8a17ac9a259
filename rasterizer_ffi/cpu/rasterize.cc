// Forward rasterisation: visibility in integers, then barycentrics of the visible triangle in floats.
//
// An image is cut into bands of rows. A band is drawn into a small depth buffer that stays in the
// cache, by all triangles that touch it in their given order, and is shaded at once. Coverage and
// depth are exact integer arithmetic and a pixel is shaded on its own, so the cut changes no bit.

#include "../shared/clipping.h"
#include "../shared/depth.h"
#include "isa.h"
#include "simd.h"

namespace rasterizer {
namespace RASTERIZER_ISA {
namespace {

constexpr int kMaxBands = 32;      // bits of a band mask
constexpr int64_t kBandPixels = 1 << 16;  // depth and id of a band: 512 KiB
constexpr int64_t kStreamedPixels = 1 << 18;  // from here the results do not fit the cache

// Scratch and constants of one call.
struct Frame {
  const RasterizeForward* args;
  float half_width, half_height;  // lattice units from the image centre to its border
  const Snapped* snapped;         // [B,V] or [V]
  int64_t bands;                  // bands an image is cut into

  const Snapped* ImageSnapped(int64_t image) const {
    const Geometry& g = args->geometry;
    return snapped + (g.shared_pos ? 0 : image * g.num_vertices);
  }
};

// What the drawing of a triangle needs, for a group of them. Edge functions are >= 0 inside (the
// fill rule is in the constant) and hold at the pixel (x_min, y_min); steps are per pixel.
struct SetupGroup {
  int32_t x_min[kGroup], x_max[kGroup], y_min[kGroup], y_max[kGroup];
  uint32_t edge[3][kGroup], edge_dx[3][kGroup], edge_dy[3][kGroup];
  uint32_t depth[kGroup], depth_dx[kGroup], depth_dy[kGroup];
  int32_t area[kGroup];   // twice the signed area, in lattice units
  int32_t drawn[kGroup];  // covers a pixel centre's row and column, has area
  int32_t id[kGroup];     // triangle index + 1
};

// Corners of a group of triangles, on the lattice.
struct alignas(64) CornerGroup {
  int32_t x[3][kGroup], y[3][kGroup];
  float depth[3][kGroup];
  int32_t inside[kGroup];  // of the frustum; the rest means nothing otherwise
  int32_t id[kGroup];      // triangle index + 1
};

// Products of lattice coordinates wrap modulo 2^32 here. That is exact wherever the result itself
// fits: an edge function inside the bounding box is at most the box's area, see FitsExactly.
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

    s->area[i] = area;
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
  }

  for (int i = 0; i < count; ++i) {
    const int32_t x[3] = {c.x[0][i], c.x[1][i], c.x[2][i]};
    const int32_t y[3] = {c.y[0][i], c.y[1][i], c.y[2][i]};
    if (!s->drawn[i] || !FitsExactly(x, y)) continue;
    const float depth[3] = {c.depth[0][i], c.depth[1][i], c.depth[2][i]};
    const DepthPlane plane = PlaneOfDepth(x, y, depth, s->area[i], centre_x, centre_y);
    s->depth[i] = plane.At(s->x_min[i], s->y_min[i]);
    s->depth_dx[i] = plane.dx;
    s->depth_dy[i] = plane.dy;
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

// Rows of most triangles have few pixels: they take half of a register where it holds 16.
constexpr int kFew = kGroup < 8 ? kGroup : 8;
typedef uint32_t FewU __attribute__((vector_size(4 * kFew)));
typedef int32_t FewI __attribute__((vector_size(4 * kFew)));

// Draws triangle i of the group, one vector of pixels of a row at a time. kNarrow: its rows fit one.
template <class VecU, class VecI, bool kNarrow, bool kBehind>
inline void Draw(const SetupGroup& s, int i, const Band& band) {
  constexpr int kWidth = sizeof(VecU) / 4;
  const int32_t y_begin = Max(s.y_min[i], band.row_begin);
  const int32_t y_end = Min(s.y_max[i] + 1, band.row_end);
  const uint32_t skipped = y_begin - s.y_min[i];
  // Everything is in variables of its own: the stores below might change what they point to.
  const uint32_t e0_dx = s.edge_dx[0][i], e1_dx = s.edge_dx[1][i], e2_dx = s.edge_dx[2][i];
  const uint32_t e0_dy = s.edge_dy[0][i], e1_dy = s.edge_dy[1][i], e2_dy = s.edge_dy[2][i];
  const uint32_t z_dx = s.depth_dx[i], z_dy = s.depth_dy[i];
  const VecU lanes = Load<VecU>(kLanes);
  VecU e0 = lanes * e0_dx + (s.edge[0][i] + skipped * e0_dy);
  VecU e1 = lanes * e1_dx + (s.edge[1][i] + skipped * e1_dy);
  VecU e2 = lanes * e2_dx + (s.edge[2][i] + skipped * e2_dy);
  VecU z = lanes * z_dx + (s.depth[i] + skipped * z_dy);
  const VecI id = VecI{} + s.id[i];
  const uint32_t columns = s.x_max[i] - s.x_min[i] + 1, stride = static_cast<uint32_t>(band.stride);
  const int64_t first = (y_begin - band.row_begin) * band.stride + s.x_min[i];
  uint32_t* depths = band.depth + first;
  int32_t* ids = band.id + first;
  const uint32_t* in_front = kBehind ? band.in_front + first : nullptr;
  for (int32_t y = y_begin; y < y_end; ++y) {
    uint32_t x = 0;
    do {
      const VecU outside = (e0 + x * e0_dx) | (e1 + x * e1_dx) | (e2 + x * e2_dx);
      const VecU depth = z + x * z_dx;
      const VecU old_depth = Load<VecU>(depths + x);
      const VecI old_id = Load<VecI>(ids + x);
      VecI wins = ((VecI)outside >= 0) & (depth <= old_depth);
      if (kBehind) wins &= depth > Load<VecU>(in_front + x);
      const VecU new_depth = wins ? depth : old_depth;
      const VecI new_id = wins ? id : old_id;
      std::memcpy(depths + x, &new_depth, sizeof new_depth);
      std::memcpy(ids + x, &new_id, sizeof new_id);
      x += kWidth;
    } while (!kNarrow && x < columns);
    e0 += e0_dy;
    e1 += e1_dy;
    e2 += e2_dy;
    z += z_dy;
    depths += stride;
    ids += stride;
    if (kBehind) in_front += stride;
  }
}

// The same in 64-bit arithmetic, for triangles so large that 32 bits do not hold an edge function.
void DrawHuge(const CornerGroup& c, const SetupGroup& s, int i, const Band& band) {
  const int32_t centre_x = 8 * band.width - 8, centre_y = 8 * band.height - 8;
  int32_t x[3], y[3];
  float depth[3];
  for (int k = 0; k < 3; ++k) x[k] = c.x[k][i], y[k] = c.y[k][i], depth[k] = c.depth[k][i];
  const int64_t area = static_cast<int64_t>(x[1] - x[0]) * (y[2] - y[0]) -
                       static_cast<int64_t>(x[2] - x[0]) * (y[1] - y[0]);
  if (area == 0) return;
  const int64_t sign = area < 0 ? -1 : 1;
  const DepthPlane plane = PlaneOfDepth(x, y, depth, area, centre_x, centre_y);
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
      const uint32_t here = plane.At(column, row);
      const bool behind = band.in_front == nullptr || here > band.in_front[at + column];
      if (inside && behind && here <= band.depth[at + column]) {
        band.depth[at + column] = here;
        band.id[at + column] = s.id[i];
      }
    }
  }
}

// Whether triangle i of a group is too large for Draw; in small images none is.
inline bool IsHuge(const CornerGroup& c, int i, const Band& band) {
  if (band.width * kSubpixels <= kMaxExactExtent && band.height * kSubpixels <= kMaxExactExtent) {
    return false;
  }
  const int32_t x[3] = {c.x[0][i], c.x[1][i], c.x[2][i]};
  const int32_t y[3] = {c.y[0][i], c.y[1][i], c.y[2][i]};
  return !FitsExactly(x, y);
}

// Draws triangle i of a group.
inline void DrawTriangle(const CornerGroup& corners, const SetupGroup& setup, int i,
                         const Band& band) {
  if (IsHuge(corners, i, band)) {
    if (setup.x_min[i] <= setup.x_max[i] && setup.y_min[i] <= setup.y_max[i]) {
      DrawHuge(corners, setup, i, band);
    }
  } else if (setup.drawn[i]) {
    if (band.in_front != nullptr) {
      Draw<GroupU, GroupI, false, true>(setup, i, band);
    } else if (setup.x_max[i] - setup.x_min[i] < kFew) {
      Draw<FewU, FewI, true, false>(setup, i, band);
    } else if (setup.x_max[i] - setup.x_min[i] < kGroup) {
      Draw<GroupU, GroupI, true, false>(setup, i, band);
    } else {
      Draw<GroupU, GroupI, false, false>(setup, i, band);
    }
  }
}

void DrawClipped(const float* pos, const int32_t* tri, int32_t id, const Frame& frame,
                 const Band& band) {
  Snapped polygon[kMaxClipped];
  const int count = ClipAndSnap(pos, tri, frame.half_width, frame.half_height, polygon);
  if (count == 0) return;
  for (int begin = 2; begin < count; begin += kGroup) {  // a fan, by groups
    const int size = Min(kGroup, count - begin);
    CornerGroup fan = {};
    for (int i = 0; i < size; ++i) {
      const Snapped* triangle[3] = {&polygon[0], &polygon[begin + i - 1], &polygon[begin + i]};
      for (int k = 0; k < 3; ++k) {
        fan.x[k][i] = triangle[k]->x;
        fan.y[k][i] = triangle[k]->y;
        fan.depth[k][i] = triangle[k]->depth;
      }
      fan.id[i] = id;
    }
    SetupGroup setup;
    SetUp(fan, size, band.width, band.height, &setup);
    for (int i = 0; i < size; ++i) DrawTriangle(fan, setup, i, band);
  }
}

// Loads the snapped corners of kGroup triangles.
inline void LoadCorners(const int32_t* const* tri, const Snapped* snapped, CornerGroup* group) {
  GroupI inside = ~GroupI{};
  for (int k = 0; k < 3; ++k) {
    const Columns corner = LoadRows([&](int i) { return snapped + tri[i][k]; });
    std::memcpy(group->x[k], &corner.x, sizeof corner.x);
    std::memcpy(group->y[k], &corner.y, sizeof corner.y);
    std::memcpy(group->depth[k], &corner.z, sizeof corner.z);
    inside &= (GroupI)corner.w;
  }
  std::memcpy(group->inside, &inside, sizeof inside);
}

// Triangles with valid indices that wait until there is a group of them.
class Pending {
 public:
  Pending(const Frame& frame, int64_t image, const Band& band)
      : frame_(frame), image_(image), band_(band) {}

  void Add(int64_t triangle) {
    triangles_[count_++] = triangle;
    if (count_ == kGroup) Draw();
  }

  // Draws them in their order: the later of equally deep triangles wins.
  void Draw() {
    if (count_ == 0) return;
    const Geometry& g = frame_.args->geometry;
    const int32_t* tri[kGroup];
    CornerGroup corners;
    for (int i = 0; i < kGroup; ++i) {
      const int64_t triangle = triangles_[i < count_ ? i : 0];
      tri[i] = g.tri + 3 * triangle;
      corners.id[i] = static_cast<int32_t>(triangle) + 1;
    }
    LoadCorners(tri, frame_.ImageSnapped(image_), &corners);
    SetupGroup setup;
    SetUp(corners, count_, band_.width, band_.height, &setup);
    for (int i = 0; i < count_; ++i) {
      if (corners.inside[i]) {
        DrawTriangle(corners, setup, i, band_);
      } else {
        DrawClipped(g.ImagePos(image_), tri[i], corners.id[i], frame_, band_);
      }
    }
    count_ = 0;
  }

 private:
  const Frame& frame_;
  int64_t image_;
  const Band& band_;
  int64_t triangles_[kGroup];
  int count_ = 0;
};

inline bool NoneHasBit(const uint32_t* masks, uint32_t bit) {
  return AllZero(Load<GroupU>(masks) & bit);
}

// Draws the triangles of an image that touch a band, in their order. `masks` has one bit per band
// for every triangle, or is null when there is one band.
void DrawTriangles(const Frame& frame, int64_t image, const uint32_t* masks, int64_t band_index,
                   const Band& band) {
  const Geometry& g = frame.args->geometry;
  const uint32_t bit = uint32_t{1} << band_index;
  int64_t begin, end;
  ImageTriangles(g, image, &begin, &end);
  Pending pending(frame, image, band);
  for (int64_t first = begin; first < end; first += kGroup) {
    const int64_t last = Min(end, first + kGroup);
    // Neighbours in the list mostly are neighbours in the image: whole groups are elsewhere.
    if (masks != nullptr && last - first == kGroup && NoneHasBit(masks + first, bit)) continue;
    for (int64_t t = first; t < last; ++t) {
      const bool drawn = masks != nullptr ? (masks[t] & bit) != 0
                                          : IndicesValid(g.tri + 3 * t, g.num_vertices);
      if (drawn) pending.Add(t);
    }
  }
  pending.Draw();
}

// Which bands the rows from `low` to `high` (lattice) touch.
inline uint32_t BandMask(int32_t low, int32_t high, int32_t height, int32_t bands) {
  const int32_t centre = 8 * height - 8;
  const int32_t y_min = Max((low + centre + 15) >> 4, 0);
  const int32_t y_max = Min((high + centre) >> 4, height - 1);
  // Band k begins at row height * k / bands, rounded down. The quotients are exact as far as their
  // integer part goes, and vectors have no division of integers.
  const auto band_of_row = [&](int32_t y) {
    return static_cast<int32_t>(((y + 1.0) * bands - 1.0) / static_cast<double>(height));
  };
  const int32_t first = band_of_row(Min(y_min, height - 1)), last = band_of_row(Max(y_max, 0));
  const uint32_t up_to_last = (uint32_t{2} << last) - 1, before_first = (uint32_t{1} << first) - 1;
  return y_min <= y_max ? up_to_last & ~before_first : 0;
}

uint32_t ClippedBands(const Frame& frame, int64_t image, const int32_t* tri) {
  const Geometry& g = frame.args->geometry;
  Snapped polygon[kMaxClipped];
  const int count =
      ClipAndSnap(g.ImagePos(image), tri, frame.half_width, frame.half_height, polygon);
  if (count == 0) return 0;
  int32_t low = polygon[0].y, high = polygon[0].y;
  for (int i = 1; i < count; ++i) {
    low = Min(low, polygon[i].y);
    high = Max(high, polygon[i].y);
  }
  return BandMask(low, high, static_cast<int32_t>(g.height), static_cast<int32_t>(frame.bands));
}

// Vertex indices in the place of invalid ones: what is computed with them is thrown away.
constexpr int32_t kFirstVertices[3] = {0, 0, 0};

// The bands that up to kGroup triangles of an image touch: none where an index is invalid.
void TriangleBands(const Frame& frame, int64_t image, int64_t first, int count, uint32_t* masks) {
  const Geometry& g = frame.args->geometry;
  const int32_t* tri[kGroup];
  bool valid[kGroup], any_valid = false;
  for (int i = 0; i < kGroup; ++i) {
    valid[i] = i < count && IndicesValid(g.tri + 3 * (first + i), g.num_vertices);
    any_valid |= valid[i];
    tri[i] = valid[i] ? g.tri + 3 * (first + i) : kFirstVertices;
  }
  if (!any_valid) {  // there may be no vertex at all
    for (int i = 0; i < count; ++i) masks[i] = 0;
    return;
  }
  CornerGroup corners;
  LoadCorners(tri, frame.ImageSnapped(image), &corners);
  uint32_t bands[kGroup];
  for (int i = 0; i < kGroup; ++i) {
    const int32_t low = Min(corners.y[0][i], Min(corners.y[1][i], corners.y[2][i]));
    const int32_t high = Max(corners.y[0][i], Max(corners.y[1][i], corners.y[2][i]));
    bands[i] = BandMask(low, high, static_cast<int32_t>(g.height),
                        static_cast<int32_t>(frame.bands));
  }
  for (int i = 0; i < count; ++i) {
    masks[i] = !valid[i] ? 0 : corners.inside[i] ? bands[i] : ClippedBands(frame, image, tri[i]);
  }
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
  s.streamed = CanStream(args.rast) && CanStream(args.rast_db) && g.width % 4 == 0 &&
               g.num_images * g.height * g.width >= kStreamedPixels;
  return s;
}

// Barycentrics, depth and pixel derivatives of kGroup pixels of a row, from the unsnapped vertices of
// the triangles they show. At least one of the ids is not 0.
void ShadeGroup(const Shading& s, const int32_t* ids, float fy, int32_t column, float* rast,
                float* rast_db) {
  // Pixels that show nothing compute with the triangle of one that does; it is thrown away.
  const GroupI shown_id = Load<GroupI>(ids);
  const GroupI shown = shown_id != 0;
  const int32_t one_shown = ids[__builtin_ctz(BitsOfMask(shown))];
  alignas(64) int32_t first_index[kGroup];  // in s.tri
  const GroupI first = 3 * ((shown ? shown_id : one_shown) - 1);
  std::memcpy(first_index, &first, sizeof first);
  const auto load_corner = [&](int k) {
    return LoadRows([&](int i) { return s.pos + 4 * int64_t{s.tri[first_index[i] + k]}; });
  };
  const Columns corner[3] = {load_corner(0), load_corner(1), load_corner(2)};
  const GroupF w0 = corner[0].w, w1 = corner[1].w, w2 = corner[2].w;

  const GroupI columns = Load<GroupI>(kLanes) + column;
  const GroupF fx = s.step_x * __builtin_convertvector(columns, GroupF) + s.first_x;
  // Vertices as seen from the pixel: the homogeneous weights are the areas of opposite edges.
  const GroupF x0 = corner[0].x - fx * w0, y0 = corner[0].y - fy * w0;
  const GroupF x1 = corner[1].x - fx * w1, y1 = corner[1].y - fy * w1;
  const GroupF x2 = corner[2].x - fx * w2, y2 = corner[2].y - fy * w2;
  const GroupF a0 = x1 * y2 - y1 * x2;
  const GroupF a1 = x2 * y0 - y2 * x0;
  const GroupF a2 = x0 * y1 - y0 * x1;
  const GroupF inverse = 1.0f / (a0 + a1 + a2);
  const GroupF b0 = a0 * inverse, b1 = a1 * inverse;
  const GroupF depth = (corner[0].z * a0 + corner[1].z * a1 + corner[2].z * a2) /
                       (w0 * a0 + w1 * a1 + w2 * a2);

  // Written so that NaN becomes 0, or -1 for the depth.
  const GroupF zero = {}, one = zero + 1.0f;
  GroupF u = b0 > zero ? b0 : zero;
  GroupF v = b1 > zero ? b1 : zero;
  u = u < one ? u : one;
  v = v < one ? v : one;
  const GroupF sum = u + v;
  const GroupF shrink = 1.0f / (sum > one ? sum : one);
  u *= shrink;
  v *= shrink;
  GroupF zw = depth > -one ? depth : -one;
  zw = zw < one ? zw : one;

  // The pixel's own coordinates cancel in the derivatives of the areas.
  const GroupF a0x = corner[1].y * w2 - w1 * corner[2].y;
  const GroupF a0y = w1 * corner[2].x - corner[1].x * w2;
  const GroupF a1x = corner[2].y * w0 - w2 * corner[0].y;
  const GroupF a1y = w2 * corner[0].x - corner[2].x * w0;
  const GroupF a2x = corner[0].y * w1 - w0 * corner[1].y;
  const GroupF a2y = w0 * corner[1].x - corner[0].x * w1;
  const GroupF sum_x = a0x + a1x + a2x, sum_y = a0y + a1y + a2y;
  const GroupF per_x = s.step_x * inverse, per_y = s.step_y * inverse;

  const Columns out = {shown ? u : zero, shown ? v : zero, shown ? zw : zero,
                       __builtin_convertvector(shown_id, GroupF)};
  const Columns out_db = {shown ? per_x * (a0x - u * sum_x) : zero,
                          shown ? per_y * (a0y - u * sum_y) : zero,
                          shown ? per_x * (a1x - v * sum_x) : zero,
                          shown ? per_y * (a1y - v * sum_y) : zero};
  StoreRows(out, rast, s.streamed);
  StoreRows(out_db, rast_db, s.streamed);
}

// Shades one row. `ids` may be read up to the next multiple of kGroup; what lies there is ignored.
void ShadeRow(const Shading& s, int32_t* ids, int64_t row, int64_t width, float* rast,
              float* rast_db) {
  const float fy = s.step_y * static_cast<float>(row) + s.first_y;
  for (int64_t i = width; i % kGroup != 0; ++i) ids[i] = 0;
  int64_t column = 0;
  while (column < width) {
    const int64_t empty_begin = column;
    while (column < width && AllZero(Load<GroupU>(ids + column))) column += kGroup;
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
      for (int64_t t = first; t < end; t += kGroup) {
        TriangleBands(frame, image, t, static_cast<int>(Min(end - t, int64_t{kGroup})),
                      masks.get() + image * g.num_triangles + t);
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
