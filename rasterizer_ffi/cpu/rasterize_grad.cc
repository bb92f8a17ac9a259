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
  Vec16f u, v;
  uint32_t shown;                        // bit i: pixel i shows a triangle with valid indices
  alignas(64) int32_t vertex[3][kGroup];  // of those triangles; 0 for other pixels

  // Reads `count` pixels; those beyond show nothing.
  PixelGroup(const float* rast, int count, const int32_t* tri, int64_t num_triangles,
             int64_t num_vertices) {
    Vec16f depth, id;
    LoadPixelRows(rast, count, &u, &v, &depth, &id);
    const Vec16i possible = (id >= 1.0f) & (id <= Vec16f{} + static_cast<float>(num_triangles));
    Vec16i triangle = __builtin_convertvector(possible ? id : Vec16f{}, Vec16i) - 1;
    Vec16i valid = (triangle >= 0) & (triangle < static_cast<int32_t>(num_triangles));
    shown = 0;
    if (AllZero((Vec16u)valid)) return;
    triangle &= valid;
    for (int i = 0; i < kGroup; ++i) {
      for (int k = 0; k < 3; ++k) vertex[k][i] = tri[3 * static_cast<int64_t>(triangle[i]) + k];
    }
    for (int k = 0; k < 3; ++k) {
      valid &= Load<Vec16u>(vertex[k]) < static_cast<uint32_t>(num_vertices);
    }
    for (int k = 0; k < 3; ++k) {
      const Vec16i clamped = Load<Vec16i>(vertex[k]) & valid;
      std::memcpy(vertex[k], &clamped, sizeof clamped);
    }
    shown = BitsOfMask(valid);
  }

  // x, y, z, w of a corner of the triangles.
  void LoadCorner(const float* pos, int k, Vec16f corner[4]) const {
    LoadRows([&](int i) { return pos + 4 * static_cast<int64_t>(vertex[k][i]); }, &corner[0],
             &corner[1], &corner[2], &corner[3]);
  }
};

// Adds a row of four floats to another.
inline void AddRow(float* sum, Vec4f row) {
  row += Load<Vec4f>(sum);
  std::memcpy(sum, &row, sizeof row);
}

// Incoming gradients of a group of pixels, by u, v and their derivatives.
struct Incoming {
  Vec16f u, v;
  Vec16f u_x, u_y, v_x, v_y;
};

// What a pixel's corners receive: x, y, w.
struct Outgoing {
  Vec16f x, y, w;
};

// `corner`: x, y, z, w of the three corners.
template <bool kWithDerivatives>
inline void GroupGradient(const Vec16f corner[3][4], Vec16f fx, float fy, float step_x,
                          float step_y, const Incoming& in, Outgoing out[3]) {
  const Vec16f w0 = corner[0][3], w1 = corner[1][3], w2 = corner[2][3];
  const Vec16f x0 = corner[0][0] - fx * w0, y0 = corner[0][1] - fy * w0;
  const Vec16f x1 = corner[1][0] - fx * w1, y1 = corner[1][1] - fy * w1;
  const Vec16f x2 = corner[2][0] - fx * w2, y2 = corner[2][1] - fy * w2;
  const Vec16f a0 = x1 * y2 - y1 * x2;
  const Vec16f a1 = x2 * y0 - y2 * x0;
  const Vec16f a2 = x0 * y1 - y0 * x1;
  const Vec16f area = a0 + a1 + a2;
  const Vec16f inverse = 1.0f / (area + CopySign(1e-6f, area));
  const Vec16f u = a0 * inverse, v = a1 * inverse;

  Vec16f gu = in.u, gv = in.v;
  Vec16f from_derivatives = {};
  Vec16f gax0 = {}, gax1 = {}, gax2 = {}, gay0 = {}, gay1 = {}, gay2 = {};
  if (kWithDerivatives) {
    const Vec16f a0x = y1 * w2 - w1 * y2, a0y = w1 * x2 - x1 * w2;
    const Vec16f a1x = y2 * w0 - w2 * y0, a1y = w2 * x0 - x2 * w0;
    const Vec16f a2x = y0 * w1 - w0 * y1, a2y = w0 * x1 - x0 * w1;
    const Vec16f ax = a0x + a1x + a2x, ay = a0y + a1y + a2y;
    const Vec16f gux = in.u_x * (step_x * inverse), guy = in.u_y * (step_y * inverse);
    const Vec16f gvx = in.v_x * (step_x * inverse), gvy = in.v_y * (step_y * inverse);
    from_derivatives = gux * (a0x - u * ax) + guy * (a0y - u * ay) + gvx * (a1x - v * ax) +
                       gvy * (a1y - v * ay);
    gu -= gux * ax + guy * ay;
    gv -= gvx * ax + gvy * ay;
    gax2 = -(gux * u + gvx * v);
    gay2 = -(guy * u + gvy * v);
    gax0 = gux + gax2, gax1 = gvx + gax2;
    gay0 = guy + gay2, gay1 = gvy + gay2;
  }
  const Vec16f g2 = -inverse * (gu * u + gv * v + from_derivatives);
  const Vec16f g0 = gu * inverse + g2;
  const Vec16f g1 = gv * inverse + g2;

  Vec16f gx0 = g2 * y1 - g1 * y2, gy0 = g1 * x2 - g2 * x1;
  Vec16f gx1 = g0 * y2 - g2 * y0, gy1 = g2 * x0 - g0 * x2;
  Vec16f gx2 = g1 * y0 - g0 * y1, gy2 = g0 * x1 - g1 * x0;
  Vec16f gw0 = {}, gw1 = {}, gw2 = {};
  if (kWithDerivatives) {
    gw0 = gax1 * y2 - gax2 * y1 + gay2 * x1 - gay1 * x2;
    gw1 = gax2 * y0 - gax0 * y2 + gay0 * x2 - gay2 * x0;
    gw2 = gax0 * y1 - gax1 * y0 + gay1 * x0 - gay0 * x1;
    gy0 += gax2 * w1 - gax1 * w2, gx0 += gay1 * w2 - gay2 * w1;
    gy1 += gax0 * w2 - gax2 * w0, gx1 += gay2 * w0 - gay0 * w2;
    gy2 += gax1 * w0 - gax0 * w1, gx2 += gay0 * w1 - gay1 * w0;
  }
  out[0] = {gx0, gy0, gw0 - fx * gx0 - fy * gy0};
  out[1] = {gx1, gy1, gw1 - fx * gx1 - fy * gy1};
  out[2] = {gx2, gy2, gw2 - fx * gx2 - fy * gy2};
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

    Incoming in = {};
    Vec16f unused[2];
    LoadPixelRows(args.dy + at, count, &in.u, &in.v, &unused[0], &unused[1]);
    if (args.ddb != nullptr) {
      LoadPixelRows(args.ddb + at, count, &in.u_x, &in.u_y, &in.v_x, &in.v_y);
    }
    const Vec16i by_derivatives = (in.u_x != 0.0f) | (in.u_y != 0.0f) | (in.v_x != 0.0f) |
                                  (in.v_y != 0.0f);
    const Vec16i any = (in.u != 0.0f) | (in.v != 0.0f) | by_derivatives;
    const uint32_t active = pixels.shown & BitsOfMask(any);
    if (active == 0) continue;

    Vec16f corner[3][4];
    for (int k = 0; k < 3; ++k) pixels.LoadCorner(pos, k, corner[k]);
    const Vec16i columns = Load<Vec16i>(kLanes) + static_cast<int32_t>(column);
    const Vec16f fx = step_x * __builtin_convertvector(columns, Vec16f) + first_x;
    Outgoing out[3];
    if (AllZero((Vec16u)by_derivatives)) {
      GroupGradient<false>(corner, fx, fy, step_x, step_y, in, out);
    } else {
      GroupGradient<true>(corner, fx, fy, step_x, step_y, in, out);
    }
    const Vec16f by_z = {};
    alignas(64) float rows[3][4 * kGroup];
    for (int k = 0; k < 3; ++k) StoreRows(&out[k].x, &out[k].y, &by_z, &out[k].w, rows[k], false);
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
