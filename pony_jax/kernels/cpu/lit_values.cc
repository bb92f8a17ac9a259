// What is composited for each point of a surface: its colour under a directional light, coverage and
// feature (model/render.py), and the gradients of that.

#include "vectors.h"

namespace pony {
namespace RASTERIZER_ISA {

bool ForwardLitValues(const LitValuesForward& args, const Parallel& parallel);
bool BackwardLitValues(const LitValuesBackward& args, const Parallel& parallel);

namespace {

// How much light falls on a point.
struct Shading {
  int64_t image;
  const float* light;
  float cosine, facing;  // `facing`: slope of max(cosine, 0), at 0 that of jnp.maximum

  Shading(const LitValues& in, int64_t i)
      : image(Max(0, Min(in.image[i], in.images - 1))), light(in.light + kLight * image) {
    const float* const normal = in.normal + 3 * i;
    cosine = light[0] * normal[0] + light[1] * normal[1] + light[2] * normal[2];
    facing = cosine > 0.0f ? 1.0f : cosine == 0.0f ? 0.5f : 0.0f;
    if (cosine < 0.0f) cosine = 0.0f;
  }

  float value() const { return light[kAmbient] + light[kDiffuse] * cosine; }
};

}  // namespace

bool ForwardLitValues(const LitValuesForward& args, const Parallel& parallel) {
  const LitValues& in = args.in;
  const int64_t parts = PartsOf(in.used), channels = kFirstFeature + in.features;
  ClearPadding(1, in.points, in.used, channels, args.out);
  ParallelFor(parallel, parts, [&](int64_t part) {
    const int64_t end = PartBegin(in.used, parts, part + 1);
    for (int64_t i = PartBegin(in.used, parts, part); i < end; ++i) {
      const float shading = Shading(in, i).value();
      float* const out = args.out + channels * i;
      for (int k = 0; k < 3; ++k) out[k] = in.albedo[3 * i + k] * shading;
      out[kCoverage] = 1.0f;
      std::memcpy(out + kFirstFeature, in.feature + in.features * i,
                  static_cast<size_t>(in.features) * sizeof(float));
    }
  });
  return true;
}

bool BackwardLitValues(const LitValuesBackward& args, const Parallel& parallel) {
  const LitValues& in = args.in;
  const int64_t parts = PartsOf(in.used), channels = kFirstFeature + in.features;
  const int64_t light_size = kLight * in.images;
  const Scratch<float> sums(parts * light_size);
  if (!sums.ok()) return false;
  ClearPadding(1, in.points, in.used, 3, args.grad_albedo);
  ClearPadding(1, in.points, in.used, 3, args.grad_normal);
  ClearPadding(1, in.points, in.used, in.features, args.grad_feature);
  ParallelFor(parallel, parts, [&](int64_t part) {
    float* const by_light = sums.get() + part * light_size;
    std::memset(by_light, 0, static_cast<size_t>(light_size) * sizeof(float));
    const int64_t end = PartBegin(in.used, parts, part + 1);
    for (int64_t i = PartBegin(in.used, parts, part); i < end; ++i) {
      const Shading shading(in, i);
      const float* const grad = args.grad_out + channels * i;
      const float value = shading.value();
      float by_shading = 0.0f;
      for (int k = 0; k < 3; ++k) {
        args.grad_albedo[3 * i + k] = grad[k] * value;
        by_shading += grad[k] * in.albedo[3 * i + k];
      }
      const float by_cosine = by_shading * shading.light[kDiffuse] * shading.facing;
      float* const to_light = by_light + kLight * shading.image;
      for (int k = 0; k < 3; ++k) {
        args.grad_normal[3 * i + k] = by_cosine * shading.light[k];
        to_light[k] += by_cosine * in.normal[3 * i + k];
      }
      to_light[kAmbient] += by_shading;
      to_light[kDiffuse] += by_shading * shading.cosine;
      std::memcpy(args.grad_feature + in.features * i, grad + kFirstFeature,
                  static_cast<size_t>(in.features) * sizeof(float));
    }
  });
  for (int64_t i = 0; i < light_size; ++i) {
    float sum = 0.0f;
    for (int64_t part = 0; part < parts; ++part) sum += sums[part * light_size + i];
    args.grad_light[i] = sum;
  }
  return true;
}

}  // namespace RASTERIZER_ISA
}  // namespace pony
