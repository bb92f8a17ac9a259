// The XLA FFI targets of the CPU backend: its kernels on XLA's threads.

#include <atomic>
#include <cstdint>

#ifdef __linux__
#include <sys/mman.h>
#endif

#include "../shared/xla_types.h"
#include "kernels.h"
#include "xla_parallel.h"

namespace rasterizer {
namespace {

std::atomic<int> max_threads{0};  // 0: as many as XLA has

class Backend {
 public:
  using Context = ffi::ThreadPool;

  explicit Backend(Context pool) : parallel_(pool, max_threads.load()) {}

  // XLA hands out results as fresh memory, and the kernel of the system then gives it 4 KiB at a time as
  // it is first written, which can cost more than computing them. This asks for huge pages.
  static float* Fresh(ffi::Result<Floats>& result) {
    float* data = result->typed_data();
#ifdef __linux__
    constexpr uintptr_t kHugePage = 2 << 20;
    const uintptr_t begin = reinterpret_cast<uintptr_t>(data);
    const uintptr_t first = (begin + kHugePage - 1) / kHugePage * kHugePage;
    const uintptr_t end = (begin + result->size_bytes()) / kHugePage * kHugePage;
    if (first < end) madvise(reinterpret_cast<void*>(first), end - first, MADV_HUGEPAGE);
#endif
    return data;
  }

  ffi::Error Run(const char* op, const RasterizeForward& args) {
    return Finish(op, BestKernels().rasterize_forward(args, parallel_));
  }
  ffi::Error Run(const char* op, const RasterizeBackward& args) {
    return Finish(op, BestKernels().rasterize_backward(args, parallel_));
  }
  ffi::Error Run(const char* op, const InterpolateForward& args) {
    return Finish(op, BestKernels().interpolate_forward(args, parallel_));
  }
  ffi::Error Run(const char* op, const InterpolateBackward& args) {
    return Finish(op, BestKernels().interpolate_backward(args, parallel_));
  }
  ffi::Error Run(const char* op, const AntialiasForward& args) {
    return Finish(op, BestKernels().antialias_forward(args, parallel_));
  }
  ffi::Error Run(const char* op, const AntialiasBackward& args) {
    return Finish(op, BestKernels().antialias_backward(args, parallel_));
  }
  ffi::Error Run(const char* op, const AntialiasPooledForward& args) {
    return Finish(op, BestKernels().antialias_pooled_forward(args, parallel_));
  }
  ffi::Error Run(const char* op, const AntialiasPooledBackward& args) {
    return Finish(op, BestKernels().antialias_pooled_backward(args, parallel_));
  }
  ffi::Error Run(const char* op, const TextureForward& args) {
    return Finish(op, BestKernels().texture_forward(args, parallel_));
  }
  ffi::Error Run(const char* op, const TextureBackward& args) {
    return Finish(op, BestKernels().texture_backward(args, parallel_));
  }
  ffi::Error Run(const char* op, const Topology& args) { return Finish(op, BuildTopology(args)); }

 private:
  static ffi::Error Finish(const char* op, bool had_memory) {
    return had_memory ? ffi::Error::Success() : OutOfMemory(op);
  }

  XlaParallel parallel_;
};

}  // namespace
}  // namespace rasterizer

#include "../shared/handlers.h"  // of the Backend above
#include "pooled_handlers.h"

namespace rasterizer {
namespace {

// In place of every operation, on the platform where this backend cannot compute.
ffi::Error Refuse(ffi::RemainingArgs, ffi::RemainingRets, ffi::Dictionary) {
  return ffi::Error(ffi::ErrorCode::kUnimplemented,
                    "rasterizer_ffi: backend 'cpu' expected arrays on a CPU, got arrays on a GPU; "
                    "build the library of backend 'cuda' and choose it, as "
                    "rasterizer_ffi/README.md says, or put the arrays on a CPU");
}

}  // namespace
}  // namespace rasterizer

#pragma GCC visibility push(default)

XLA_FFI_DEFINE_HANDLER_SYMBOL(RasterizerRefuse, rasterizer::Refuse,
                              ffi::Ffi::Bind()
                                  .RemainingArgs()
                                  .RemainingRets()
                                  .Attrs<ffi::Dictionary>());

// Limits the threads of every op from now on; 0 takes the limit away.
extern "C" void RasterizerSetMaxThreads(int threads) {
  rasterizer::max_threads = threads;
}

#pragma GCC visibility pop
