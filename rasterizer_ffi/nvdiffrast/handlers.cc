// The nvdiffrast backend on CUDA: PyTorch computes on XLA's device and stream.

#include <ATen/Context.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <cstdint>
#include <optional>

#include "../shared/xla_types.h"

namespace rasterizer {
namespace {

class Place {
 public:
  struct Context {
    cudaStream_t stream;
    int32_t device;
  };

  explicit Place(Context context) : guard_(StreamOf(context)) {}

  at::Device device() const { return guard_.current_device(); }
  const void* stream() const { return guard_.current_stream().stream(); }

 private:
  static c10::cuda::CUDAStream StreamOf(const Context& context) {
    at::globalContext().lazyInitDevice(at::kCUDA);
    return c10::cuda::getStreamFromExternal(context.stream,
                                            static_cast<c10::DeviceIndex>(context.device));
  }

  c10::cuda::CUDAStreamGuard guard_;  // restores the caller's device and PyTorch's stream
};

}  // namespace
}  // namespace rasterizer

// The stream and the device in one, so that all backends' handlers have one context.
template <>
struct xla::ffi::CtxDecoding<rasterizer::Place::Context> {
  using Type = rasterizer::Place::Context;
  static std::optional<Type> Decode(const XLA_FFI_Api* api, XLA_FFI_ExecutionContext* ctx,
                                    DiagnosticEngine& diagnostic) {
    auto stream = CtxDecoding<PlatformStream<cudaStream_t>>::Decode(api, ctx, diagnostic);
    auto device = CtxDecoding<DeviceOrdinal>::Decode(api, ctx, diagnostic);
    if (!stream.has_value() || !device.has_value()) return std::nullopt;
    return Type{*stream, *device};
  }
};

#include "backend.h"  // of the Place above
