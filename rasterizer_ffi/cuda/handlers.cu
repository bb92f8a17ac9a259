// The XLA FFI targets of the CUDA backend: its loops as kernels on XLA's stream, their scratch from
// XLA's allocator. Nothing here waits for the device.

#include <cuda_runtime.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../shared/xla_types.h"
#include "antialias.h"
#include "interpolate.h"
#include "rasterize.h"
#include "rasterize_grad.h"
#include "texture.h"
#include "topology.h"

namespace rasterizer {
namespace {

constexpr int kThreads = 256;      // of a block
constexpr size_t kAlignment = 16;  // of scratch; XLA grants no more

template <class Functor>
__global__ void __launch_bounds__(kThreads) RunFunctor(Functor functor, int64_t size) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < size) functor(i);
}

// The Device of device.h.
class CudaDevice {
 public:
  CudaDevice(cudaStream_t stream, ffi::ScratchAllocator scratch)
      : stream_(stream), scratch_(std::move(scratch)) {}

  // Begins an operation: it may take the scratch of the one before, which the stream has done by
  // then.
  void Begin() { used_ = 0; }

  // The first error of CUDA so far; after it nothing is launched.
  cudaError_t error() const { return error_; }

  template <class T>
  T* Allocate(int64_t size) {
    const size_t num_bytes = sizeof(T) * static_cast<size_t>(std::max(size, int64_t{1}));
    if (used_ == blocks_.size()) blocks_.push_back({nullptr, 0});
    Block& block = blocks_[used_++];
    if (block.num_bytes < num_bytes) {
      const std::optional<void*> data = scratch_.Allocate(num_bytes, kAlignment);
      if (!data.has_value()) return nullptr;
      block = {*data, num_bytes};
    }
    return static_cast<T*>(block.data);
  }

  template <class T>
  const T* Upload(const T* values, int64_t size) {
    T* copy = Allocate<T>(size);
    // CUDA copies pageable memory to its own before it returns, so `values` may go away then.
    if (copy != nullptr && size > 0 && error_ == cudaSuccess) {
      error_ = cudaMemcpyAsync(copy, values, sizeof(T) * static_cast<size_t>(size),
                               cudaMemcpyHostToDevice, stream_);
    }
    return copy;
  }

  void Fill(void* data, int byte, int64_t num_bytes) {
    if (num_bytes == 0 || error_ != cudaSuccess) return;
    error_ = cudaMemsetAsync(data, byte, static_cast<size_t>(num_bytes), stream_);
  }

  template <class Functor>
  void ForEach(int64_t size, const Functor& functor) {
    if (size == 0 || error_ != cudaSuccess) return;
    const int64_t blocks = (size + kThreads - 1) / kThreads;
    RunFunctor<<<static_cast<unsigned>(blocks), kThreads, 0, stream_>>>(functor, size);
    error_ = cudaGetLastError();
  }

 private:
  struct Block {
    void* data;
    size_t num_bytes;
  };

  cudaStream_t stream_;
  ffi::ScratchAllocator scratch_;
  std::vector<Block> blocks_;
  size_t used_ = 0;
  cudaError_t error_ = cudaSuccess;
};

class Backend {
 public:
  struct Context {
    cudaStream_t stream;
    ffi::ScratchAllocator scratch;
  };

  explicit Backend(Context context) : device_(context.stream, std::move(context.scratch)) {}

  static float* Fresh(ffi::Result<Floats>& result) { return result->typed_data(); }

  template <class Args>
  ffi::Error Run(const char* op, const Args& args) {
    device_.Begin();
    if (!Compute(args)) return OutOfMemory(op);
    if (device_.error() == cudaSuccess) return ffi::Error::Success();
    return ffi::Error::Internal(std::string(op) + ": CUDA reports " +
                                cudaGetErrorName(device_.error()) + ": " +
                                cudaGetErrorString(device_.error()));
  }

 private:
  bool Compute(const RasterizeForward& args) {
    return RASTERIZER_ISA::ForwardRasterize(args, device_);
  }
  bool Compute(const RasterizeBackward& args) {
    return RASTERIZER_ISA::BackwardRasterize(args, device_);
  }
  bool Compute(const InterpolateForward& args) {
    return RASTERIZER_ISA::ForwardInterpolate(args, device_);
  }
  bool Compute(const InterpolateBackward& args) {
    return RASTERIZER_ISA::BackwardInterpolate(args, device_);
  }
  bool Compute(const AntialiasForward& args) {
    return RASTERIZER_ISA::ForwardAntialias(args, device_);
  }
  bool Compute(const AntialiasBackward& args) {
    return RASTERIZER_ISA::BackwardAntialias(args, device_);
  }
  bool Compute(const TextureForward& args) {
    return RASTERIZER_ISA::ForwardTexture(args, device_);
  }
  bool Compute(const TextureBackward& args) {
    return RASTERIZER_ISA::BackwardTexture(args, device_);
  }
  bool Compute(const Topology& args) { return RASTERIZER_ISA::BuildTopology(args, device_); }

  CudaDevice device_;
};

}  // namespace
}  // namespace rasterizer

// The stream and the allocator in one, so that all backends' handlers have one context.
template <>
struct xla::ffi::CtxDecoding<rasterizer::Backend::Context> {
  using Type = rasterizer::Backend::Context;
  static std::optional<Type> Decode(const XLA_FFI_Api* api, XLA_FFI_ExecutionContext* ctx,
                                    DiagnosticEngine& diagnostic) {
    auto stream = CtxDecoding<PlatformStream<cudaStream_t>>::Decode(api, ctx, diagnostic);
    auto scratch = CtxDecoding<ScratchAllocator>::Decode(api, ctx, diagnostic);
    if (!stream.has_value() || !scratch.has_value()) return std::nullopt;
    return Type{*stream, *std::move(scratch)};
  }
};

#include "../shared/handlers.h"  // of the Backend above
