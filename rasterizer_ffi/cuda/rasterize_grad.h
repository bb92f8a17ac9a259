// Gradient of (u, v) and of their pixel derivatives with respect to the vertex positions; the
// formulas are those of cpu/rasterize_grad.cc, which names them.

#ifndef RASTERIZER_FFI_CUDA_RASTERIZE_GRAD_H_
#define RASTERIZER_FFI_CUDA_RASTERIZE_GRAD_H_

#include "device.h"

namespace rasterizer {
namespace RASTERIZER_ISA {
namespace {

// Adds what one pixel gives to the three vertices it shows. The index is of [B,H,W].
struct PositionGradient {
  RasterizeBackward args;

  RASTERIZER_HD void operator()(int64_t i) const {
    const Geometry& g = args.geometry;
    const int64_t triangle = TriangleOfPixel(args.rast + 4 * i, g.num_triangles);
    if (triangle < 0) return;
    const int32_t* tri = g.tri + 3 * triangle;
    if (!IndicesValid(tri, g.num_vertices)) return;
    float gu = args.dy[4 * i], gv = args.dy[4 * i + 1];
    float gux = 0.0f, guy = 0.0f, gvx = 0.0f, gvy = 0.0f;
    if (args.ddb != nullptr) {
      const float* ddb = args.ddb + 4 * i;
      gux = ddb[0], guy = ddb[1], gvx = ddb[2], gvy = ddb[3];
    }
    const bool derivatives = gux != 0.0f || guy != 0.0f || gvx != 0.0f || gvy != 0.0f;
    if (gu == 0.0f && gv == 0.0f && !derivatives) return;

    const int64_t column = i % g.width, row = i / g.width % g.height;
    const int64_t image = i / (g.width * g.height);
    const float step_x = 2.0f / static_cast<float>(g.width);
    const float step_y = 2.0f / static_cast<float>(g.height);
    const float fx = step_x * static_cast<float>(static_cast<int32_t>(column)) +
                     (1.0f / static_cast<float>(g.width) - 1.0f);
    const float fy = step_y * static_cast<float>(static_cast<int32_t>(row)) +
                     (1.0f / static_cast<float>(g.height) - 1.0f);
    const float* pos = g.ImagePos(image);
    float x[3], y[3], w[3];
    for (int k = 0; k < 3; ++k) {
      const float* p = pos + 4 * static_cast<int64_t>(tri[k]);
      w[k] = p[3];
      x[k] = p[0] - fx * w[k], y[k] = p[1] - fy * w[k];
    }
    const float a0 = x[1] * y[2] - y[1] * x[2];
    const float a1 = x[2] * y[0] - y[2] * x[0];
    const float a2 = x[0] * y[1] - y[0] * x[1];
    const float area = a0 + a1 + a2;
    const float inverse = 1.0f / (area + __builtin_copysignf(1e-6f, area));
    const float u = a0 * inverse, v = a1 * inverse;

    // Gradients by the derivatives of the three areas.
    float gax[3] = {}, gay[3] = {}, from_derivatives = 0.0f;
    if (derivatives) {
      float ax[3], ay[3];
      for (int k = 0; k < 3; ++k) {
        const int m = Next(k), n = Previous(k);
        ax[k] = y[m] * w[n] - w[m] * y[n];
        ay[k] = w[m] * x[n] - x[m] * w[n];
      }
      const float sum_x = ax[0] + ax[1] + ax[2], sum_y = ay[0] + ay[1] + ay[2];
      gux *= step_x * inverse, guy *= step_y * inverse;
      gvx *= step_x * inverse, gvy *= step_y * inverse;
      from_derivatives = gux * (ax[0] - u * sum_x) + guy * (ay[0] - u * sum_y) +
                         gvx * (ax[1] - v * sum_x) + gvy * (ay[1] - v * sum_y);
      gu -= gux * sum_x + guy * sum_y;
      gv -= gvx * sum_x + gvy * sum_y;
      gax[2] = -(gux * u + gvx * v);
      gay[2] = -(guy * u + gvy * v);
      gax[0] = gux + gax[2], gax[1] = gvx + gax[2];
      gay[0] = guy + gay[2], gay[1] = gvy + gay[2];
    }
    const float g2 = -inverse * (gu * u + gv * v + from_derivatives);
    const float by_area[3] = {gu * inverse + g2, gv * inverse + g2, g2};

    float* grad = args.grad_pos + (g.shared_pos ? 0 : image * g.num_vertices * 4);
    for (int k = 0; k < 3; ++k) {
      const int m = Next(k), n = Previous(k);
      float gx = by_area[n] * y[m] - by_area[m] * y[n];
      float gy = by_area[m] * x[n] - by_area[n] * x[m];
      float gw = 0.0f;
      if (derivatives) {
        gw = gax[m] * y[n] - gax[n] * y[m] + gay[n] * x[m] - gay[m] * x[n];
        gx += gay[m] * w[n] - gay[n] * w[m];
        gy += gax[n] * w[m] - gax[m] * w[n];
      }
      float* sum = grad + 4 * static_cast<int64_t>(tri[k]);
      AtomicAdd()(&sum[0], gx);
      AtomicAdd()(&sum[1], gy);
      AtomicAdd()(&sum[3], gw - fx * gx - fy * gy);
    }
  }

 private:
  RASTERIZER_HD static int Next(int corner) { return corner == 2 ? 0 : corner + 1; }
  RASTERIZER_HD static int Previous(int corner) { return corner == 0 ? 2 : corner - 1; }
};

template <class Device>
bool BackwardRasterize(const RasterizeBackward& args, Device& device) {
  const Geometry& g = args.geometry;
  const int64_t vertices = (g.shared_pos ? 1 : g.num_images) * g.num_vertices;
  device.Fill(args.grad_pos, 0, vertices * 4 * static_cast<int64_t>(sizeof(float)));
  device.ForEach(g.num_images * g.height * g.width, PositionGradient{args});
  return true;
}

}  // namespace
}  // namespace RASTERIZER_ISA
}  // namespace rasterizer

#endif  // RASTERIZER_FFI_CUDA_RASTERIZE_GRAD_H_
