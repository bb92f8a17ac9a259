// Chooses among the builds of the kernels for the instruction set of this processor.

#include <cstdlib>
#include <cstring>

#include "kernels.h"

namespace rasterizer {

#define RASTERIZER_DECLARE(isa)                                          \
  namespace isa {                                                        \
  bool ForwardRasterize(const RasterizeForward&, const Parallel&);       \
  bool BackwardRasterize(const RasterizeBackward&, const Parallel&);     \
  bool ForwardInterpolate(const InterpolateForward&, const Parallel&);   \
  bool BackwardInterpolate(const InterpolateBackward&, const Parallel&); \
  bool ForwardAntialias(const AntialiasForward&, const Parallel&);       \
  bool BackwardAntialias(const AntialiasBackward&, const Parallel&);     \
  bool ForwardTexture(const TextureForward&, const Parallel&);           \
  bool BackwardTexture(const TextureBackward&, const Parallel&);         \
  const Kernels kernels = {ForwardRasterize,   BackwardRasterize,        \
                           ForwardInterpolate, BackwardInterpolate,      \
                           ForwardAntialias,   BackwardAntialias,        \
                           ForwardTexture,     BackwardTexture};         \
  }

RASTERIZER_DECLARE(baseline)
#ifdef RASTERIZER_X86_64
RASTERIZER_DECLARE(v3)
RASTERIZER_DECLARE(v4)
#endif

namespace {

const Kernels& Choose() {
#ifdef RASTERIZER_X86_64
  const char* wanted = std::getenv("RASTERIZER_FFI_ISA");
  const auto allowed = [&](const char* name) {
    return wanted == nullptr || std::strcmp(wanted, name) == 0;
  };
  __builtin_cpu_init();
  const bool has_v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                      __builtin_cpu_supports("bmi2");
  const bool has_v4 = has_v3 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (has_v4 && allowed("v4")) return v4::kernels;
  if (has_v3 && (allowed("v3") || (wanted != nullptr && std::strcmp(wanted, "v4") == 0))) {
    return v3::kernels;
  }
#endif
  return baseline::kernels;
}

}  // namespace

const Kernels& BestKernels() {
  static const Kernels& kernels = Choose();
  return kernels;
}

}  // namespace rasterizer
