// The operations as calls of nvdiffrast's functions.
//
// Inputs are tensors over XLA's memory. nvdiffrast allocates its results with PyTorch, so each is
// copied once to where XLA wants it. What nvdiffrast refuses but the contract of shared/arguments.h
// allows, arrays without elements, is answered here.

#ifndef RASTERIZER_FFI_NVDIFFRAST_CALLS_H_
#define RASTERIZER_FFI_NVDIFFRAST_CALLS_H_

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <mutex>
#include <numeric>
#include <tuple>
#include <utility>
#include <vector>

#include "../shared/arguments.h"
#include "functions.h"

namespace rasterizer {
namespace {

using Sizes = std::vector<int64_t>;

// A rasteriser of nvdiffrast. It holds buffers between calls: those of a stream share one, and
// only one of them at a time.
class State {
 public:
  State(const Functions& functions, int device) : functions_(functions) {
    functions_.construct_state(storage_, device);
  }
  ~State() { functions_.destroy_state(storage_); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  void* get() { return storage_; }
  std::mutex mutex;

 private:
  const Functions& functions_;
  alignas(std::max_align_t) char storage_[64];  // nvdiffrast's is a pointer and an int
};

class States {
 public:
  State& Of(const Functions& functions, int device, const void* stream) {
    std::lock_guard<std::mutex> lock(mutex_);
    return states_.try_emplace({device, stream}, functions, device).first->second;
  }
  void Release() {
    std::lock_guard<std::mutex> lock(mutex_);
    states_.clear();
  }

 private:
  std::mutex mutex_;
  std::map<std::pair<int, const void*>, State> states_;
};

class Calls {
 public:
  // All memory is on `device`; what is launched goes to PyTorch's current stream there, `stream`.
  Calls(const Functions& functions, States& states, at::Device device, const void* stream)
      : functions_(functions), states_(states), device_(device), stream_(stream) {}

  void Run(const RasterizeForward& args) const {
    const Geometry& g = args.geometry;
    const Sizes image = {g.num_images, g.height, g.width, 4};
    const int64_t size = Product(image);
    if (!Draws(g)) {
      Zero(args.rast, size * args.num_layers);
      Zero(args.rast_db, size * args.num_layers);
      return;
    }
    const Tensor pos = Pos(g), tri = Tri(g), ranges = RangesOnHost(g);
    const std::tuple<int, int> resolution(Int(g.height), Int(g.width));
    State& state = states_.Of(functions_, device_.index(), stream_);
    std::lock_guard<std::mutex> lock(state.mutex);
    for (int64_t i = 0; i < args.num_layers; ++i) {
      const auto [rast, rast_db] =
          functions_.rasterize(state.get(), pos, tri, resolution, ranges, Int(i));
      Write(args.rast + i * size, image, rast);
      Write(args.rast_db + i * size, image, rast_db);
    }
  }

  void Run(const RasterizeBackward& args) const {
    const Geometry& g = args.geometry;
    const Sizes image = {g.num_images, g.height, g.width, 4};
    const Sizes vertices = PosSizes(g);
    if (!Draws(g)) return Zero(args.grad_pos, Product(vertices));
    const Tensor pos = Pos(g), tri = Tri(g), rast = In(args.rast, image), dy = In(args.dy, image);
    Write(args.grad_pos, vertices,
          args.ddb == nullptr
              ? functions_.rasterize_grad(pos, tri, rast, dy)
              : functions_.rasterize_grad_db(pos, tri, rast, dy, In(args.ddb, image)));
  }

  // Pixels are independent of each other, so here and for textures an image is one row of them.
  void Run(const InterpolateForward& args) const {
    const Interpolation in(args);
    if (in.empty) {
      Zero(args.out, Product(in.out));
      Zero(args.out_da, Product(in.out_da));
      return;
    }
    const Tensor attr = In(args.attr, in.attr), rast = In(args.rast, in.rast);
    const Tensor tri = In(args.tri, {args.num_triangles, 3});
    if (args.num_diff == 0) {
      return Write(args.out, in.out, std::get<0>(functions_.interpolate(attr, rast, tri)));
    }
    std::vector<int> channels = in.channels;
    const auto [out, out_da] = functions_.interpolate_da(
        attr, rast, tri, In(args.rast_db, in.rast), in.all_channels, channels);
    Write(args.out, in.out, out);
    Write(args.out_da, in.out_da, out_da);
  }

  void Run(const InterpolateBackward& args) const {
    const InterpolateForward& forward = args.forward;
    const Interpolation in(forward);
    if (in.empty) {
      Zero(args.grad_attr, Product(in.attr));
      Zero(args.grad_rast, Product(in.rast));
      if (forward.num_diff > 0) Zero(args.grad_rast_db, Product(in.rast));
      return;
    }
    const Tensor attr = In(forward.attr, in.attr), rast = In(forward.rast, in.rast);
    const Tensor tri = In(forward.tri, {forward.num_triangles, 3}), dy = In(args.dy, in.out);
    if (forward.num_diff == 0) {
      const auto [grad_attr, grad_rast] = functions_.interpolate_grad(attr, rast, tri, dy);
      Write(args.grad_attr, in.attr, grad_attr);
      Write(args.grad_rast, in.rast, grad_rast);
      return;
    }
    std::vector<int> channels = in.channels;
    const auto [grad_attr, grad_rast, grad_rast_db] = functions_.interpolate_grad_da(
        attr, rast, tri, dy, In(forward.rast_db, in.rast), In(args.dda, in.out_da),
        in.all_channels, channels);
    Write(args.grad_attr, in.attr, grad_attr);
    Write(args.grad_rast, in.rast, grad_rast);
    Write(args.grad_rast_db, in.rast, grad_rast_db);
  }

  // nvdiffrast has a work list instead of args.crossings, which nobody reads here.
  void Run(const AntialiasForward& args) const {
    const Sizes image = ColorSizes(args);
    const Tensor color = In(args.color, image);
    if (!Draws(args.geometry) || args.num_channels == 0) return Write(args.out, image, color);
    Write(args.out, image, std::get<0>(Antialias(args)));
  }

  // The work list of the forward pass is not kept between calls, so that pass is done again.
  void Run(const AntialiasBackward& args) const {
    const AntialiasForward& forward = args.forward;
    const Geometry& g = forward.geometry;
    const Sizes image = ColorSizes(forward), vertices = PosSizes(g);
    const Tensor dy = In(args.dy, image);
    if (!Draws(g) || forward.num_channels == 0) {
      Write(args.grad_color, image, dy);
      return Zero(args.grad_pos, Product(vertices));
    }
    const Tensor work = std::get<1>(Antialias(forward));
    const auto [grad_color, grad_pos] = functions_.antialias_grad(
        In(forward.color, image), Rast(forward), Pos(g), Tri(g), dy, work);
    Write(args.grad_color, image, grad_color);
    Write(args.grad_pos, vertices, grad_pos);
    Out(args.grad_pos, vertices).mul_(args.pos_gradient_boost);
  }

  // nvdiffrast has a table of its own, which `antialias` builds from the triangles.
  void Run(const Topology& args) const { Out(args.opposite, {args.num_triangles, 3}).fill_(-1); }

  void Run(const TextureForward& args) const {
    if (OneByOne(args)) {
      for (int64_t i = 0; i < args.num_images; ++i) Run(ImageOf(args, i));
      return;
    }
    const Lookup in(args);
    if (Product(in.out) == 0) return;
    const Levels levels = LevelsOf(args);
    const Tensor tex = In(args.stack, levels[0].sizes), uv = In(args.uv, in.uv);
    Write(args.out, in.out,
          in.mipmapped ? functions_.texture_mip(tex, uv, Optional(args.uv_da, in.uv_da),
                                                Optional(args.bias, in.bias), MipLevels{},
                                                Mip(args.stack, levels), in.filter, args.boundary)
                       : functions_.texture(tex, uv, in.filter, args.boundary));
  }

  void Run(const TextureBackward& args) const {
    const TextureForward& forward = args.forward;
    if (OneByOne(forward)) {
      for (int64_t i = 0; i < forward.num_images; ++i) Run(ImageOf(args, i));
      return;
    }
    const Lookup in(forward);
    const Levels levels = LevelsOf(forward);
    // What has no gradient in a mode keeps these zeros.
    Zero(args.grad_stack, levels.back().offset + Product(levels.back().sizes));
    Zero(args.grad_uv, Product(in.uv));
    if (args.grad_uv_da != nullptr) Zero(args.grad_uv_da, Product(in.uv_da));
    if (args.grad_bias != nullptr) Zero(args.grad_bias, Product(in.bias));
    if (Product(in.out) == 0) return;

    const Tensor tex = In(forward.stack, levels[0].sizes), uv = In(forward.uv, in.uv);
    const Tensor dy = In(args.dy, in.out);
    const Tensor uv_da = Optional(forward.uv_da, in.uv_da), bias = Optional(forward.bias, in.bias);
    const int filter = in.filter, boundary = forward.boundary;
    Tensor grad_tex, grad_uv, grad_uv_da, grad_bias;
    Tensors grad_mip;
    if (filter == kNearest) {
      grad_tex = functions_.texture_grad_nearest(tex, uv, dy, filter, boundary);
    } else if (filter == kLinear) {
      std::tie(grad_tex, grad_uv) =
          functions_.texture_grad_linear(tex, uv, dy, filter, boundary);
    } else if (filter == kLinearMipmapNearest) {
      std::tie(grad_tex, grad_uv, grad_mip) = functions_.texture_grad_mip_nearest(
          tex, uv, dy, uv_da, bias, MipLevels{}, Mip(forward.stack, levels), filter, boundary);
    } else {
      std::tie(grad_tex, grad_uv, grad_uv_da, grad_bias, grad_mip) =
          functions_.texture_grad_mip_linear(tex, uv, dy, uv_da, bias, MipLevels{},
                                             Mip(forward.stack, levels), filter, boundary);
    }
    grad_mip.insert(grad_mip.begin(), grad_tex);
    TORCH_CHECK(grad_mip.size() == levels.size(), "expected the gradients of ", levels.size(),
                " levels of a texture, got ", grad_mip.size());
    for (size_t i = 0; i < levels.size(); ++i) {
      Write(args.grad_stack + levels[i].offset, levels[i].sizes, grad_mip[i]);
    }
    if (grad_uv.defined()) Write(args.grad_uv, in.uv, grad_uv);
    if (grad_uv_da.defined()) Write(args.grad_uv_da, in.uv_da, grad_uv_da);
    if (grad_bias.defined()) Write(args.grad_bias, in.bias, grad_bias);
  }

 private:
  // ---- Tensors over memory of XLA

  static int64_t Product(const Sizes& sizes) {
    return std::accumulate(sizes.begin(), sizes.end(), int64_t{1}, std::multiplies<int64_t>());
  }

  static int Int(int64_t value) { return static_cast<int>(value); }

  template <class T>
  Tensor Out(T* data, const Sizes& sizes) const {
    const at::ScalarType type = std::is_same_v<T, int32_t> ? at::kInt : at::kFloat;
    return at::for_blob(data, sizes)
        .target_device(device_)
        .options(at::TensorOptions(device_).dtype(type))
        .make_tensor();
  }

  template <class T>
  Tensor In(const T* data, const Sizes& sizes) const {
    return Out(const_cast<T*>(data), sizes);
  }

  Tensor Optional(const float* data, const Sizes& sizes) const {
    return data == nullptr ? Tensor() : In(data, sizes);
  }

  void Zero(float* data, int64_t size) const { Out(data, {size}).zero_(); }

  void Write(float* data, const Sizes& sizes, const Tensor& value) const {
    TORCH_CHECK(value.sizes() == at::IntArrayRef(sizes), "expected a result of shape ",
                at::IntArrayRef(sizes), ", got ", value.sizes());
    Out(data, sizes).copy_(value);
  }

  // ---- Geometry

  static bool Draws(const Geometry& g) {
    return g.num_images > 0 && g.num_vertices > 0 && g.num_triangles > 0 && g.height > 0 &&
           g.width > 0;
  }

  static Sizes PosSizes(const Geometry& g) {
    return g.shared_pos ? Sizes{g.num_vertices, 4} : Sizes{g.num_images, g.num_vertices, 4};
  }

  Tensor Pos(const Geometry& g) const { return In(g.pos, PosSizes(g)); }
  Tensor Tri(const Geometry& g) const { return In(g.tri, {g.num_triangles, 3}); }

  // nvdiffrast wants ranges on the host: the one thing here that waits for the device. It trusts
  // them, so they are cut to the triangles that exist.
  Tensor RangesOnHost(const Geometry& g) const {
    if (g.ranges == nullptr) return at::empty({0, 2}, at::TensorOptions(at::kInt));
    Tensor ranges = at::empty({g.num_images, 2}, at::TensorOptions(at::kInt));
    ranges.copy_(In(g.ranges, {g.num_images, 2}));
    int32_t* range = ranges.mutable_data_ptr<int32_t>();
    for (int64_t i = 0; i < g.num_images; ++i, range += 2) {
      const int64_t end = int64_t{range[0]} + std::max(range[1], 0);
      const int64_t start = std::clamp<int64_t>(range[0], 0, g.num_triangles);
      range[0] = Int(start);
      range[1] = Int(std::clamp<int64_t>(end, start, g.num_triangles) - start);
    }
    return ranges;
  }

  // ---- interpolate

  struct Interpolation {
    explicit Interpolation(const InterpolateForward& args)
        : attr{args.shared_attr ? 1 : args.num_images, args.num_vertices, args.num_channels},
          rast{args.num_images, 1, args.num_pixels, 4},
          out{args.num_images, 1, args.num_pixels, args.num_channels},
          out_da{args.num_images, 1, args.num_pixels, 2 * args.num_diff},
          channels(args.diff_attrs, args.diff_attrs + args.num_diff) {
      empty = args.num_triangles == 0 || args.num_vertices == 0 || Product(out) == 0;
      // The length of a list is limited in nvdiffrast; all channels are asked for without one.
      all_channels = args.num_diff == args.num_channels;
      for (int64_t i = 0; all_channels && i < args.num_diff; ++i) all_channels = channels[i] == i;
      if (all_channels) channels.clear();
    }

    Sizes attr, rast, out, out_da;
    std::vector<int> channels;  // those with derivatives, unless these are all
    bool empty, all_channels;
  };

  // ---- antialias

  static Sizes ColorSizes(const AntialiasForward& args) {
    const Geometry& g = args.geometry;
    return {g.num_images, g.height, g.width, args.num_channels};
  }

  Tensor Rast(const AntialiasForward& args) const {
    const Geometry& g = args.geometry;
    return In(args.rast, {g.num_images, g.height, g.width, 4});
  }

  Pair Antialias(const AntialiasForward& args) const {
    const Tensor tri = Tri(args.geometry);
    return functions_.antialias(In(args.color, ColorSizes(args)), Rast(args), Pos(args.geometry),
                                tri, functions_.topology(tri));
  }

  // ---- texture

  struct Lookup {
    explicit Lookup(const TextureForward& args)
        : uv{args.num_images, 1, args.num_pixels, args.boundary == kCube ? 3 : 2},
          uv_da{args.num_images, 1, args.num_pixels, args.boundary == kCube ? 6 : 4},
          bias{args.num_images, 1, args.num_pixels},
          out{args.num_images, 1, args.num_pixels, args.num_channels},
          // With one level, mipmapping is linear filtering.
          mipmapped(args.filter >= kLinearMipmapNearest && args.max_level > 0),
          filter(mipmapped || args.filter == kNearest ? args.filter : kLinear) {}

    Sizes uv, uv_da, bias, out;
    bool mipmapped;
    int filter;
  };

  struct Level {
    int64_t offset;  // of its first float in the stack
    Sizes sizes;
  };
  using Levels = std::vector<Level>;

  // Where the levels are in a stack whose textures are read together.
  static Levels LevelsOf(const TextureForward& args) {
    Levels levels;
    int64_t offset = 0, height = args.height, width = args.width;
    for (int64_t i = 0; i <= args.max_level; ++i) {
      Sizes sizes = {args.num_textures, height, width, args.num_channels};
      if (args.boundary == kCube) sizes.insert(sizes.begin() + 1, 6);
      levels.push_back({offset, sizes});
      offset += Product(sizes);
      height = std::max<int64_t>(height / 2, 1);
      width = std::max<int64_t>(width / 2, 1);
    }
    return levels;
  }

  Tensors Mip(const float* stack, const Levels& levels) const {
    Tensors mip;
    for (size_t i = 1; i < levels.size(); ++i) {
      mip.push_back(In(stack + levels[i].offset, levels[i].sizes));
    }
    return mip;
  }

  // A level of several textures is not contiguous in the stack, so each image is a call then.
  static bool OneByOne(const TextureForward& args) {
    return args.max_level > 0 && args.num_textures > 1;
  }

  static TextureForward ImageOf(const TextureForward& args, int64_t image) {
    TextureForward one = args;
    const Lookup in(args);
    one.num_textures = one.num_images = 1;
    one.stack += image * StackSize(args);
    one.uv += image * (Product(in.uv) / args.num_images);
    if (one.uv_da != nullptr) one.uv_da += image * (Product(in.uv_da) / args.num_images);
    if (one.bias != nullptr) one.bias += image * args.num_pixels;
    if (one.out != nullptr) one.out += image * args.num_pixels * args.num_channels;
    return one;
  }

  static TextureBackward ImageOf(const TextureBackward& args, int64_t image) {
    TextureBackward one = args;
    const TextureForward& forward = args.forward;
    const Lookup in(forward);
    one.forward = ImageOf(forward, image);
    one.dy += image * forward.num_pixels * forward.num_channels;
    one.grad_stack += image * StackSize(forward);
    one.grad_uv += image * (Product(in.uv) / forward.num_images);
    if (one.grad_uv_da != nullptr) {
      one.grad_uv_da += image * (Product(in.uv_da) / forward.num_images);
    }
    if (one.grad_bias != nullptr) one.grad_bias += image * forward.num_pixels;
    return one;
  }

  // Floats of all levels of one texture.
  static int64_t StackSize(const TextureForward& args) {
    TextureForward one = args;
    one.num_textures = 1;
    const Levels levels = LevelsOf(one);
    return levels.back().offset + Product(levels.back().sizes);
  }

  const Functions& functions_;
  States& states_;
  at::Device device_;
  const void* stream_;
};

}  // namespace
}  // namespace rasterizer

#endif  // RASTERIZER_FFI_NVDIFFRAST_CALLS_H_
