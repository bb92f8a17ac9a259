// The C++ functions of an installed nvdiffrast 0.4, found by name in its compiled extension.
//
// Nothing of nvdiffrast is compiled here. A mangled name holds the types of a function's arguments,
// so a version of it that takes others is not found, rather than called wrongly.

#ifndef RASTERIZER_FFI_NVDIFFRAST_FUNCTIONS_H_
#define RASTERIZER_FFI_NVDIFFRAST_FUNCTIONS_H_

#include <ATen/core/Tensor.h>
#include <cxxabi.h>
#include <dlfcn.h>

#include <cstdlib>
#include <string>
#include <tuple>
#include <vector>

namespace rasterizer {
namespace {

using at::Tensor;
using Tensors = std::vector<Tensor>;
using Pair = std::tuple<Tensor, Tensor>;

// What nvdiffrast's functions hand to each other; the fields are laid out as theirs are.
struct TopologyTable {
  Tensor edges;
};
struct MipLevels {  // empty here: all levels are given one by one
  Tensor levels;
  int max_level = 0;
  std::vector<int64_t> texture_shape;
  bool cube = false;
};

struct Functions {
  // A rasteriser's buffers on a device; constructed and destroyed in storage of ours.
  void (*construct_state)(void* state, int device);
  void (*destroy_state)(void* state);

  // `ranges` are on the host. Layers above 0 are behind those of the call before with this state.
  Pair (*rasterize)(void* state, Tensor pos, Tensor tri, std::tuple<int, int> resolution,
                    Tensor ranges, int layer);
  Tensor (*rasterize_grad)(Tensor pos, Tensor tri, Tensor rast, Tensor dy);
  Tensor (*rasterize_grad_db)(Tensor pos, Tensor tri, Tensor rast, Tensor dy, Tensor ddb);

  // Returns the attributes, and an empty tensor.
  Pair (*interpolate)(Tensor attr, Tensor rast, Tensor tri);
  Pair (*interpolate_da)(Tensor attr, Tensor rast, Tensor tri, Tensor rast_db, bool all_channels,
                         std::vector<int>& channels);
  // Returns the gradients by attr, rast and, with derivatives, rast_db.
  Pair (*interpolate_grad)(Tensor attr, Tensor rast, Tensor tri, Tensor dy);
  std::tuple<Tensor, Tensor, Tensor> (*interpolate_grad_da)(
      Tensor attr, Tensor rast, Tensor tri, Tensor dy, Tensor rast_db, Tensor dda,
      bool all_channels, std::vector<int>& channels);

  // `mip` are the levels below `tex`. The enumerations are those of shared/arguments.h.
  Tensor (*texture)(Tensor tex, Tensor uv, int filter, int boundary);
  Tensor (*texture_mip)(Tensor tex, Tensor uv, Tensor uv_da, Tensor bias, MipLevels built,
                        Tensors mip, int filter, int boundary);
  // Return the gradients by tex, uv, uv_da, bias and mip, as far as they have them.
  Tensor (*texture_grad_nearest)(Tensor tex, Tensor uv, Tensor dy, int filter, int boundary);
  Pair (*texture_grad_linear)(Tensor tex, Tensor uv, Tensor dy, int filter, int boundary);
  std::tuple<Tensor, Tensor, Tensors> (*texture_grad_mip_nearest)(
      Tensor tex, Tensor uv, Tensor dy, Tensor uv_da, Tensor bias, MipLevels built, Tensors mip,
      int filter, int boundary);
  std::tuple<Tensor, Tensor, Tensor, Tensor, Tensors> (*texture_grad_mip_linear)(
      Tensor tex, Tensor uv, Tensor dy, Tensor uv_da, Tensor bias, MipLevels built, Tensors mip,
      int filter, int boundary);

  TopologyTable (*topology)(Tensor tri);
  // Returns the image, and what the gradient needs.
  Pair (*antialias)(Tensor color, Tensor rast, Tensor pos, Tensor tri, TopologyTable topology);
  // Returns the gradients by color and pos.
  Pair (*antialias_grad)(Tensor color, Tensor rast, Tensor pos, Tensor tri, Tensor dy, Tensor work);
};

// Finds the functions in the shared library at `path`, which stays loaded. Returns why it could
// not, in one line, or nothing.
inline std::string FindFunctions(const char* path, Functions& functions) {
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return std::string("cannot load it: ") + dlerror();
  std::string missing;
  const auto find = [&](auto*& function, const char* symbol) {
    void* address = dlsym(library, symbol);
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(address);
    if (address != nullptr || !missing.empty()) return;
    char* readable = abi::__cxa_demangle(symbol, nullptr, nullptr, nullptr);
    missing = std::string("it has no function ") + (readable != nullptr ? readable : symbol);
    std::free(readable);
  };
  Functions& f = functions;
  find(f.construct_state, "_ZN23RasterizeCRStateWrapperC1Ei");
  find(f.destroy_state, "_ZN23RasterizeCRStateWrapperD1Ev");
  find(f.rasterize,
       "_Z18rasterize_fwd_cudaR23RasterizeCRStateWrapperN2at6TensorES2_St5tupleIJiiEES2_i");
  find(f.rasterize_grad, "_Z14rasterize_gradN2at6TensorES0_S0_S0_");
  find(f.rasterize_grad_db, "_Z17rasterize_grad_dbN2at6TensorES0_S0_S0_S0_");
  find(f.interpolate, "_Z15interpolate_fwdN2at6TensorES0_S0_");
  find(f.interpolate_da, "_Z18interpolate_fwd_daN2at6TensorES0_S0_S0_bRSt6vectorIiSaIiEE");
  find(f.interpolate_grad, "_Z16interpolate_gradN2at6TensorES0_S0_S0_");
  find(f.interpolate_grad_da,
       "_Z19interpolate_grad_daN2at6TensorES0_S0_S0_S0_S0_bRSt6vectorIiSaIiEE");
  find(f.texture, "_Z11texture_fwdN2at6TensorES0_ii");
  find(f.texture_mip,
       "_Z15texture_fwd_mipN2at6TensorES0_S0_S0_17TextureMipWrapperSt6vectorIS0_SaIS0_EEii");
  find(f.texture_grad_nearest, "_Z20texture_grad_nearestN2at6TensorES0_S0_ii");
  find(f.texture_grad_linear, "_Z19texture_grad_linearN2at6TensorES0_S0_ii");
  find(f.texture_grad_mip_nearest,
       "_Z34texture_grad_linear_mipmap_nearestN2at6TensorES0_S0_S0_S0_17TextureMipWrapper"
       "St6vectorIS0_SaIS0_EEii");
  find(f.texture_grad_mip_linear,
       "_Z33texture_grad_linear_mipmap_linearN2at6TensorES0_S0_S0_S0_17TextureMipWrapper"
       "St6vectorIS0_SaIS0_EEii");
  find(f.topology, "_Z33antialias_construct_topology_hashN2at6TensorE");
  find(f.antialias, "_Z13antialias_fwdN2at6TensorES0_S0_S0_19TopologyHashWrapper");
  find(f.antialias_grad, "_Z14antialias_gradN2at6TensorES0_S0_S0_S0_S0_");
  return missing;
}

}  // namespace
}  // namespace rasterizer

#endif  // RASTERIZER_FFI_NVDIFFRAST_FUNCTIONS_H_
