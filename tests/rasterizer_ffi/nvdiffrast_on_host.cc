// The nvdiffrast backend with PyTorch computing on the host: everything of it but the stream and
// the device of nvdiffrast/handlers.cc.

#include <optional>

#include "../../rasterizer_ffi/shared/xla_types.h"

#include <ATen/core/Tensor.h>

namespace rasterizer {
namespace {

class Place {
 public:
  struct Context {};

  explicit Place(Context) {}

  at::Device device() const { return at::Device(at::kCPU); }
  const void* stream() const { return nullptr; }
};

}  // namespace
}  // namespace rasterizer

template <>
struct xla::ffi::CtxDecoding<rasterizer::Place::Context> {
  using Type = rasterizer::Place::Context;
  static std::optional<Type> Decode(const XLA_FFI_Api*, XLA_FFI_ExecutionContext*,
                                    DiagnosticEngine&) {
    return Type{};
  }
};

#include "../../rasterizer_ffi/nvdiffrast/backend.h"
