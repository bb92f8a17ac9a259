// Gradient of (u, v) and of their pixel derivatives with respect to the vertex positions.
//
// With p_k = (x_k - fx w_k, y_k - fy w_k), the vertices as seen from the pixel (fx, fy):
//   a0 = p1 x p2, a1 = p2 x p0, a2 = p0 x p1, a = a0 + a1 + a2, u = a0 / a, v = a1 / a,
//   du/dX = (2/W) (a0_x - u a_x) / a,  where _x is the derivative by fx, and so on.
// Reverse mode by hand. Here the barycentrics are not clamped, and 1/a is 1/(a + copysign(1e-6, a)), as
// nvdiffrast has it.

#include "accumulate.h"
#include "simd.h"

namespace rasterizer {
namespace RASTERIZER_ISA {
namespace {

// Neighbouring pixels of rast and the triangles that they show.
struct PixelGroup {
  uint32_t shown;                         // bit i: pixel i shows a triangle with valid indices
  alignas(64) int32_t vertex[3][kGroup];  // of those triangles; 0 for other pixels

  // Reads `count` pixels; those beyond show nothing.
  PixelGroup(const float* rast, int count, const int32_t* tri, int64_t num_triangles,
             int64_t num_vertices) {
    const GroupF id = LoadPixelRows(rast, count).w;
    const GroupI possible = (id >= 1.0f) & (id <= GroupF{} + static_cast<float>(num_triangles));
    GroupI triangle = __builtin_convertvector(possible ? id : GroupF{}, GroupI) - 1;
    GroupI valid = (triangle >= 0) & (triangle < static_cast<int32_t>(num_triangles));
    shown = 0;
    if (AllZero((GroupU)valid)) return;
    triangle &= valid;
    for (int i = 0; i < kGroup; ++i) {
      for (int k = 0; k < 3; ++k) vertex[k][i] = tri[3 * static_cast<int64_t>(triangle[i]) + k];
    }
    for (int k = 0; k < 3; ++k) {
      valid &= Load<GroupU>(vertex[k]) < static_cast<uint32_t>(num_vertices);
    }
    for (int k = 0; k < 3; ++k) {
      const GroupI clamped = Load<GroupI>(vertex[k]) & valid;
      std::memcpy(vertex[k], &clamped, sizeof clamped);
    }
    shown = BitsOfMask(valid);
  }

  // x, y, z, w of a corner of the triangles.
  Columns LoadCorner(const float* pos, int k) const {
    return LoadRows([&](int i) { return pos + 4 * static_cast<int64_t>(vertex[k][i]); });
  }
};

// Adds a row of four floats to another.
inline void AddRow(float* sum, Vec4f row) {
  row += Load<Vec4f>(sum);
  std::memcpy(sum, &row, sizeof row);
}

// Incoming gradients of a group of pixels, by u, v and their derivatives.
struct Incoming {
  GroupF u, v;
  GroupF u_x, u_y, v_x, v_y;
};

// `out`: what the corners receive; nothing by z.
template <bool kWithDerivatives>
inline void GroupGradient(const Columns corner[3], GroupF fx, float fy, float step_x, float step_y,
                          const Incoming& in, Columns out[3]) {
  const GroupF w0 = corner[0].w, w1 = corner[1].w, w2 = corner[2].w;
  const GroupF x0 = corner[0].x - fx * w0, y0 = corner[0].y - fy * w0;
  const GroupF x1 = corner[1].x - fx * w1, y1 = corner[1].y - fy * w1;
  const GroupF x2 = corner[2].x - fx * w2, y2 = corner[2].y - fy * w2;
  const GroupF a0 = x1 * y2 - y1 * x2;
  const GroupF a1 = x2 * y0 - y2 * x0;
  const GroupF a2 = x0 * y1 - y0 * x1;
  const GroupF area = a0 + a1 + a2;
  const GroupF inverse = 1.0f / (area + CopySign(1e-6f, area));
  const GroupF u = a0 * inverse, v = a1 * inverse;

  GroupF gu = in.u, gv = in.v;
  GroupF from_derivatives = {};
  GroupF gax0 = {}, gax1 = {}, gax2 = {}, gay0 = {}, gay1 = {}, gay2 = {};
  if (kWithDerivatives) {
    const GroupF a0x = y1 * w2 - w1 * y2, a0y = w1 * x2 - x1 * w2;
    const GroupF a1x = y2 * w0 - w2 * y0, a1y = w2 * x0 - x2 * w0;
    const GroupF a2x = y0 * w1 - w0 * y1, a2y = w0 * x1 - x0 * w1;
    const GroupF ax = a0x + a1x + a2x, ay = a0y + a1y + a2y;
    const GroupF gux = in.u_x * (step_x * inverse), guy = in.u_y * (step_y * inverse);
    const GroupF gvx = in.v_x * (step_x * inverse), gvy = in.v_y * (step_y * inverse);
    from_derivatives = gux * (a0x - u * ax) + guy * (a0y - u * ay) + gvx * (a1x - v * ax) +
                       gvy * (a1y - v * ay);
    gu -= gux * ax + guy * ay;
    gv -= gvx * ax + gvy * ay;
    gax2 = -(gux * u + gvx * v);
    gay2 = -(guy * u + gvy * v);
    gax0 = gux + gax2, gax1 = gvx + gax2;
    gay0 = guy + gay2, gay1 = gvy + gay2;
  }
  const GroupF g2 = -inverse * (gu * u + gv * v + from_derivatives);
  const GroupF g0 = gu * inverse + g2;
  const GroupF g1 = gv * inverse + g2;

  GroupF gx0 = g2 * y1 - g1 * y2, gy0 = g1 * x2 - g2 * x1;
  GroupF gx1 = g0 * y2 - g2 * y0, gy1 = g2 * x0 - g0 * x2;
  GroupF gx2 = g1 * y0 - g0 * y1, gy2 = g0 * x1 - g1 * x0;
  GroupF gw0 = {}, gw1 = {}, gw2 = {};
  if (kWithDerivatives) {
    gw0 = gax1 * y2 - gax2 * y1 + gay2 * x1 - gay1 * x2;
    gw1 = gax2 * y0 - gax0 * y2 + gay0 * x2 - gay2 * x0;
    gw2 = gax0 * y1 - gax1 * y0 + gay1 * x0 - gay0 * x1;
    gy0 += gax2 * w1 - gax1 * w2, gx0 += gay1 * w2 - gay2 * w1;
    gy1 += gax0 * w2 - gax2 * w0, gx1 += gay2 * w0 - gay0 * w2;
    gy2 += gax1 * w0 - gax0 * w1, gx2 += gay0 * w1 - gay1 * w0;
  }
  out[0] = {gx0, gy0, GroupF{}, gw0 - fx * gx0 - fy * gy0};
  out[1] = {gx1, gy1, GroupF{}, gw1 - fx * gx1 - fy * gy1};
  out[2] = {gx2, gy2, GroupF{}, gw2 - fx * gx2 - fy * gy2};
}

// Adds the gradients of one row of one image.
void AddRowGradient(const RasterizeBackward& args, int64_t image, int64_t row, float* sums) {
  const Geometry& g = args.geometry;
  const float* pos = g.ImagePos(image);
  const float step_x = 2.0f / static_cast<float>(g.width);
  const float step_y = 2.0f / static_cast<float>(g.height);
  const float first_x = 1.0f / static_cast<float>(g.width) - 1.0f;
  const float fy = step_y * static_cast<float>(row) + (1.0f / static_cast<float>(g.height) - 1.0f);
  for (int64_t column = 0; column < g.width; column += kGroup) {
    const int64_t at = 4 * ((image * g.height + row) * g.width + column);
    const int count = static_cast<int>(Min(int64_t{kGroup}, g.width - column));
    const PixelGroup pixels(args.rast + at, count, g.tri, g.num_triangles, g.num_vertices);
    if (pixels.shown == 0) continue;

    const Columns dy = LoadPixelRows(args.dy + at, count);
    const Columns ddb = args.ddb != nullptr ? LoadPixelRows(args.ddb + at, count) : Columns{};
    const Incoming in = {dy.x, dy.y, ddb.x, ddb.y, ddb.z, ddb.w};
    const GroupI by_derivatives = (in.u_x != 0.0f) | (in.u_y != 0.0f) | (in.v_x != 0.0f) |
                                  (in.v_y != 0.0f);
    const GroupI any = (in.u != 0.0f) | (in.v != 0.0f) | by_derivatives;
    const uint32_t active = pixels.shown & BitsOfMask(any);
    if (active == 0) continue;

    const Columns corner[3] = {pixels.LoadCorner(pos, 0), pixels.LoadCorner(pos, 1),
                               pixels.LoadCorner(pos, 2)};
    const GroupI columns = Load<GroupI>(kLanes) + static_cast<int32_t>(column);
    const GroupF fx = step_x * __builtin_convertvector(columns, GroupF) + first_x;
    Columns out[3];
    if (AllZero((GroupU)by_derivatives)) {
      GroupGradient<false>(corner, fx, fy, step_x, step_y, in, out);
    } else {
      GroupGradient<true>(corner, fx, fy, step_x, step_y, in, out);
    }
    alignas(64) float rows[3][4 * kGroup];
    for (int k = 0; k < 3; ++k) StoreRows(out[k], rows[k], false);
    for (int i = 0; i < kGroup; ++i) {
      if (!(active >> i & 1)) continue;
      for (int k = 0; k < 3; ++k) {
        AddRow(sums + 4 * static_cast<int64_t>(pixels.vertex[k][i]), Load<Vec4f>(rows[k] + 4 * i));
      }
    }
  }
}

}  // namespace

bool BackwardRasterize(const RasterizeBackward& args, const Parallel& parallel) {
  const Geometry& g = args.geometry;
  const int64_t targets = g.shared_pos ? 1 : g.num_images;
  const int64_t rows = g.shared_pos ? g.num_images * g.height : g.height;
  const VertexSums sums(args.grad_pos, targets, 4 * g.num_vertices, rows, g.width);
  if (!sums.ok()) return false;
  sums.Run(parallel, [&](int64_t target, int64_t begin, int64_t end, float* out) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = target * rows + i;  // among the rows of all images
      AddRowGradient(args, row / g.height, row % g.height, out);
    }
  });
  return true;
}

}  // namespace RASTERIZER_ISA
}  // namespace rasterizer
