// Prints what each operation of the CPU backend allocates at its peak, beyond its inputs and outputs:
//   <operation> <scene> <threads> <bytes> <pixels> <triangles>
// The linker sends every malloc and free of the kernels here (--wrap).

#include <malloc.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "../../rasterizer_ffi/cpu/kernels.h"
#include "threads.h"

namespace {

std::atomic<int64_t> in_use{0}, peak{0};

}  // namespace

extern "C" {

void* __real_malloc(size_t size);
void __real_free(void* data);

void* __wrap_malloc(size_t size) {
  void* data = __real_malloc(size);
  const int64_t now = in_use += static_cast<int64_t>(malloc_usable_size(data));
  for (int64_t most = peak; now > most && !peak.compare_exchange_weak(most, now);) {
  }
  return data;
}

void __wrap_free(void* data) {
  in_use -= static_cast<int64_t>(malloc_usable_size(data));
  __real_free(data);
}

}  // extern "C"

namespace {

// A sheet of across * along quads of two triangles, or the same triangles with no vertex shared.
struct Scene {
  const char* name;
  int64_t images, height, width, across, along;
  bool shared_vertices;
};

void Measure(const Scene& scene, int num_threads) {
  std::vector<int32_t> tri;
  std::vector<float> sheet;
  for (int64_t row = 0; row <= scene.along; ++row) {
    for (int64_t column = 0; column <= scene.across; ++column) {
      sheet.push_back(2.0f * static_cast<float>(column) / static_cast<float>(scene.across) - 1.0f);
      sheet.push_back(2.0f * static_cast<float>(row) / static_cast<float>(scene.along) - 1.0f);
      sheet.push_back(0.0f);
      sheet.push_back(1.0f);
      if (row == scene.along || column == scene.across) continue;
      const int32_t step = static_cast<int32_t>(scene.across + 1);
      const int32_t at = static_cast<int32_t>(row) * step + static_cast<int32_t>(column);
      tri.insert(tri.end(), {at, at + 1, at + step, at + 1, at + step + 1, at + step});
    }
  }
  if (!scene.shared_vertices) {
    std::vector<float> apart;
    for (int32_t& i : tri) {
      apart.insert(apart.end(), &sheet[4 * static_cast<size_t>(i)],
                   &sheet[4 * static_cast<size_t>(i)] + 4);
      i = static_cast<int32_t>(apart.size() / 4 - 1);
    }
    sheet = apart;
  }
  const int64_t triangles = static_cast<int64_t>(tri.size() / 3);
  const int64_t vertices = static_cast<int64_t>(sheet.size() / 4);
  const int64_t pixels = scene.images * scene.height * scene.width, channels = 3;
  std::vector<float> pos;
  for (int64_t i = 0; i < scene.images; ++i) pos.insert(pos.end(), sheet.begin(), sheet.end());
  std::vector<int32_t> opposite(tri.size());
  std::vector<float> rast(4 * pixels), rast_db(4 * pixels), grad_rast(4 * pixels);
  std::vector<float> grad_db(4 * pixels), out(channels * pixels), out_da(2 * pixels);
  std::vector<float> color(channels * pixels), grad_color(channels * pixels), grad_pos(pos.size());
  std::vector<float> attr(scene.images * vertices * channels), grad_attr(attr.size());

  const auto report = [&](const char* op, auto&& run) {
    const int64_t before = in_use;
    peak = before;
    if (!run()) std::exit(1);
    std::printf("%s %s %d %lld %lld %lld\n", op, scene.name, num_threads,
                static_cast<long long>(peak - before), static_cast<long long>(pixels),
                static_cast<long long>(triangles));
  };
  const rasterizer::Kernels& k = rasterizer::BestKernels();
  const Threads parallel(num_threads);
  const rasterizer::Geometry g = {pos.data(), tri.data(), nullptr,      scene.images, vertices,
                                  triangles,  scene.height, scene.width, false};
  rasterizer::RasterizeForward forward;
  forward.geometry = g;
  forward.rast = rast.data();
  forward.rast_db = rast_db.data();
  report("rasterize", [&] { return k.rasterize_forward(forward, parallel); });
  report("rasterize_grad", [&] {
    return k.rasterize_backward({g, rast.data(), rast_db.data(), rast_db.data(), grad_pos.data()},
                                parallel);
  });
  const int32_t diff = 0;
  const rasterizer::InterpolateForward interpolate = {
      attr.data(), rast.data(), tri.data(), rast_db.data(), &diff, scene.images, vertices, triangles,
      scene.height * scene.width, channels, 1, false, out.data(), out_da.data()};
  report("interpolate", [&] { return k.interpolate_forward(interpolate, parallel); });
  report("interpolate_grad", [&] {
    return k.interpolate_backward({interpolate, color.data(), out_da.data(), grad_attr.data(),
                                   grad_rast.data(), grad_db.data()}, parallel);
  });
  report("topology", [&] {
    return rasterizer::BuildTopology({tri.data(), triangles, opposite.data()});
  });
  std::vector<uint8_t> crossings(pixels);
  const rasterizer::AntialiasForward antialias = {
      g, color.data(), rast.data(), opposite.data(), channels, out.data(), crossings.data()};
  report("antialias", [&] { return k.antialias_forward(antialias, parallel); });
  report("antialias_grad", [&] {
    return k.antialias_backward({antialias, crossings.data(), color.data(), 1.0f,
                                 grad_color.data(), grad_pos.data()}, parallel);
  });
  const int64_t size = 512;
  std::vector<float> texture(size * size * channels), grad_texture(texture.size());
  std::vector<float> uv(2 * pixels), grad_uv(2 * pixels);
  const rasterizer::TextureForward lookup = {
      texture.data(), uv.data(), nullptr, nullptr, 1, scene.images, scene.height * scene.width,
      channels, size, size, 0, rasterizer::kLinear, rasterizer::kWrap, out.data()};
  report("texture", [&] { return k.texture_forward(lookup, parallel); });
  report("texture_grad", [&] {
    return k.texture_backward({lookup, color.data(), grad_texture.data(), grad_uv.data(), nullptr,
                               nullptr}, parallel);
  });
}

}  // namespace

int main() {
  const Scene scenes[] = {
      {"6k_faces_10_views", 10, 256, 256, 61, 48, true},
      {"20k_faces_10_views", 10, 256, 256, 128, 80, true},
      {"80k_faces_1024", 1, 1024, 1024, 256, 160, true},
      {"1M_faces_16_pixels", 1, 16, 16, 1000, 500, true},
      {"1M_loose_faces_16_pixels", 1, 16, 16, 1000, 500, false},
      {"two_faces_2048", 1, 2048, 2048, 1, 1, true},
  };
  for (const Scene& scene : scenes) {
    for (int num_threads : {1, 2, 8}) Measure(scene, num_threads);
  }
}
