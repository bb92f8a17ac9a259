// Gradient of (u, v) and of their pixel derivatives with respect to the vertex positions.
//
// With p_k = (x_k - fx w_k, y_k - fy w_k), the vertices as seen from the pixel (fx, fy):
//   a0 = p1 x p2, a1 = p2 x p0, a2 = p0 x p1, a = a0 + a1 + a2, u = a0 / a, v = a1 / a,
//   du/dX = (2/W) (a0_x - u a_x) / a,  where _x is the derivative by fx, and so on.
// Reverse mode by hand. Here the barycentrics are not clamped, and 1/a is 1/(a + copysign(1e-6, a)), as
// nvdiffrast has it.

#include "accumulate.h"

namespace rasterizer {
namespace RASTERIZER_ISA {
namespace {

constexpr int kGroup = 16;

// The corners of the triangles that a group of pixels shows, and the incoming gradients.
struct PixelGroup {
  float x[3][kGroup], y[3][kGroup], w[3][kGroup];
  float fx[kGroup];
  float gu[kGroup], gv[kGroup];
  float gux[kGroup], guy[kGroup], gvx[kGroup], gvy[kGroup];
  float out[3][3][kGroup];  // gradient by corner k of x, y, w
  const int32_t* tri[kGroup];
};

template <bool kWithDerivatives>
void GroupGradient(float fy, float step_x, float step_y, PixelGroup* group) {
  PixelGroup& p = *group;
  for (int i = 0; i < kGroup; ++i) {
    const float fx = p.fx[i];
    const float w0 = p.w[0][i], w1 = p.w[1][i], w2 = p.w[2][i];
    const float x0 = p.x[0][i] - fx * w0, y0 = p.y[0][i] - fy * w0;
    const float x1 = p.x[1][i] - fx * w1, y1 = p.y[1][i] - fy * w1;
    const float x2 = p.x[2][i] - fx * w2, y2 = p.y[2][i] - fy * w2;
    const float a0 = x1 * y2 - y1 * x2;
    const float a1 = x2 * y0 - y2 * x0;
    const float a2 = x0 * y1 - y0 * x1;
    const float area = a0 + a1 + a2;
    const float inverse = 1.0f / (area + __builtin_copysignf(1e-6f, area));
    const float u = a0 * inverse, v = a1 * inverse;

    float gu = p.gu[i], gv = p.gv[i];
    float from_derivatives = 0.0f;
    float gax0 = 0.0f, gax1 = 0.0f, gax2 = 0.0f, gay0 = 0.0f, gay1 = 0.0f, gay2 = 0.0f;
    if (kWithDerivatives) {
      const float a0x = y1 * w2 - w1 * y2, a0y = w1 * x2 - x1 * w2;
      const float a1x = y2 * w0 - w2 * y0, a1y = w2 * x0 - x2 * w0;
      const float a2x = y0 * w1 - w0 * y1, a2y = w0 * x1 - x0 * w1;
      const float ax = a0x + a1x + a2x, ay = a0y + a1y + a2y;
      const float gux = p.gux[i] * (step_x * inverse), guy = p.guy[i] * (step_y * inverse);
      const float gvx = p.gvx[i] * (step_x * inverse), gvy = p.gvy[i] * (step_y * inverse);
      from_derivatives = gux * (a0x - u * ax) + guy * (a0y - u * ay) + gvx * (a1x - v * ax) +
                         gvy * (a1y - v * ay);
      gu -= gux * ax + guy * ay;
      gv -= gvx * ax + gvy * ay;
      gax2 = -(gux * u + gvx * v);
      gay2 = -(guy * u + gvy * v);
      gax0 = gux + gax2, gax1 = gvx + gax2;
      gay0 = guy + gay2, gay1 = gvy + gay2;
    }
    const float g2 = -inverse * (gu * u + gv * v + from_derivatives);
    const float g0 = gu * inverse + g2;
    const float g1 = gv * inverse + g2;

    float gx0 = g2 * y1 - g1 * y2, gy0 = g1 * x2 - g2 * x1;
    float gx1 = g0 * y2 - g2 * y0, gy1 = g2 * x0 - g0 * x2;
    float gx2 = g1 * y0 - g0 * y1, gy2 = g0 * x1 - g1 * x0;
    float gw0 = 0.0f, gw1 = 0.0f, gw2 = 0.0f;
    if (kWithDerivatives) {
      gw0 = gax1 * y2 - gax2 * y1 + gay2 * x1 - gay1 * x2;
      gw1 = gax2 * y0 - gax0 * y2 + gay0 * x2 - gay2 * x0;
      gw2 = gax0 * y1 - gax1 * y0 + gay1 * x0 - gay0 * x1;
      gy0 += gax2 * w1 - gax1 * w2, gx0 += gay1 * w2 - gay2 * w1;
      gy1 += gax0 * w2 - gax2 * w0, gx1 += gay2 * w0 - gay0 * w2;
      gy2 += gax1 * w0 - gax0 * w1, gx2 += gay0 * w1 - gay1 * w0;
    }
    p.out[0][0][i] = gx0, p.out[0][1][i] = gy0, p.out[0][2][i] = gw0 - fx * gx0 - fy * gy0;
    p.out[1][0][i] = gx1, p.out[1][1][i] = gy1, p.out[1][2][i] = gw1 - fx * gx1 - fy * gy1;
    p.out[2][0][i] = gx2, p.out[2][1][i] = gy2, p.out[2][2][i] = gw2 - fx * gx2 - fy * gy2;
  }
}

class RowGradient {
 public:
  RowGradient(const RasterizeBackward& args, float* sums) : args_(args), sums_(sums) {}

  // Adds the gradients of one row of one image.
  void Add(int64_t image, int64_t row) {
    const Geometry& g = args_.geometry;
    pos_ = g.ImagePos(image);
    step_x_ = 2.0f / static_cast<float>(g.width);
    step_y_ = 2.0f / static_cast<float>(g.height);
    fy_ = step_y_ * static_cast<float>(row) + (1.0f / static_cast<float>(g.height) - 1.0f);
    const float first_x = 1.0f / static_cast<float>(g.width) - 1.0f;
    const int64_t first = (image * g.height + row) * g.width;
    for (int64_t column = 0; column < g.width; ++column) {
      const int64_t at = 4 * (first + column);
      const int64_t triangle = TriangleOfPixel(args_.rast + at, g.num_triangles);
      if (triangle < 0) continue;
      const float* dy = args_.dy + at;
      const float* ddb = args_.ddb == nullptr ? nullptr : args_.ddb + at;
      const bool zero = dy[0] == 0.0f && dy[1] == 0.0f &&
                        (ddb == nullptr || (ddb[0] == 0.0f && ddb[1] == 0.0f && ddb[2] == 0.0f &&
                                            ddb[3] == 0.0f));
      const int32_t* tri = g.tri + 3 * triangle;
      if (zero || !IndicesValid(tri, g.num_vertices)) continue;
      Append(tri, step_x_ * static_cast<float>(static_cast<int32_t>(column)) + first_x, dy, ddb);
    }
    Flush();
  }

 private:
  void Append(const int32_t* tri, float fx, const float* dy, const float* ddb) {
    const int i = count_++;
    group_.tri[i] = tri;
    group_.fx[i] = fx;
    for (int k = 0; k < 3; ++k) {
      const float* p = pos_ + 4 * static_cast<int64_t>(tri[k]);
      group_.x[k][i] = p[0], group_.y[k][i] = p[1], group_.w[k][i] = p[3];
    }
    group_.gu[i] = dy[0], group_.gv[i] = dy[1];
    if (ddb != nullptr) {
      group_.gux[i] = ddb[0], group_.guy[i] = ddb[1];
      group_.gvx[i] = ddb[2], group_.gvy[i] = ddb[3];
      derivatives_ |= ddb[0] != 0.0f || ddb[1] != 0.0f || ddb[2] != 0.0f || ddb[3] != 0.0f;
    }
    if (count_ == kGroup) Flush();
  }

  void Flush() {
    if (count_ == 0) return;
    if (derivatives_) {
      GroupGradient<true>(fy_, step_x_, step_y_, &group_);
    } else {
      GroupGradient<false>(fy_, step_x_, step_y_, &group_);
    }
    for (int i = 0; i < count_; ++i) {
      for (int k = 0; k < 3; ++k) {
        float* sum = sums_ + 4 * static_cast<int64_t>(group_.tri[i][k]);
        sum[0] += group_.out[k][0][i];
        sum[1] += group_.out[k][1][i];
        sum[3] += group_.out[k][2][i];
      }
    }
    count_ = 0;
    derivatives_ = false;
  }

  const RasterizeBackward& args_;
  float* sums_;
  const float* pos_ = nullptr;
  float step_x_ = 0.0f, step_y_ = 0.0f, fy_ = 0.0f;
  int count_ = 0;
  bool derivatives_ = false;  // of the group, not all of the gradients by rast_db are 0
  PixelGroup group_ = {};
};

}  // namespace

bool BackwardRasterize(const RasterizeBackward& args, const Parallel& parallel) {
  const Geometry& g = args.geometry;
  const int64_t targets = g.shared_pos ? 1 : g.num_images;
  const int64_t rows = g.shared_pos ? g.num_images * g.height : g.height;
  const VertexSums sums(args.grad_pos, targets, 4 * g.num_vertices, rows, g.width);
  if (!sums.ok()) return false;
  sums.Run(parallel, [&](int64_t target, int64_t begin, int64_t end, float* out) {
    RowGradient gradient(args, out);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = target * rows + i;  // among the rows of all images
      gradient.Add(row / g.height, row % g.height);
    }
  });
  return true;
}

}  // namespace RASTERIZER_ISA
}  // namespace rasterizer
