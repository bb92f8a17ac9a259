// A stand-in for nvdiffrast's compiled extension: functions of the same names and types, on the
// host, which hold their arguments to what nvdiffrast asks for and compute with our own kernels.
//
// Written from nvdiffrast's published interface (0.4.0); no code of it is here. The compiler makes
// the symbols from the types below, which is what proves the names that the backend looks up.

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros_like.h>

#include <cstdint>
#include <tuple>
#include <vector>

#include "../../rasterizer_ffi/cpu/kernels.h"

using at::Tensor;

// Not what nvdiffrast's holds, but as large.
class RasterizeCRStateWrapper {
 public:
  explicit RasterizeCRStateWrapper(int device);
  ~RasterizeCRStateWrapper();

  int* layers_drawn;  // by the calls that peel, so far
  int device;
};

class TextureMipWrapper {
 public:
  Tensor mip;
  int max_mip_level;
  std::vector<int64_t> texture_size;
  bool cube_mode;
};

class TopologyHashWrapper {
 public:
  Tensor ev_hash;
};

namespace {

class Alone : public rasterizer::Parallel {
 public:
  int num_threads() const override { return 1; }
  void Run(int64_t num_tasks, void (*task)(void*, int64_t), void* context) const override {
    for (int64_t i = 0; i < num_tasks; ++i) task(context, i);
  }
};

const Alone alone;

#define COMPUTE(kernel, args) \
  TORCH_CHECK(rasterizer::BestKernels().kernel(args, alone), "no memory for the scratch arrays")

// What nvdiffrast asks of every tensor: elements in every dimension, contiguous and aligned.
void Check(const Tensor& tensor, at::ScalarType type, int64_t rank, int64_t last,
           uintptr_t alignment) {
  TORCH_CHECK(tensor.defined() && tensor.is_contiguous() && tensor.scalar_type() == type &&
                  tensor.dim() == rank && tensor.numel() > 0 && tensor.size(-1) == last &&
                  reinterpret_cast<uintptr_t>(tensor.const_data_ptr()) % alignment == 0,
              "stand-in: a tensor is not what nvdiffrast takes");
}

void CheckTri(const Tensor& tri) { Check(tri, at::kInt, 2, 3, 4); }
void CheckImage(const Tensor& image, int64_t channels) {
  Check(image, at::kFloat, 4, channels, channels % 4 == 0 ? 16 : channels % 2 == 0 ? 8 : 4);
}

float* Data(const Tensor& t) { return t.defined() ? t.mutable_data_ptr<float>() : nullptr; }
const int32_t* Indices(const Tensor& t) { return t.const_data_ptr<int32_t>(); }

rasterizer::Geometry GeometryOf(const Tensor& pos, const Tensor& tri, int64_t images, int64_t height,
                                int64_t width) {
  Check(pos, at::kFloat, pos.dim() > 2 ? 3 : 2, 4, 16);
  CheckTri(tri);
  TORCH_CHECK(pos.dim() == 2 || pos.size(0) == images, "stand-in: pos has other images");
  return {Data(pos), Indices(tri), nullptr, images, pos.size(-2), tri.size(0), height, width,
          pos.dim() == 2};
}

}  // namespace

RasterizeCRStateWrapper::RasterizeCRStateWrapper(int device)
    : layers_drawn(new int(0)), device(device) {}
RasterizeCRStateWrapper::~RasterizeCRStateWrapper() { delete layers_drawn; }

std::tuple<Tensor, Tensor> rasterize_fwd_cuda(RasterizeCRStateWrapper& state, Tensor pos, Tensor tri,
                                              std::tuple<int, int> resolution, Tensor ranges,
                                              int peeling_idx) {
  TORCH_CHECK(pos.get_device() == state.device, "stand-in: the state is of another device");
  TORCH_CHECK(ranges.is_cpu() && ranges.is_contiguous() && ranges.scalar_type() == at::kInt &&
                  ranges.dim() == 2 && ranges.size(1) == 2,
              "stand-in: ranges are not what nvdiffrast takes");
  TORCH_CHECK(peeling_idx == 0 || peeling_idx == *state.layers_drawn,
              "stand-in: layers are not drawn one after the other");
  *state.layers_drawn = peeling_idx + 1;
  const int64_t images = pos.dim() > 2 ? pos.size(0) : ranges.size(0);
  const auto [height, width] = resolution;
  rasterizer::RasterizeForward args;
  args.geometry = GeometryOf(pos, tri, images, height, width);
  for (int64_t i = 0; i < ranges.size(0); ++i) {
    const int32_t *range = Indices(ranges) + 2 * i;
    TORCH_CHECK(range[0] >= 0 && range[1] >= 0 && range[0] + int64_t{range[1]} <= tri.size(0),
                "stand-in: a range is not in tri");
  }
  if (args.geometry.shared_pos) args.geometry.ranges = Indices(ranges);
  args.num_layers = peeling_idx + 1;
  const Tensor rast = at::empty({args.num_layers, images, height, width, 4}, pos.options());
  const Tensor rast_db = at::empty_like(rast);
  args.rast = Data(rast);
  args.rast_db = Data(rast_db);
  COMPUTE(rasterize_forward, args);
  return {rast[peeling_idx].clone(), rast_db[peeling_idx].clone()};
}

Tensor rasterize_grad_db(Tensor pos, Tensor tri, Tensor out, Tensor dy, Tensor ddb) {
  CheckImage(out, 4);
  CheckImage(dy, 4);
  if (ddb.defined()) CheckImage(ddb, 4);
  const Tensor grad = at::empty_like(pos);
  const rasterizer::RasterizeBackward args = {
      GeometryOf(pos, tri, out.size(0), out.size(1), out.size(2)), Data(out), Data(dy), Data(ddb),
      Data(grad)};
  COMPUTE(rasterize_backward, args);
  return grad;
}

Tensor rasterize_grad(Tensor pos, Tensor tri, Tensor out, Tensor dy) {
  return rasterize_grad_db(pos, tri, out, dy, Tensor());
}

namespace {

// The channels that have derivatives are written to `channels`, which must live as long as this.
rasterizer::InterpolateForward InterpolateArgs(const Tensor& attr, const Tensor& rast,
                                               const Tensor& tri, const Tensor& rast_db, bool all,
                                               std::vector<int>& channels) {
  Check(attr, at::kFloat, 3, attr.size(-1), 4);
  CheckImage(rast, 4);
  CheckTri(tri);
  if (rast_db.defined()) CheckImage(rast_db, 4);
  TORCH_CHECK(attr.size(0) == 1 || attr.size(0) == rast.size(0), "stand-in: attr has other images");
  TORCH_CHECK(channels.size() <= 32 && (!all || channels.empty()), "stand-in: bad channels");
  for (int i = 0; all && i < attr.size(2); ++i) channels.push_back(i);
  rasterizer::InterpolateForward args = {};
  args.attr = Data(attr);
  args.rast = Data(rast);
  args.tri = Indices(tri);
  args.rast_db = Data(rast_db);
  args.diff_attrs = channels.data();
  args.num_images = rast.size(0);
  args.num_vertices = attr.size(1);
  args.num_triangles = tri.size(0);
  args.num_pixels = rast.size(1) * rast.size(2);
  args.num_channels = attr.size(2);
  args.num_diff = static_cast<int64_t>(channels.size());
  args.shared_attr = attr.size(0) < rast.size(0);
  return args;
}

}  // namespace

std::tuple<Tensor, Tensor> interpolate_fwd_da(Tensor attr, Tensor rast, Tensor tri, Tensor rast_db,
                                              bool diff_attrs_all,
                                              std::vector<int>& diff_attrs_vec) {
  std::vector<int> channels = diff_attrs_vec;
  rasterizer::InterpolateForward args =
      InterpolateArgs(attr, rast, tri, rast_db, diff_attrs_all, channels);
  const Tensor out = at::empty({rast.size(0), rast.size(1), rast.size(2), attr.size(2)},
                               rast.options());
  const Tensor out_da = at::empty({rast.size(0), rast.size(1), rast.size(2), 2 * args.num_diff},
                                  rast.options());
  args.out = Data(out);
  args.out_da = Data(out_da);
  COMPUTE(interpolate_forward, args);
  return {out, out_da};
}

std::tuple<Tensor, Tensor> interpolate_fwd(Tensor attr, Tensor rast, Tensor tri) {
  std::vector<int> none;
  return interpolate_fwd_da(attr, rast, tri, Tensor(), false, none);
}

std::tuple<Tensor, Tensor, Tensor> interpolate_grad_da(Tensor attr, Tensor rast, Tensor tri,
                                                       Tensor dy, Tensor rast_db, Tensor dda,
                                                       bool diff_attrs_all,
                                                       std::vector<int>& diff_attrs_vec) {
  std::vector<int> channels = diff_attrs_vec;
  rasterizer::InterpolateBackward args;
  args.forward = InterpolateArgs(attr, rast, tri, rast_db, diff_attrs_all, channels);
  CheckImage(dy, attr.size(2));
  if (dda.defined()) Check(dda, at::kFloat, 4, 2 * args.forward.num_diff, 8);
  const Tensor grad_attr = at::empty_like(attr), grad_rast = at::empty_like(rast);
  const Tensor grad_rast_db = rast_db.defined() ? at::empty_like(rast_db) : Tensor();
  args.dy = Data(dy);
  args.dda = Data(dda);
  args.grad_attr = Data(grad_attr);
  args.grad_rast = Data(grad_rast);
  args.grad_rast_db = Data(grad_rast_db);
  COMPUTE(interpolate_backward, args);
  return {grad_attr, grad_rast, grad_rast_db};
}

std::tuple<Tensor, Tensor> interpolate_grad(Tensor attr, Tensor rast, Tensor tri, Tensor dy) {
  std::vector<int> none;
  const auto [grad_attr, grad_rast, unused] =
      interpolate_grad_da(attr, rast, tri, dy, Tensor(), Tensor(), false, none);
  return {grad_attr, grad_rast};
}

namespace {

// The levels of a texture side by side, as the kernels take them, and the arguments that they are
// part of.
struct Lookup {
  Tensor stack;
  rasterizer::TextureForward args = {};

  Lookup(const Tensor& tex, const std::vector<Tensor>& mip, const Tensor& uv, const Tensor& uv_da,
         const Tensor& bias, int filter, int boundary) {
    const bool cube = boundary == rasterizer::kCube;
    const int64_t channels = tex.size(-1);
    std::vector<Tensor> levels = {tex};
    levels.insert(levels.end(), mip.begin(), mip.end());
    for (Tensor& level : levels) {
      Check(level, at::kFloat, cube ? 5 : 4, channels,
            channels % 4 == 0 ? 16 : channels % 2 == 0 ? 8 : 4);
      TORCH_CHECK(level.size(0) == tex.size(0), "stand-in: a level has other textures");
      level = level.reshape({tex.size(0), -1, channels});
    }
    stack = at::cat(levels, 1).contiguous();
    Check(uv, at::kFloat, 4, cube ? 3 : 2, cube ? 4 : 8);
    if (uv_da.defined()) Check(uv_da, at::kFloat, 4, cube ? 6 : 4, cube ? 8 : 16);
    if (bias.defined()) Check(bias, at::kFloat, 3, uv.size(2), 4);
    TORCH_CHECK(tex.size(0) == 1 || tex.size(0) == uv.size(0), "stand-in: tex has other images");
    const bool mipmapped = filter >= rasterizer::kLinearMipmapNearest;
    TORCH_CHECK(mipmapped == !mip.empty() && (!mipmapped || uv_da.defined() || bias.defined()),
                "stand-in: the filter does not fit its arguments");
    args.stack = Data(stack);
    args.uv = Data(uv);
    args.uv_da = Data(uv_da);
    args.bias = Data(bias);
    args.num_textures = tex.size(0);
    args.num_images = uv.size(0);
    args.num_pixels = uv.size(1) * uv.size(2);
    args.num_channels = channels;
    args.height = tex.size(-3);
    args.width = tex.size(-2);
    args.max_level = static_cast<int64_t>(mip.size());
    args.filter = filter;
    args.boundary = boundary;
  }
};

struct LookupGradients {
  Tensor tex, uv, uv_da, bias;
  std::vector<Tensor> mip;
};

LookupGradients Backward(const Tensor& tex, const std::vector<Tensor>& mip, const Tensor& uv,
                         const Tensor& dy, const Tensor& uv_da, const Tensor& bias, int filter,
                         int boundary) {
  const Lookup lookup(tex, mip, uv, uv_da, bias, filter, boundary);
  CheckImage(dy, tex.size(-1));
  const Tensor grad_stack = at::empty_like(lookup.stack);
  LookupGradients gradients;
  gradients.uv = at::empty_like(uv);
  if (uv_da.defined()) gradients.uv_da = at::empty_like(uv_da);
  if (bias.defined()) gradients.bias = at::empty_like(bias);
  const rasterizer::TextureBackward args = {lookup.args,        Data(dy),
                                            Data(grad_stack),   Data(gradients.uv),
                                            Data(gradients.uv_da), Data(gradients.bias)};
  COMPUTE(texture_backward, args);
  int64_t first = 0;
  const auto take = [&](const Tensor& level) {
    const int64_t texels = level.numel() / level.size(0) / level.size(-1);
    const Tensor part = grad_stack.narrow(1, first, texels).reshape(level.sizes()).clone();
    first += texels;
    return part;
  };
  gradients.tex = take(tex);
  for (const Tensor& level : mip) gradients.mip.push_back(take(level));
  return gradients;
}

}  // namespace

Tensor texture_fwd_mip(Tensor tex, Tensor uv, Tensor uv_da, Tensor mip_level_bias,
                       TextureMipWrapper wrapper, std::vector<Tensor> mip_stack, int filter_mode,
                       int boundary_mode) {
  TORCH_CHECK(!wrapper.mip.defined() && wrapper.max_mip_level == 0 && wrapper.texture_size.empty() &&
                  !wrapper.cube_mode,
              "stand-in: expected no wrapped levels");
  Lookup lookup(tex, mip_stack, uv, uv_da, mip_level_bias, filter_mode, boundary_mode);
  const Tensor out = at::empty({uv.size(0), uv.size(1), uv.size(2), tex.size(-1)}, uv.options());
  lookup.args.out = Data(out);
  COMPUTE(texture_forward, lookup.args);
  return out;
}

Tensor texture_fwd(Tensor tex, Tensor uv, int filter_mode, int boundary_mode) {
  return texture_fwd_mip(tex, uv, Tensor(), Tensor(), TextureMipWrapper{}, {}, filter_mode,
                         boundary_mode);
}

Tensor texture_grad_nearest(Tensor tex, Tensor uv, Tensor dy, int filter_mode, int boundary_mode) {
  TORCH_CHECK(filter_mode == rasterizer::kNearest, "stand-in: another filter");
  return Backward(tex, {}, uv, dy, {}, {}, filter_mode, boundary_mode).tex;
}

std::tuple<Tensor, Tensor> texture_grad_linear(Tensor tex, Tensor uv, Tensor dy, int filter_mode,
                                               int boundary_mode) {
  TORCH_CHECK(filter_mode == rasterizer::kLinear, "stand-in: another filter");
  const LookupGradients g = Backward(tex, {}, uv, dy, {}, {}, filter_mode, boundary_mode);
  return {g.tex, g.uv};
}

std::tuple<Tensor, Tensor, std::vector<Tensor>> texture_grad_linear_mipmap_nearest(
    Tensor tex, Tensor uv, Tensor dy, Tensor uv_da, Tensor mip_level_bias, TextureMipWrapper,
    std::vector<Tensor> mip_stack, int filter_mode, int boundary_mode) {
  TORCH_CHECK(filter_mode == rasterizer::kLinearMipmapNearest, "stand-in: another filter");
  const LookupGradients g =
      Backward(tex, mip_stack, uv, dy, uv_da, mip_level_bias, filter_mode, boundary_mode);
  return {g.tex, g.uv, g.mip};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, std::vector<Tensor>> texture_grad_linear_mipmap_linear(
    Tensor tex, Tensor uv, Tensor dy, Tensor uv_da, Tensor mip_level_bias, TextureMipWrapper,
    std::vector<Tensor> mip_stack, int filter_mode, int boundary_mode) {
  TORCH_CHECK(filter_mode == rasterizer::kLinearMipmapLinear, "stand-in: another filter");
  const LookupGradients g =
      Backward(tex, mip_stack, uv, dy, uv_da, mip_level_bias, filter_mode, boundary_mode);
  return {g.tex, g.uv, g.uv_da, g.bias, g.mip};
}

TopologyHashWrapper antialias_construct_topology_hash(Tensor tri) {
  CheckTri(tri);
  const Tensor opposite = at::empty_like(tri);
  const rasterizer::Topology args = {Indices(tri), tri.size(0),
                                     opposite.mutable_data_ptr<int32_t>()};
  TORCH_CHECK(rasterizer::BuildTopology(args), "no memory for the scratch arrays");
  return {opposite};
}

namespace {

rasterizer::AntialiasForward AntialiasArgs(const Tensor& color, const Tensor& rast,
                                           const Tensor& pos, const Tensor& tri,
                                           const Tensor& opposite) {
  CheckImage(rast, 4);
  Check(color, at::kFloat, 4, color.size(-1), 4);
  rasterizer::AntialiasForward args = {};
  args.geometry = GeometryOf(pos, tri, rast.size(0), rast.size(1), rast.size(2));
  args.color = Data(color);
  args.rast = Data(rast);
  args.opposite = Indices(opposite);
  args.num_channels = color.size(3);
  return args;
}

}  // namespace

// The work list of this stand-in is the table of the topology: the gradient needs it, and has no
// other way to get it. It finds the crossings anew.
std::tuple<Tensor, Tensor> antialias_fwd(Tensor color, Tensor rast, Tensor pos, Tensor tri,
                                         TopologyHashWrapper topology) {
  rasterizer::AntialiasForward args = AntialiasArgs(color, rast, pos, tri, topology.ev_hash);
  const Tensor out = at::empty_like(color);
  std::vector<uint8_t> crossings(rast.numel() / 4);
  args.out = Data(out);
  args.crossings = crossings.data();
  COMPUTE(antialias_forward, args);
  return {out, topology.ev_hash};
}

std::tuple<Tensor, Tensor> antialias_grad(Tensor color, Tensor rast, Tensor pos, Tensor tri,
                                          Tensor dy, Tensor work_buffer) {
  CheckTri(work_buffer);
  Check(dy, at::kFloat, 4, color.size(-1), 4);
  const Tensor grad_color = at::empty_like(color), grad_pos = at::empty_like(pos);
  rasterizer::AntialiasForward forward = AntialiasArgs(color, rast, pos, tri, work_buffer);
  std::vector<uint8_t> crossings(rast.numel() / 4);
  forward.out = Data(grad_color);  // overwritten below
  forward.crossings = crossings.data();
  COMPUTE(antialias_forward, forward);
  const rasterizer::AntialiasBackward args = {forward, crossings.data(), Data(dy), 1.0f,
                                              Data(grad_color), Data(grad_pos)};
  COMPUTE(antialias_backward, args);
  return {grad_color, grad_pos};
}
