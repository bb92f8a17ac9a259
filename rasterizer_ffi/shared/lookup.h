// Texture lookups of one pixel: nearest, bilinear and trilinear filtering of 2D textures and cube
// maps, and their gradients by texels, coordinates, coordinate derivatives and level bias.

#ifndef RASTERIZER_FFI_SHARED_LOOKUP_H_
#define RASTERIZER_FFI_SHARED_LOOKUP_H_

#include "portable.h"

namespace rasterizer {
namespace RASTERIZER_ISA {
namespace {

constexpr int kMaxLevels = 32;

// A cube face: the coordinates (s, t) on it as signed axes of the direction, OpenGL's layout. Faces
// are ordered +x, -x, +y, -y, +z, -z; face / 2 is the axis that the face is on.
struct Face {
  int s_axis, s_sign, t_axis, t_sign;
};
RASTERIZER_HD inline Face FaceAxes(int face) {
  static constexpr Face faces[6] = {{2, -1, 1, -1}, {2, 1, 1, -1}, {0, 1, 2, 1},
                                    {0, 1, 2, -1},  {0, 1, 1, -1}, {0, -1, 1, -1}};
  return faces[face];
}

// The texels of a mipmap level: where they begin and how many there are along t and s.
struct Level {
  int64_t begin;
  int64_t height, width;
};

struct Levels {
  RASTERIZER_HD explicit Levels(const TextureForward& args) {
    const int64_t faces = args.boundary == kCube ? 6 : 1;
    int64_t begin = 0, height = args.height, width = args.width;
    for (int64_t i = 0; i <= args.max_level && i < kMaxLevels; ++i) {
      level[i] = {begin, height, width};
      begin += faces * height * width;
      height = Max(height / 2, int64_t{1});
      width = Max(width / 2, int64_t{1});
    }
    texels = begin;
  }
  Level level[kMaxLevels];
  int64_t texels = 0;  // of a whole stack
};

// Coordinates on a face (2D textures have one), and for cube maps how they came about.
struct Coordinates {
  float s, t;
  int face;
  float inverse;  // 1 / |component along the face's axis|
  bool valid;
};

RASTERIZER_HD inline Coordinates FindCoordinates(const TextureForward& args, const float* uv) {
  if (args.boundary != kCube) return {uv[0], uv[1], 0, 0.0f, true};
  const float ax = __builtin_fabsf(uv[0]), ay = __builtin_fabsf(uv[1]), az = __builtin_fabsf(uv[2]);
  const int axis = az > Max(ax, ay) ? 2 : ay > ax ? 1 : 0;
  const int face = 2 * axis + (uv[axis] < 0.0f);
  const float inverse = 1.0f / __builtin_fabsf(uv[axis]);
  const Face f = FaceAxes(face);
  Coordinates c;
  c.s = 0.5f * (uv[f.s_axis] * static_cast<float>(f.s_sign) * inverse) + 0.5f;
  c.t = 0.5f * (uv[f.t_axis] * static_cast<float>(f.t_sign) * inverse) + 0.5f;
  c.face = face;
  c.inverse = inverse;
  c.valid = c.s >= 0.0f && c.s <= 1.0f && c.t >= 0.0f && c.t <= 1.0f && inverse < 3e38f;
  return c;
}

// The texels that a lookup reads in one level, with bilinear weights (1-fs)(1-ft), fs(1-ft), ...
struct Footprint {
  int64_t texel[4];     // index in the stack, or -1: zero
  int corner;           // which of the four does not exist (the corner of a cube), or -1
  float fs, ft;
  float ds, dt;         // derivatives of fs, ft by the coordinates
};

RASTERIZER_HD inline float Limit(float x, float low, float high) {  // NaN becomes low
  x = x > low ? x : low;
  return x < high ? x : high;
}

// One axis of a 2D lookup: two neighbouring texels, -1 where there is none, and the weight of the
// second.
struct Axis {
  int64_t index[2];
  float fraction;
  float derivative;
};

RASTERIZER_HD inline Axis LinearAxis(float x, int64_t size, int boundary) {
  const float scale = static_cast<float>(size);
  Axis axis;
  if (boundary == kWrap) x -= __builtin_floorf(x);
  x = x * scale - 0.5f;
  axis.derivative = scale;
  if (boundary == kClamp) {
    if (!(x > 0.0f && x < scale - 1.0f)) axis.derivative = 0.0f;
    x = Limit(x, 0.0f, scale - 1.0f);
  } else {
    x = Limit(x, -2.0f, scale + 1.0f);
  }
  const float low = __builtin_floorf(x);
  axis.fraction = x - low;
  axis.index[0] = static_cast<int64_t>(low);
  axis.index[1] = axis.index[0] + 1;
  for (int64_t& i : axis.index) {
    if (i >= 0 && i < size) continue;
    i = boundary == kZero ? -1 : boundary == kClamp ? size - 1 : i < 0 ? i + size : i - size;
  }
  return axis;
}

RASTERIZER_HD inline int64_t NearestIndex(float x, int64_t size, int boundary) {
  if (boundary == kWrap) x -= __builtin_floorf(x);
  const float scale = static_cast<float>(size);
  const int64_t i = static_cast<int64_t>(__builtin_floorf(Limit(x * scale, -1.0f, scale)));
  if (i >= 0 && i < size) return i;
  return boundary == kZero ? -1 : i < 0 ? 0 : size - 1;
}

// The texel of a cube's face (x, y), where one of them may be one off the face: then it lies on the
// neighbouring face. In units of half texels the cube's faces are at distance `size` from its
// centre.
RASTERIZER_HD inline int64_t CubeTexel(int face, int64_t x, int64_t y, int64_t size) {
  if (x < 0 || x >= size || y < 0 || y >= size) {
    int64_t direction[3];
    direction[face / 2] = face % 2 == 0 ? size : -size;
    const Face from = FaceAxes(face);
    direction[from.s_axis] = from.s_sign * (2 * x + 1 - size);
    direction[from.t_axis] = from.t_sign * (2 * y + 1 - size);
    const int axis = x < 0 || x >= size ? from.s_axis : from.t_axis;
    face = 2 * axis + (direction[axis] < 0);
    const Face f = FaceAxes(face);
    const int64_t s = f.s_sign * direction[f.s_axis], t = f.t_sign * direction[f.t_axis];
    x = (Min(Max(s, 1 - size), size - 1) + size - 1) / 2;
    y = (Min(Max(t, 1 - size), size - 1) + size - 1) / 2;
  }
  return (face * size + y) * size + x;
}

RASTERIZER_HD inline Footprint FindFootprint(const TextureForward& args, const Level& level,
                                             const Coordinates& at) {
  Footprint f = {{-1, -1, -1, -1}, -1, 0.0f, 0.0f, 0.0f, 0.0f};
  const int64_t width = level.width, height = level.height;
  if (args.filter == kNearest) {
    const int boundary = args.boundary == kCube ? kClamp : args.boundary;
    const int64_t x = NearestIndex(at.s, width, boundary);
    const int64_t y = NearestIndex(at.t, height, boundary);
    if (x >= 0 && y >= 0) f.texel[0] = level.begin + (at.face * height + y) * width + x;
  } else if (args.boundary == kCube) {
    const float scale = static_cast<float>(width);
    const float s = at.s * scale - 0.5f, t = at.t * scale - 0.5f;
    const float low_s = __builtin_floorf(s), low_t = __builtin_floorf(t);
    f.fs = s - low_s, f.ft = t - low_t;
    f.ds = f.dt = scale;
    for (int i = 0; i < 4; ++i) {
      const int64_t x = static_cast<int64_t>(low_s) + i % 2;
      const int64_t y = static_cast<int64_t>(low_t) + i / 2;
      const bool off_x = x < 0 || x >= width, off_y = y < 0 || y >= width;
      if (off_x && off_y && f.corner < 0) {
        f.corner = i;
      } else {
        f.texel[i] = level.begin + CubeTexel(at.face, Min(Max(x, int64_t{-1}), width),
                                             Min(Max(y, int64_t{-1}), width), width);
      }
    }
  } else {
    const Axis s = LinearAxis(at.s, width, args.boundary);
    const Axis t = LinearAxis(at.t, height, args.boundary);
    f.fs = s.fraction, f.ft = t.fraction;
    f.ds = s.derivative, f.dt = t.derivative;
    for (int i = 0; i < 4; ++i) {
      const int64_t x = s.index[i % 2], y = t.index[i / 2];
      if (x >= 0 && y >= 0) f.texel[i] = level.begin + y * width + x;
    }
  }
  return f;
}

// The four texel values of a channel. A missing corner of a cube is the mean of the other three.
RASTERIZER_HD inline void Fetch(const Footprint& f, const float* stack, int64_t channels,
                                int64_t channel, float* value) {
  for (int i = 0; i < 4; ++i) {
    value[i] = f.texel[i] < 0 ? 0.0f : stack[f.texel[i] * channels + channel];
  }
  if (f.corner >= 0) {
    value[f.corner] = (value[0] + value[1] + value[2] + value[3]) / 3.0f;
  }
}

RASTERIZER_HD inline float Filtered(const Footprint& f, const float* value) {
  const float low = value[0] + f.fs * (value[1] - value[0]);
  const float high = value[2] + f.fs * (value[3] - value[2]);
  return low + f.ft * (high - low);
}

// Which levels a pixel reads: one, or two mixed by `fraction`; and how the level came about.
struct LevelChoice {
  int level0, level1;
  float fraction;
  bool differentiable;  // two levels are mixed: the fraction has a gradient
  float da[4];          // ds/dX, ds/dY, dt/dX, dt/dY in texels of level 0
  float half_difference, mixed, root, major;  // of the ellipse that a pixel covers
};

RASTERIZER_HD inline LevelChoice ChooseLevel(const TextureForward& args, const Coordinates& at,
                                             const float* uv_da, const float* bias) {
  LevelChoice c = {};
  if (args.filter != kLinearMipmapNearest && args.filter != kLinearMipmapLinear) return c;
  float level = 0.0f;
  if (uv_da != nullptr) {
    const float width = static_cast<float>(args.width), height = static_cast<float>(args.height);
    for (int along = 0; along < 2; ++along) {
      float ds, dt;
      if (args.boundary == kCube) {
        const Face f = FaceAxes(at.face);
        const float sign = at.face % 2 == 0 ? 1.0f : -1.0f;
        const float by_axis = sign * uv_da[2 * (at.face / 2) + along];
        const float half = 0.5f * at.inverse;
        ds = half * (static_cast<float>(f.s_sign) * uv_da[2 * f.s_axis + along] -
                     (2.0f * at.s - 1.0f) * by_axis);
        dt = half * (static_cast<float>(f.t_sign) * uv_da[2 * f.t_axis + along] -
                     (2.0f * at.t - 1.0f) * by_axis);
      } else {
        ds = uv_da[along], dt = uv_da[2 + along];
      }
      c.da[along] = ds * width;
      c.da[2 + along] = dt * height;
    }
    // Half the log of the longer axis of the ellipse that the pixel covers, squared.
    const float a = c.da[0] * c.da[0] + c.da[2] * c.da[2];
    const float b = c.da[1] * c.da[1] + c.da[3] * c.da[3];
    c.mixed = c.da[0] * c.da[1] + c.da[2] * c.da[3];
    c.half_difference = 0.5f * (a - b);
    c.root = __builtin_sqrtf(c.half_difference * c.half_difference + c.mixed * c.mixed);
    c.major = 0.5f * (a + b) + c.root;
    level = 0.5f * __builtin_log2f(c.major);
  }
  if (bias != nullptr) level += *bias;
  const float last = static_cast<float>(args.max_level);
  const float limited = Limit(level, 0.0f, last);
  if (args.filter == kLinearMipmapNearest) {
    // A quirk of nvdiffrast: the finer, not the nearer.
    c.level0 = c.level1 = static_cast<int>(limited);
    return c;
  }
  c.level0 = static_cast<int>(limited);
  c.level1 = static_cast<int>(Min(static_cast<int64_t>(c.level0) + 1, args.max_level));
  c.fraction = limited - static_cast<float>(c.level0);
  c.differentiable = level > 0.0f && level < last;
  return c;
}

struct Pixel {
  const float* uv;
  const float* uv_da;
  const float* bias;
  int64_t texture;
};

RASTERIZER_HD inline Pixel GetPixel(const TextureForward& args, int64_t pixel) {
  const int64_t coordinates = args.boundary == kCube ? 3 : 2;
  return {args.uv + coordinates * pixel,
          args.uv_da == nullptr ? nullptr : args.uv_da + 2 * coordinates * pixel,
          args.bias == nullptr ? nullptr : args.bias + pixel,
          args.num_textures == 1 ? 0 : pixel / args.num_pixels};
}

RASTERIZER_HD inline void ForwardPixel(const TextureForward& args, const Levels& levels,
                                       int64_t i) {
  const int64_t channels = args.num_channels;
  const Pixel pixel = GetPixel(args, i);
  const float* stack = args.stack + pixel.texture * levels.texels * channels;
  float* out = args.out + channels * i;
  const Coordinates at = FindCoordinates(args, pixel.uv);
  if (!at.valid) {
    for (int64_t c = 0; c < channels; ++c) out[c] = 0.0f;
    return;
  }
  const LevelChoice choice = ChooseLevel(args, at, pixel.uv_da, pixel.bias);
  const Footprint f0 = FindFootprint(args, levels.level[choice.level0], at);
  const bool mix = choice.fraction > 0.0f;
  const Footprint f1 = mix ? FindFootprint(args, levels.level[choice.level1], at) : f0;
  for (int64_t c = 0; c < channels; ++c) {
    float value[4];
    Fetch(f0, stack, channels, c, value);
    out[c] = args.filter == kNearest ? value[0] : Filtered(f0, value);
    if (mix) {
      Fetch(f1, stack, channels, c, value);
      out[c] += choice.fraction * (Filtered(f1, value) - out[c]);
    }
  }
}

// Adds weight * dy to the texels of a footprint; returns the derivatives by fs and ft.
template <class Add>
RASTERIZER_HD inline void BackwardFootprint(const Footprint& f, const float* stack,
                                            int64_t channels, const float* dy, float weight,
                                            float* sums, Add add, float* by_s, float* by_t) {
  float texel_weight[4] = {(1.0f - f.fs) * (1.0f - f.ft), f.fs * (1.0f - f.ft),
                           (1.0f - f.fs) * f.ft, f.fs * f.ft};
  if (f.corner >= 0) {
    const float third = texel_weight[f.corner] / 3.0f;
    for (float& w : texel_weight) w += third;
  }
  float gs = 0.0f, gt = 0.0f;
  for (int64_t c = 0; c < channels; ++c) {
    float value[4];
    Fetch(f, stack, channels, c, value);
    const float g = weight * dy[c];
    gs += g * ((1.0f - f.ft) * (value[1] - value[0]) + f.ft * (value[3] - value[2]));
    gt += g * ((1.0f - f.fs) * (value[2] - value[0]) + f.fs * (value[3] - value[1]));
    for (int i = 0; i < 4; ++i) {
      if (f.texel[i] >= 0) add(&sums[f.texel[i] * channels + c], g * texel_weight[i]);
    }
  }
  *by_s += gs * f.ds;
  *by_t += gt * f.dt;
}

// Gradient of the level by the derivatives of the coordinates, and for cube maps by the direction.
RASTERIZER_HD inline void BackwardLevel(const TextureForward& args, const LevelChoice& c,
                                        const Coordinates& at, const float* uv_da, float by_level,
                                        float* grad_uv, float* grad_uv_da) {
  if (!(c.major > 0.0f)) return;
  const float by_major = by_level * 0.72134752f / c.major;  // 0.5 / ln 2
  const float inverse_root = c.root > 0.0f ? 1.0f / c.root : 0.0f;
  const float by_a = by_major * (0.5f + 0.5f * c.half_difference * inverse_root);
  const float by_b = by_major * (0.5f - 0.5f * c.half_difference * inverse_root);
  const float by_mixed = by_major * c.mixed * inverse_root;
  const float width = static_cast<float>(args.width), height = static_cast<float>(args.height);
  const float g[4] = {width * (2.0f * by_a * c.da[0] + by_mixed * c.da[1]),
                      width * (2.0f * by_b * c.da[1] + by_mixed * c.da[0]),
                      height * (2.0f * by_a * c.da[2] + by_mixed * c.da[3]),
                      height * (2.0f * by_b * c.da[3] + by_mixed * c.da[2])};
  if (args.boundary != kCube) {
    for (int i = 0; i < 4; ++i) grad_uv_da[i] = g[i];
    return;
  }
  const Face f = FaceAxes(at.face);
  const int axis = at.face / 2;
  const float sign = at.face % 2 == 0 ? 1.0f : -1.0f, half = 0.5f * at.inverse;
  const float s = 2.0f * at.s - 1.0f, t = 2.0f * at.t - 1.0f;
  const float s_sign = static_cast<float>(f.s_sign), t_sign = static_cast<float>(f.t_sign);
  for (int along = 0; along < 2; ++along) {
    const float gs = g[along], gt = g[2 + along];
    grad_uv_da[2 * f.s_axis + along] = half * s_sign * gs;
    grad_uv_da[2 * f.t_axis + along] = half * t_sign * gt;
    grad_uv_da[2 * axis + along] = -half * sign * (s * gs + t * gt);
    const float by_axis = sign * uv_da[2 * axis + along];
    const float ds = s_sign * uv_da[2 * f.s_axis + along] - s * by_axis;  // times half
    const float dt = t_sign * uv_da[2 * f.t_axis + along] - t * by_axis;
    grad_uv[f.s_axis] -= half * at.inverse * by_axis * s_sign * gs;
    grad_uv[f.t_axis] -= half * at.inverse * by_axis * t_sign * gt;
    grad_uv[axis] += half * at.inverse * sign *
                     (gs * (s * by_axis - ds) + gt * (t * by_axis - dt));
  }
}

// Writes the gradients of a pixel's own inputs and adds those of the texels to `sums`, which is the
// gradient of the pixel's texture.
template <class Add>
RASTERIZER_HD inline void BackwardPixel(const TextureBackward& args, const Levels& levels,
                                        int64_t i, float* sums, Add add) {
  const TextureForward& forward = args.forward;
  const int64_t channels = forward.num_channels;
  const int coordinates = forward.boundary == kCube ? 3 : 2;
  const Pixel pixel = GetPixel(forward, i);
  const float* stack = forward.stack + pixel.texture * levels.texels * channels;
  const float* dy = args.dy + channels * i;
  float grad_uv[3] = {}, grad_uv_da[6] = {}, grad_bias = 0.0f;
  // Pixels of the background all show the same texel, mostly: what would be added there is 0, and
  // many adding to one place wait for each other. Where dy is 0, no texel matters, finite or not.
  bool any = false;
  for (int64_t c = 0; c < channels; ++c) any = any || dy[c] != 0.0f;
  const Coordinates at = FindCoordinates(forward, pixel.uv);
  if (any && at.valid) {
    const LevelChoice choice = ChooseLevel(forward, at, pixel.uv_da, pixel.bias);
    const Footprint f0 = FindFootprint(forward, levels.level[choice.level0], at);
    if (forward.filter == kNearest) {
      for (int64_t c = 0; c < channels && f0.texel[0] >= 0; ++c) {
        add(&sums[f0.texel[0] * channels + c], dy[c]);
      }
    } else {
      float by_s = 0.0f, by_t = 0.0f;
      BackwardFootprint(f0, stack, channels, dy, 1.0f - choice.fraction, sums, add, &by_s,
                        &by_t);
      if (choice.level1 != choice.level0) {
        const Footprint f1 = FindFootprint(forward, levels.level[choice.level1], at);
        BackwardFootprint(f1, stack, channels, dy, choice.fraction, sums, add, &by_s, &by_t);
        if (choice.differentiable) {
          for (int64_t c = 0; c < channels; ++c) {
            float value0[4], value1[4];
            Fetch(f0, stack, channels, c, value0);
            Fetch(f1, stack, channels, c, value1);
            grad_bias += dy[c] * (Filtered(f1, value1) - Filtered(f0, value0));
          }
          if (pixel.uv_da != nullptr) {
            BackwardLevel(forward, choice, at, pixel.uv_da, grad_bias, grad_uv, grad_uv_da);
          }
        }
      }
      if (forward.boundary == kCube) {
        const Face f = FaceAxes(at.face);
        const float half = 0.5f * at.inverse, sign = at.face % 2 == 0 ? 1.0f : -1.0f;
        grad_uv[f.s_axis] += half * static_cast<float>(f.s_sign) * by_s;
        grad_uv[f.t_axis] += half * static_cast<float>(f.t_sign) * by_t;
        grad_uv[at.face / 2] -=
            half * sign * ((2.0f * at.s - 1.0f) * by_s + (2.0f * at.t - 1.0f) * by_t);
      } else {
        grad_uv[0] = by_s, grad_uv[1] = by_t;
      }
    }
  }
  for (int k = 0; k < coordinates; ++k) args.grad_uv[coordinates * i + k] = grad_uv[k];
  if (args.grad_uv_da != nullptr) {
    for (int k = 0; k < 2 * coordinates; ++k) {
      args.grad_uv_da[2 * coordinates * i + k] = grad_uv_da[k];
    }
  }
  if (args.grad_bias != nullptr) args.grad_bias[i] = grad_bias;
}

}  // namespace
}  // namespace RASTERIZER_ISA
}  // namespace rasterizer

#endif  // RASTERIZER_FFI_SHARED_LOOKUP_H_
