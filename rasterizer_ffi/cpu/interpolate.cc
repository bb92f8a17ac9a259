// Attributes of vertices at pixels: A = u A0 + v A1 + (1-u-v) A2, their derivatives by pixel
// coordinates, dA/dX = du/dX (A0-A2) + dv/dX (A1-A2), and the gradients of both.

#include "accumulate.h"
#include "simd.h"

namespace rasterizer {
namespace RASTERIZER_ISA {
namespace {

constexpr int64_t kTaskPixels = 8192;

// The three vertices of the triangle at a pixel; null pointers where nothing is drawn.
struct Corners {
  int64_t vertex[3];
  const float* attr[3];
};

template <int kChannels>
inline bool FindCorners(const InterpolateForward& args, const float* rast, const float* attr,
                        Corners* corners) {
  const int64_t channels = kChannels > 0 ? kChannels : args.num_channels;
  const int64_t triangle = TriangleOfPixel(rast, args.num_triangles);
  if (triangle < 0) return false;
  const int32_t* tri = args.tri + 3 * triangle;
  if (!IndicesValid(tri, args.num_vertices)) return false;
  for (int k = 0; k < 3; ++k) {
    corners->vertex[k] = static_cast<uint32_t>(tri[k]);
    corners->attr[k] = attr + corners->vertex[k] * channels;
  }
  return true;
}

inline const float* ImageAttr(const InterpolateForward& args, int64_t image) {
  return args.shared_attr ? args.attr : args.attr + image * args.num_vertices * args.num_channels;
}

// A row of up to four channels; the elements beyond are 0.
template <int kChannels>
inline Vec4f LoadChannels(const float* from) {
#ifdef __AVX512VL__
  return (Vec4f)_mm_maskz_loadu_ps((1 << kChannels) - 1, from);
#else
  const auto at = [&](int c) { return c < kChannels ? from[c] : 0.0f; };
  return Vec4f{at(0), at(1), at(2), at(3)};
#endif
}

template <int kChannels>
inline void StoreChannels(Vec4f row, float* to) {
#ifdef __AVX512VL__
  _mm_mask_storeu_ps(to, (1 << kChannels) - 1, (__m128)row);
#else
  for (int c = 0; c < kChannels; ++c) to[c] = row[c];
#endif
}

template <int kChannels>
inline void AddChannels(float* sum, Vec4f row) {
  for (int c = 0; c < kChannels; ++c) sum[c] += row[c];
}

// ForwardPixels for few channels without derivatives.
template <int kChannels>
void ForwardFew(const InterpolateForward& arguments, int64_t image, int64_t begin, int64_t end) {
  const InterpolateForward args = arguments;  // of its own: stores might change what is referred to
  const float* image_attr = ImageAttr(args, image);
  const float* rast = args.rast + 4 * (image * args.num_pixels + begin);
  float* out = args.out + kChannels * (image * args.num_pixels + begin);
  for (int64_t left = end - begin; left > 0; left -= kGroup) {
    const int64_t count = Min(left, int64_t{kGroup});
    if (count == kGroup && NoneShown(rast)) {
      for (int c = 0; c < kChannels; ++c) Store(GroupF{}, out + c * kGroup, false);
      rast += 4 * kGroup;
      out += kChannels * kGroup;
      continue;
    }
    for (int64_t i = 0; i < count; ++i, rast += 4, out += kChannels) {
      Corners corners;
      Vec4f value = {};
      if (FindCorners<kChannels>(args, rast, image_attr, &corners)) {
        const float u = rast[0], v = rast[1], rest = 1.0f - u - v;
        value = u * LoadChannels<kChannels>(corners.attr[0]) +
                v * LoadChannels<kChannels>(corners.attr[1]) +
                rest * LoadChannels<kChannels>(corners.attr[2]);
      }
      StoreChannels<kChannels>(value, out);
    }
  }
}

// kChannels > 0 is the number of channels known when compiling; 0 reads it from the arguments.
template <int kChannels>
void ForwardPixels(const InterpolateForward& args, int64_t image, int64_t begin, int64_t end) {
  if constexpr (kChannels > 0) {
    if (args.num_diff == 0) return ForwardFew<kChannels>(args, image, begin, end);
  }
  const int64_t channels = kChannels > 0 ? kChannels : args.num_channels;
  const float* image_attr = ImageAttr(args, image);
  for (int64_t pixel = image * args.num_pixels + begin; pixel < image * args.num_pixels + end;
       ++pixel) {
    const float* rast = args.rast + 4 * pixel;
    float* out = args.out + channels * pixel;
    float* out_da = args.out_da + 2 * args.num_diff * pixel;
    Corners corners;
    if (!FindCorners<kChannels>(args, rast, image_attr, &corners)) {
      for (int64_t c = 0; c < channels; ++c) out[c] = 0.0f;
      for (int64_t d = 0; d < 2 * args.num_diff; ++d) out_da[d] = 0.0f;
      continue;
    }
    const float u = rast[0], v = rast[1], rest = 1.0f - u - v;
    for (int64_t c = 0; c < channels; ++c) {
      out[c] = u * corners.attr[0][c] + v * corners.attr[1][c] + rest * corners.attr[2][c];
    }
    if (args.num_diff == 0) continue;
    const float* db = args.rast_db + 4 * pixel;
    for (int64_t d = 0; d < args.num_diff; ++d) {
      const int32_t c = args.diff_attrs[d];
      const float along_u = corners.attr[0][c] - corners.attr[2][c];
      const float along_v = corners.attr[1][c] - corners.attr[2][c];
      out_da[2 * d] = db[0] * along_u + db[2] * along_v;
      out_da[2 * d + 1] = db[1] * along_u + db[3] * along_v;
    }
  }
}

// BackwardPixels for few channels without derivatives. A run of pixels that show the same triangle
// is summed in registers before its vertices receive it.
template <int kChannels>
void BackwardRuns(const InterpolateBackward& arguments, int64_t image, int64_t begin, int64_t end,
                  float* sums) {
  const InterpolateBackward args = arguments;  // of its own, as in ForwardFew
  const InterpolateForward& forward = args.forward;
  const float* image_attr = ImageAttr(forward, image);
  float run_id = 0.0f;
  bool shown = false;
  Corners corners;
  Vec4f along_u = {}, along_v = {}, sum_u = {}, sum_v = {}, sum_rest = {};
  const auto end_run = [&] {
    if (!shown) return;
    AddChannels<kChannels>(sums + corners.vertex[0] * kChannels, sum_u);
    AddChannels<kChannels>(sums + corners.vertex[1] * kChannels, sum_v);
    AddChannels<kChannels>(sums + corners.vertex[2] * kChannels, sum_rest);
  };
  for (int64_t pixel = begin; pixel < end; ++pixel) {
    const float* rast = forward.rast + 4 * pixel;
    Vec4f grad_rast = {};
    if (rast[3] != run_id) {
      end_run();
      run_id = rast[3];
      shown = FindCorners<kChannels>(forward, rast, image_attr, &corners);
      if (shown) {
        const Vec4f last = LoadChannels<kChannels>(corners.attr[2]);
        along_u = LoadChannels<kChannels>(corners.attr[0]) - last;
        along_v = LoadChannels<kChannels>(corners.attr[1]) - last;
        sum_u = sum_v = sum_rest = Vec4f{};
      }
    }
    if (shown) {
      const float u = rast[0], v = rast[1];
      Vec4f dy = {};  // not by LoadChannels: its masked load takes twice as long here
      for (int c = 0; c < kChannels; ++c) dy[c] = args.dy[kChannels * pixel + c];
      sum_u += u * dy;
      sum_v += v * dy;
      sum_rest += (1.0f - u - v) * dy;
      const Vec4f by_u = dy * along_u, by_v = dy * along_v;
      for (int c = 0; c < kChannels; ++c) grad_rast[0] += by_u[c], grad_rast[1] += by_v[c];
    }
    std::memcpy(args.grad_rast + 4 * pixel, &grad_rast, sizeof grad_rast);
    if (args.grad_rast_db != nullptr) std::memset(args.grad_rast_db + 4 * pixel, 0, sizeof(Vec4f));
  }
  end_run();
}

// Adds the gradient by attributes of one row of pixels to `sums` and writes that by rast, rast_db.
template <int kChannels>
void BackwardPixels(const InterpolateBackward& args, int64_t image, int64_t begin, int64_t end,
                    float* sums) {
  const InterpolateForward& forward = args.forward;
  if constexpr (kChannels > 0) {
    if (forward.num_diff == 0) return BackwardRuns<kChannels>(args, image, begin, end, sums);
  }
  const int64_t channels = kChannels > 0 ? kChannels : forward.num_channels;
  const float* image_attr = ImageAttr(forward, image);
  for (int64_t pixel = begin; pixel < end; ++pixel) {
    const float* rast = forward.rast + 4 * pixel;
    const float* dy = args.dy + channels * pixel;
    float grad_rast[4] = {};
    float grad_db[4] = {};
    Corners corners;
    if (FindCorners<kChannels>(forward, rast, image_attr, &corners)) {
      const float u = rast[0], v = rast[1], rest = 1.0f - u - v;
      const float *a0 = corners.attr[0], *a1 = corners.attr[1], *a2 = corners.attr[2];
      float* s0 = sums + corners.vertex[0] * channels;
      float* s1 = sums + corners.vertex[1] * channels;
      float* s2 = sums + corners.vertex[2] * channels;
      float gu = 0.0f, gv = 0.0f;
      for (int64_t c = 0; c < channels; ++c) {
        gu += dy[c] * (a0[c] - a2[c]);
        gv += dy[c] * (a1[c] - a2[c]);
      }
      for (int64_t c = 0; c < channels; ++c) s0[c] += u * dy[c];
      for (int64_t c = 0; c < channels; ++c) s1[c] += v * dy[c];
      for (int64_t c = 0; c < channels; ++c) s2[c] += rest * dy[c];
      grad_rast[0] = gu, grad_rast[1] = gv;
      const float* db = forward.num_diff > 0 ? forward.rast_db + 4 * pixel : nullptr;
      const float* dda = args.dda + 2 * forward.num_diff * pixel;
      for (int64_t d = 0; d < forward.num_diff; ++d) {
        const int32_t c = forward.diff_attrs[d];
        const float along_u = a0[c] - a2[c], along_v = a1[c] - a2[c];
        const float gx = dda[2 * d], gy = dda[2 * d + 1];
        grad_db[0] += gx * along_u;
        grad_db[1] += gy * along_u;
        grad_db[2] += gx * along_v;
        grad_db[3] += gy * along_v;
        const float to_u = gx * db[0] + gy * db[1], to_v = gx * db[2] + gy * db[3];
        s0[c] += to_u;
        s1[c] += to_v;
        s2[c] -= to_u + to_v;
      }
    }
    std::memcpy(args.grad_rast + 4 * pixel, grad_rast, sizeof grad_rast);
    if (args.grad_rast_db != nullptr) {
      std::memcpy(args.grad_rast_db + 4 * pixel, grad_db, sizeof grad_db);
    }
  }
}

}  // namespace

bool ForwardInterpolate(const InterpolateForward& args, const Parallel& parallel) {
  const int64_t parts = Max(int64_t{1}, args.num_pixels / kTaskPixels);
  const auto pixels = args.num_channels == 1   ? ForwardPixels<1>
                      : args.num_channels == 2 ? ForwardPixels<2>
                      : args.num_channels == 3 ? ForwardPixels<3>
                      : args.num_channels == 4 ? ForwardPixels<4>
                                               : ForwardPixels<0>;
  ParallelFor(parallel, args.num_images * parts, [&](int64_t task) {
    const int64_t part = task % parts;
    pixels(args, task / parts, PartBegin(args.num_pixels, parts, part),
           PartBegin(args.num_pixels, parts, part + 1));
  });
  return true;
}

bool BackwardInterpolate(const InterpolateBackward& args, const Parallel& parallel) {
  const InterpolateForward& forward = args.forward;
  const auto pixels = forward.num_channels == 1   ? BackwardPixels<1>
                      : forward.num_channels == 2 ? BackwardPixels<2>
                      : forward.num_channels == 3 ? BackwardPixels<3>
                      : forward.num_channels == 4 ? BackwardPixels<4>
                                                  : BackwardPixels<0>;
  const int64_t targets = forward.shared_attr ? 1 : forward.num_images;
  const int64_t rows = forward.num_images * forward.num_pixels / Max(targets, int64_t{1});
  const VertexSums sums(args.grad_attr, targets, forward.num_vertices * forward.num_channels, rows,
                        /*width=*/1);
  if (!sums.ok()) return false;
  sums.Run(parallel, [&](int64_t target, int64_t begin, int64_t end, float* out) {
    int64_t pixel = target * rows + begin;
    const int64_t last = target * rows + end;
    while (pixel < last) {  // image by image
      const int64_t image = pixel / forward.num_pixels;
      const int64_t image_end = Min(last, (image + 1) * forward.num_pixels);
      pixels(args, image, pixel, image_end, out);
      pixel = image_end;
    }
  });
  return true;
}

}  // namespace RASTERIZER_ISA
}  // namespace rasterizer
