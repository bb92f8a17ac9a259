// Chooses among the builds of the kernels for the instruction set of this processor.

#include "kernels.h"
#include "processor.h"

namespace rasterizer {

#define RASTERIZER_DECLARE(isa)                                                  \
  namespace isa {                                                                \
  bool ForwardRasterize(const RasterizeForward&, const Parallel&);               \
  bool BackwardRasterize(const RasterizeBackward&, const Parallel&);             \
  bool ForwardInterpolate(const InterpolateForward&, const Parallel&);           \
  bool BackwardInterpolate(const InterpolateBackward&, const Parallel&);         \
  bool ForwardAntialias(const AntialiasForward&, const Parallel&);               \
  bool BackwardAntialias(const AntialiasBackward&, const Parallel&);             \
  bool ForwardAntialiasPooled(const AntialiasPooledForward&, const Parallel&);   \
  bool BackwardAntialiasPooled(const AntialiasPooledBackward&, const Parallel&); \
  bool ForwardTexture(const TextureForward&, const Parallel&);                   \
  bool BackwardTexture(const TextureBackward&, const Parallel&);                 \
  const Kernels kernels = {ForwardRasterize,       BackwardRasterize,            \
                           ForwardInterpolate,     BackwardInterpolate,          \
                           ForwardAntialias,       BackwardAntialias,            \
                           ForwardAntialiasPooled, BackwardAntialiasPooled,      \
                           ForwardTexture,         BackwardTexture};             \
  }

RASTERIZER_DECLARE(baseline)
#ifdef RASTERIZER_X86_64
RASTERIZER_DECLARE(v3)
RASTERIZER_DECLARE(v4)
#endif

namespace {

const Kernels& Choose() {
  switch (ChooseIsa("RASTERIZER_FFI_ISA")) {
#ifdef RASTERIZER_X86_64
    case Isa::kV4: return v4::kernels;
    case Isa::kV3: return v3::kernels;
#endif
    default: return baseline::kernels;
  }
}

}  // namespace

const Kernels& BestKernels() {
  static const Kernels& kernels = Choose();
  return kernels;
}

}  // namespace rasterizer
