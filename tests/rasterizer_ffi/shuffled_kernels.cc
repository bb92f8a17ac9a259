// The operations of the CUDA backend on the host: every index of every loop, one after the other,
// in an order that a seed shuffles. Linked with the handlers of the CPU backend in place of its
// kernels, it is a library that the tests of that backend run on; linked with sanitize_kernels.cc,
// the sanitizers watch it.

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "../../rasterizer_ffi/cpu/kernels.h"
#include "../../rasterizer_ffi/cuda/antialias.h"
#include "../../rasterizer_ffi/cuda/interpolate.h"
#include "../../rasterizer_ffi/cuda/rasterize.h"
#include "../../rasterizer_ffi/cuda/rasterize_grad.h"
#include "../../rasterizer_ffi/cuda/texture.h"
#include "../../rasterizer_ffi/cuda/topology.h"

namespace {

std::atomic<int> seed{0};

class ShuffledDevice {
 public:
  ShuffledDevice() : random_(static_cast<unsigned>(seed.load())) {}

  template <class T>
  T* Allocate(int64_t size) {
    const size_t num_bytes = sizeof(T) * static_cast<size_t>(std::max(size, int64_t{1}));
    blocks_.emplace_back(new char[num_bytes]);
    // What nobody has written yet must not look like a result.
    std::memset(blocks_.back().get(), 0x5a, num_bytes);
    return reinterpret_cast<T*>(blocks_.back().get());
  }

  template <class T>
  const T* Upload(const T* values, int64_t size) {
    T* copy = Allocate<T>(size);
    std::copy(values, values + size, copy);
    return copy;
  }

  void Fill(void* data, int byte, int64_t num_bytes) {
    if (num_bytes > 0) std::memset(data, byte, static_cast<size_t>(num_bytes));
  }

  template <class Functor>
  void ForEach(int64_t size, const Functor& functor) {
    std::vector<int64_t> order(static_cast<size_t>(size));
    std::iota(order.begin(), order.end(), int64_t{0});
    std::shuffle(order.begin(), order.end(), random_);
    for (int64_t i : order) functor(i);
  }

 private:
  std::mt19937 random_;
  std::vector<std::unique_ptr<char[]>> blocks_;
};

// An entry of the table of kernels from an operation on a device.
#define SHUFFLED(Operation, Arguments)                                   \
  [](const rasterizer::Arguments& args, const rasterizer::Parallel&) {   \
    ShuffledDevice device;                                               \
    return rasterizer::RASTERIZER_ISA::Operation(args, device);          \
  }

const rasterizer::Kernels kernels = {
    SHUFFLED(ForwardRasterize, RasterizeForward),
    SHUFFLED(BackwardRasterize, RasterizeBackward),
    SHUFFLED(ForwardInterpolate, InterpolateForward),
    SHUFFLED(BackwardInterpolate, InterpolateBackward),
    SHUFFLED(ForwardAntialias, AntialiasForward),
    SHUFFLED(BackwardAntialias, AntialiasBackward),
    nullptr,  // antialias_pooled: the CUDA backend has none
    nullptr,
    SHUFFLED(ForwardTexture, TextureForward),
    SHUFFLED(BackwardTexture, TextureBackward),
};

}  // namespace

namespace rasterizer {

const Kernels& BestKernels() { return kernels; }

bool BuildTopology(const Topology& topology) {
  ShuffledDevice device;
  return RASTERIZER_ISA::BuildTopology(topology, device);
}

}  // namespace rasterizer

// Chooses the orders of all loops from now on.
extern "C" __attribute__((visibility("default"))) void RasterizerSetSeed(int value) {
  seed = value;
}
