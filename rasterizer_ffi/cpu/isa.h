// What every kernel file needs: the namespace of its instruction set, and its kernels.
//
// Kernel files are compiled several times. Whatever they define must therefore have internal linkage
// or live in RASTERIZER_ISA, and they use no templates of the standard library: the linker keeps one
// copy of such a template for all instruction sets, and it might be one that the processor lacks.

#ifndef RASTERIZER_FFI_CPU_ISA_H_
#define RASTERIZER_FFI_CPU_ISA_H_

#include <cstdint>
#include <cstring>

#include "../shared/portable.h"
#include "kernels.h"
#include "work.h"

namespace rasterizer {
namespace RASTERIZER_ISA {

bool ForwardRasterize(const RasterizeForward& args, const Parallel& parallel);
bool BackwardRasterize(const RasterizeBackward& args, const Parallel& parallel);
bool ForwardInterpolate(const InterpolateForward& args, const Parallel& parallel);
bool BackwardInterpolate(const InterpolateBackward& args, const Parallel& parallel);
bool ForwardAntialias(const AntialiasForward& args, const Parallel& parallel);
bool BackwardAntialias(const AntialiasBackward& args, const Parallel& parallel);
bool ForwardTexture(const TextureForward& args, const Parallel& parallel);
bool BackwardTexture(const TextureBackward& args, const Parallel& parallel);

}  // namespace RASTERIZER_ISA
}  // namespace rasterizer

#endif  // RASTERIZER_FFI_CPU_ISA_H_
