// The compute functions of the CPU backend; their arguments are in shared/arguments.h.
//
// Every kernel is compiled once per instruction set (see CMakeLists.txt) and chosen at run time
// through a table of function pointers. No build contracts a*b+c into a fused operation, so that
// all of them return the same bits.

#ifndef RASTERIZER_FFI_CPU_KERNELS_H_
#define RASTERIZER_FFI_CPU_KERNELS_H_

#include <cstdint>

#include "../shared/arguments.h"
#include "parallel.h"

namespace rasterizer {

// Each function returns false when memory for its scratch could not be had; the outputs are then
// undefined.
struct Kernels {
  bool (*rasterize_forward)(const RasterizeForward&, const Parallel&);
  bool (*rasterize_backward)(const RasterizeBackward&, const Parallel&);
  bool (*interpolate_forward)(const InterpolateForward&, const Parallel&);
  bool (*interpolate_backward)(const InterpolateBackward&, const Parallel&);
  bool (*antialias_forward)(const AntialiasForward&, const Parallel&);
  bool (*antialias_backward)(const AntialiasBackward&, const Parallel&);
  bool (*texture_forward)(const TextureForward&, const Parallel&);
  bool (*texture_backward)(const TextureBackward&, const Parallel&);
};

// The kernels for the widest instruction set that this processor has, or for the one named in the
// environment variable RASTERIZER_FFI_ISA (baseline, v3, v4) if the processor has that.
const Kernels& BestKernels();

bool BuildTopology(const Topology& topology);

}  // namespace rasterizer

#endif  // RASTERIZER_FFI_CPU_KERNELS_H_
