// The XLA FFI targets of the nvdiffrast backend, and what Python calls before it registers them.
//
// The one source file of a library that includes this has defined, in namespace rasterizer, a
//   class Place {  // where PyTorch computes for as long as it lives
//    public:
//     using Context = ...;  // what XLA hands to a handler: Ctx<Context>()
//     explicit Place(Context context);
//     at::Device device() const;
//     const void* stream() const;
//   };

#ifndef RASTERIZER_FFI_NVDIFFRAST_BACKEND_H_
#define RASTERIZER_FFI_NVDIFFRAST_BACKEND_H_

#include <c10/util/Exception.h>
#include <torch/headeronly/version.h>

#include <string>
#include <utility>

#include "../shared/xla_types.h"
#include "calls.h"

namespace rasterizer {
namespace {

Functions functions;  // found before any target is registered
States states;

class Backend {
 public:
  using Context = Place::Context;

  explicit Backend(Context context)
      : place_(std::move(context)),
        calls_(functions, states, place_.device(), place_.stream()) {}

  static float* Fresh(ffi::Result<Floats>& result) { return result->typed_data(); }

  template <class Args>
  ffi::Error Run(const char* op, const Args& args) {
    try {
      calls_.Run(args);
      return ffi::Error::Success();
    } catch (const c10::OutOfMemoryError& e) {
      return ffi::Error(ffi::ErrorCode::kResourceExhausted,
                        std::string(op) + ": " + e.what_without_backtrace());
    } catch (const c10::Error& e) {
      return ffi::Error::Internal(std::string(op) + ": " + e.what_without_backtrace());
    }
  }

 private:
  Place place_;
  Calls calls_;
};

}  // namespace
}  // namespace rasterizer

#include "../shared/handlers.h"  // of the Backend above

#pragma GCC visibility push(default)  // what Python looks up by name

// The version of PyTorch that this was compiled against.
extern "C" const char* RasterizerTorchVersion() { return TORCH_VERSION; }

// Binds nvdiffrast's functions in the extension at `path`; returns why it could not, or "".
extern "C" const char* RasterizerBindNvdiffrast(const char* path) {
  static std::string reason;
  reason = rasterizer::FindFunctions(path, rasterizer::functions);
  return reason.c_str();
}

// Frees nvdiffrast's buffers; to be called while there is still a device to free them on.
extern "C" void RasterizerReleaseNvdiffrast() { rasterizer::states.Release(); }

#pragma GCC visibility pop

#endif  // RASTERIZER_FFI_NVDIFFRAST_BACKEND_H_
