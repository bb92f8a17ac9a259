// Runs every kernel on random and on hostile scenes, with real threads, for the sanitizers to watch:
// `make sanitize` builds it with AddressSanitizer + UBSan and with ThreadSanitizer. It also checks
// that one thread and eight give the same bits. Prints "ok" at the end.

#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "kernels.h"
#include "threads.h"

namespace {

using Floats = std::vector<float>;
using Ints = std::vector<int32_t>;

struct Scene {
  int64_t images, vertices, triangles, height, width, channels;
  bool shared;
  Floats pos, attr, texture, uv, uv_da, noise;
  Ints tri, ranges, opposite;
};

float Wild(std::mt19937& random) {
  const float inf = std::numeric_limits<float>::infinity();
  const float values[] = {std::nanf(""), inf, -inf, 3e38f, -3e38f, 1e-45f, 0.0f, -0.0f, 1.0f, -1.0f};
  return values[random() % 10];
}

Floats RandomFloats(std::mt19937& random, int64_t size, float wildness) {
  std::uniform_real_distribution<float> uniform(-1.3f, 1.3f), unit(0.0f, 1.0f);
  Floats values(size);
  for (float& x : values) x = unit(random) < wildness ? Wild(random) : uniform(random);
  return values;
}

constexpr int64_t kTexture = 8, kTexels = 6 * (64 + 16 + 4 + 1);

Scene RandomScene(std::mt19937& random, float wildness) {
  const int64_t sizes[] = {1, 2, 17, 65, 130};
  Scene s;
  s.shared = random() % 3 == 0;
  s.images = 1 + random() % 3;
  s.vertices = random() % 40;
  s.triangles = random() % 60;
  s.height = sizes[random() % 5];
  s.width = sizes[random() % 5];
  s.channels = 1 + random() % 6;
  const int64_t pixels = s.images * s.height * s.width;
  s.pos = RandomFloats(random, (s.shared ? 1 : s.images) * s.vertices * 4, wildness);
  for (size_t i = 3; i < s.pos.size(); i += 4) s.pos[i] = s.pos[i] * 0.5f + 1.0f;
  s.attr = RandomFloats(random, (s.shared ? 1 : s.images) * s.vertices * s.channels, wildness);
  s.texture = RandomFloats(random, kTexels * s.channels, wildness);
  s.uv = RandomFloats(random, pixels * 3, wildness);
  s.uv_da = RandomFloats(random, pixels * 6, wildness);
  s.noise = RandomFloats(random, pixels * 12, wildness);
  s.tri.resize(3 * s.triangles);
  for (int32_t& i : s.tri) {
    i = static_cast<int32_t>(random() % (s.vertices + 1));
    if (random() % 100 < 100 * wildness) i = static_cast<int32_t>(random());
  }
  s.ranges.resize(2 * s.images);
  for (int32_t& i : s.ranges) {
    i = static_cast<int32_t>(random() % (s.triangles + 2));
    if (random() % 100 < 100 * wildness) i = static_cast<int32_t>(random());
  }
  s.opposite.resize(3 * s.triangles);
  return s;
}

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "failed: %s\n", what);
  std::exit(1);
}

// All results of all kernels, one after the other.
Floats RunAll(Scene& s, const rasterizer::Parallel& parallel) {
  const rasterizer::Kernels& k = rasterizer::BestKernels();
  const int64_t pixels = s.images * s.height * s.width, pixel_count = s.height * s.width;
  Floats all;
  const auto keep = [&](const Floats& x) { all.insert(all.end(), x.begin(), x.end()); };

  rasterizer::Geometry g = {s.pos.data(), s.tri.data(), s.shared ? s.ranges.data() : nullptr,
                            s.images, s.vertices, s.triangles, s.height, s.width, s.shared};
  Floats rast(2 * 4 * pixels), rast_db(2 * 4 * pixels);
  rasterizer::RasterizeForward forward;
  forward.geometry = g;
  forward.rast = rast.data();
  forward.rast_db = rast_db.data();
  forward.num_layers = 2;
  Require(k.rasterize_forward(forward, parallel), "rasterize");
  keep(rast), keep(rast_db);

  Floats grad_pos(s.pos.size());
  Require(k.rasterize_backward({g, rast.data(), s.noise.data(), s.noise.data() + 4 * pixels,
                                grad_pos.data()}, parallel), "rasterize gradient");
  keep(grad_pos);

  const Ints diff = {0};
  Floats out(pixels * s.channels), out_da(2 * pixels), grad_attr(s.attr.size());
  Floats grad_rast(4 * pixels), grad_db(4 * pixels);
  const rasterizer::InterpolateForward interpolate = {
      s.attr.data(), rast.data(), s.tri.data(), rast_db.data(), diff.data(), s.images, s.vertices,
      s.triangles, pixel_count, s.channels, 1, s.shared, out.data(), out_da.data()};
  Require(k.interpolate_forward(interpolate, parallel), "interpolate");
  Require(k.interpolate_backward({interpolate, s.noise.data(), s.noise.data(), grad_attr.data(),
                                  grad_rast.data(), grad_db.data()}, parallel),
          "interpolate gradient");
  keep(out), keep(out_da), keep(grad_attr), keep(grad_rast), keep(grad_db);

  Require(rasterizer::BuildTopology({s.tri.data(), s.triangles, s.opposite.data()}), "topology");
  // Once on what was drawn and once on noise.
  for (const float* ids : {rast.data(), s.noise.data()}) {
    Floats blended(pixels * s.channels), grad_color(pixels * s.channels);
    std::vector<uint8_t> crossings(pixels);
    const rasterizer::AntialiasForward antialias = {
        g, s.noise.data(), ids, s.opposite.data(), s.channels, blended.data(), crossings.data()};
    Require(k.antialias_forward(antialias, parallel), "antialias");
    Require(k.antialias_backward({antialias, crossings.data(), s.noise.data(), 1.0f,
                                  grad_color.data(), grad_pos.data()}, parallel),
            "antialias gradient");
    keep(blended), keep(grad_color), keep(grad_pos);

    // Pixels of one sample, and of as many as divide the image. Not every backend has this.
    for (int64_t samples : {1, 5, 13}) {
      if (k.antialias_pooled_forward == nullptr || s.height % samples || s.width % samples) continue;
      Ints covered(pixels / (samples * samples));
      const int64_t size = static_cast<int64_t>(covered.size()) * s.channels;
      const Floats color(s.noise.begin(), s.noise.begin() + size);
      Floats pooled(size);
      const Floats background(s.noise.end() - s.channels, s.noise.end());
      rasterizer::AntialiasForward fine = antialias;
      fine.out = pooled.data();
      // Every second pixel from the last on, one twice, and some that are none.
      Ints some = {-1, INT32_MIN, INT32_MAX, 0};
      for (int64_t i = size / s.channels - 1; i >= 0; i -= 2) some.push_back(static_cast<int32_t>(i));
      for (const int64_t num_rows : {int64_t{-1}, static_cast<int64_t>(some.size())}) {
        Floats colors(color), grad_rows(num_rows < 0 ? size : num_rows * s.channels);
        colors.resize(grad_rows.size());
        fine.color = colors.data();
        const rasterizer::Pooling pooling = {
            samples, background.data(), {0, 0, 0}, some.data(), num_rows, covered.data()};
        Require(k.antialias_pooled_forward({fine, pooling}, parallel), "antialias_pooled");
        Require(k.antialias_pooled_backward({{fine, crossings.data(), color.data(), 1.0f,
                                              grad_rows.data(), grad_pos.data()}, pooling}, parallel),
                "antialias_pooled gradient");
        keep(pooled), keep(grad_rows), keep(grad_pos);
      }
    }
  }

  for (int filter = 0; filter < 4; ++filter) {
    for (int boundary = 0; boundary < 4; ++boundary) {
      Floats grad_texture(s.texture.size()), grad_uv(3 * pixels), grad_da(6 * pixels), bias(pixels);
      const int64_t levels = filter >= 2 ? 3 : 0;
      const rasterizer::TextureForward texture = {
          s.texture.data(), s.uv.data(), s.uv_da.data(), s.noise.data(), 1, s.images, pixel_count,
          s.channels, kTexture, kTexture, levels, filter, boundary, out.data()};
      Require(k.texture_forward(texture, parallel), "texture");
      Require(k.texture_backward({texture, s.noise.data(), grad_texture.data(), grad_uv.data(),
                                  grad_da.data(), bias.data()}, parallel), "texture gradient");
      keep(out), keep(grad_texture), keep(grad_uv), keep(grad_da), keep(bias);
    }
  }
  return all;
}

}  // namespace

int main() {
  std::mt19937 random(0);
  for (int i = 0; i < 60; ++i) {
    Scene scene = RandomScene(random, i % 3 == 0 ? 0.0f : i % 3 == 1 ? 0.05f : 0.5f);
    const Floats alone = RunAll(scene, Threads(1)), together = RunAll(scene, Threads(8));
    Require(alone.size() == together.size() &&
                std::memcmp(alone.data(), together.data(), sizeof(float) * alone.size()) == 0,
            "one thread and eight give the same bits");
  }
  std::puts("ok");
}
