// Attributes of vertices at pixels, their derivatives by pixel coordinates, and the gradients of
// both; the formulas are those of cpu/interpolate.cc.

#ifndef RASTERIZER_FFI_CUDA_INTERPOLATE_H_
#define RASTERIZER_FFI_CUDA_INTERPOLATE_H_

#include "device.h"

namespace rasterizer {
namespace RASTERIZER_ISA {
namespace {

// The vertex indices of the triangle at a pixel of [B,H,W], or null.
RASTERIZER_HD inline const int32_t* PixelVertices(const InterpolateForward& args, int64_t i) {
  const int64_t triangle = TriangleOfPixel(args.rast + 4 * i, args.num_triangles);
  if (triangle < 0) return nullptr;
  const int32_t* tri = args.tri + 3 * triangle;
  return IndicesValid(tri, args.num_vertices) ? tri : nullptr;
}

// Where the attributes of the image of a pixel begin.
RASTERIZER_HD inline int64_t ImageOffset(const InterpolateForward& args, int64_t i) {
  return args.shared_attr ? 0 : i / args.num_pixels * args.num_vertices * args.num_channels;
}

// The index is of [B,H,W].
struct Interpolate {
  InterpolateForward args;

  RASTERIZER_HD void operator()(int64_t i) const {
    const int64_t channels = args.num_channels;
    float* out = args.out + channels * i;
    float* out_da = args.out_da + 2 * args.num_diff * i;
    const int32_t* tri = PixelVertices(args, i);
    if (tri == nullptr) {
      for (int64_t c = 0; c < channels; ++c) out[c] = 0.0f;
      for (int64_t d = 0; d < 2 * args.num_diff; ++d) out_da[d] = 0.0f;
      return;
    }
    const float* attr = args.attr + ImageOffset(args, i);
    const float *a0 = attr + tri[0] * channels, *a1 = attr + tri[1] * channels,
                *a2 = attr + tri[2] * channels;
    const float u = args.rast[4 * i], v = args.rast[4 * i + 1], rest = 1.0f - u - v;
    for (int64_t c = 0; c < channels; ++c) out[c] = u * a0[c] + v * a1[c] + rest * a2[c];
    const float* db = args.num_diff > 0 ? args.rast_db + 4 * i : nullptr;
    for (int64_t d = 0; d < args.num_diff; ++d) {
      const int32_t c = args.diff_attrs[d];
      const float along_u = a0[c] - a2[c], along_v = a1[c] - a2[c];
      out_da[2 * d] = db[0] * along_u + db[2] * along_v;
      out_da[2 * d + 1] = db[1] * along_u + db[3] * along_v;
    }
  }
};

// Writes the gradients of a pixel and adds to those of its vertices. The index is of [B,H,W].
struct InterpolateGradient {
  InterpolateBackward args;

  RASTERIZER_HD void operator()(int64_t i) const {
    const InterpolateForward& forward = args.forward;
    const int64_t channels = forward.num_channels;
    const float* dy = args.dy + channels * i;
    float gu = 0.0f, gv = 0.0f, db_u[2] = {}, db_v[2] = {};
    if (const int32_t* tri = PixelVertices(forward, i)) {
      const int64_t image = ImageOffset(forward, i);
      const int64_t at0 = image + tri[0] * channels, at1 = image + tri[1] * channels,
                    at2 = image + tri[2] * channels;
      const float *a0 = forward.attr + at0, *a1 = forward.attr + at1, *a2 = forward.attr + at2;
      float *s0 = args.grad_attr + at0, *s1 = args.grad_attr + at1, *s2 = args.grad_attr + at2;
      const float u = forward.rast[4 * i], v = forward.rast[4 * i + 1], rest = 1.0f - u - v;
      for (int64_t c = 0; c < channels; ++c) {
        gu += dy[c] * (a0[c] - a2[c]);
        gv += dy[c] * (a1[c] - a2[c]);
        if (dy[c] == 0.0f) continue;
        AtomicAdd()(&s0[c], u * dy[c]);
        AtomicAdd()(&s1[c], v * dy[c]);
        AtomicAdd()(&s2[c], rest * dy[c]);
      }
      const float* db = forward.num_diff > 0 ? forward.rast_db + 4 * i : nullptr;
      const float* dda = args.dda + 2 * forward.num_diff * i;
      for (int64_t d = 0; d < forward.num_diff; ++d) {
        const int32_t c = forward.diff_attrs[d];
        const float along_u = a0[c] - a2[c], along_v = a1[c] - a2[c];
        const float gx = dda[2 * d], gy = dda[2 * d + 1];
        db_u[0] += gx * along_u, db_u[1] += gy * along_u;
        db_v[0] += gx * along_v, db_v[1] += gy * along_v;
        const float to_u = gx * db[0] + gy * db[1], to_v = gx * db[2] + gy * db[3];
        AtomicAdd()(&s0[c], to_u);
        AtomicAdd()(&s1[c], to_v);
        AtomicAdd()(&s2[c], -(to_u + to_v));
      }
    }
    Store4(args.grad_rast + 4 * i, gu, gv, 0.0f, 0.0f);
    if (args.grad_rast_db != nullptr) {
      Store4(args.grad_rast_db + 4 * i, db_u[0], db_u[1], db_v[0], db_v[1]);
    }
  }
};

// diff_attrs is an array of the host.
template <class Device>
bool ForwardInterpolate(InterpolateForward args, Device& device) {
  args.diff_attrs = device.Upload(args.diff_attrs, args.num_diff);
  if (args.diff_attrs == nullptr) return false;
  device.ForEach(args.num_images * args.num_pixels, Interpolate{args});
  return true;
}

template <class Device>
bool BackwardInterpolate(InterpolateBackward args, Device& device) {
  InterpolateForward& forward = args.forward;
  forward.diff_attrs = device.Upload(forward.diff_attrs, forward.num_diff);
  if (forward.diff_attrs == nullptr) return false;
  const int64_t vertices = (forward.shared_attr ? 1 : forward.num_images) * forward.num_vertices;
  device.Fill(args.grad_attr, 0,
              vertices * forward.num_channels * static_cast<int64_t>(sizeof(float)));
  device.ForEach(forward.num_images * forward.num_pixels, InterpolateGradient{args});
  return true;
}

}  // namespace
}  // namespace RASTERIZER_ISA
}  // namespace rasterizer

#endif  // RASTERIZER_FFI_CUDA_INTERPOLATE_H_
