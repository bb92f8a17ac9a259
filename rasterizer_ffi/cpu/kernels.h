// The compute functions of the CPU backend; most of their arguments are in
// shared/arguments.h.
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

// Antialiasing of an image whose pixels consist of samples, and the mean over those of each pixel.
// The samples are not stored: they have the colour of their pixel where they show a triangle, else
// that of the background. No other backend has this operation.
struct Pooling {
  int64_t samples;                // S: along each side of a pixel
  const float* background;        // [1 or B, 1 or H/S, 1 or W/S, C]
  int64_t background_strides[3];  // from image to image, row to row, pixel to pixel; 0 if shared
  // Whose colours the rows of color are, counted over all images; one that is no pixel, or has a row
  // already, is left out.
  const int32_t* pixel;           // [N]
  int64_t num_rows;               // N; negative where color is an image, and all pixels have a row
  int32_t* covered;               // [B,H/S,W/S]: samples of a pixel that show a triangle. The
                                  // forward pass counts them.
};

struct AntialiasPooledForward {
  // H and W count samples, in rast and crossings too. out is [B,H/S,W/S,C], color too or [N,C].
  AntialiasForward fine;
  Pooling pooling;
};

struct AntialiasPooledBackward {
  AntialiasBackward fine;  // dy is [B,H/S,W/S,C], grad_color like color; none of the background
  Pooling pooling;
};

// Each function returns false when memory for its scratch could not be had; the outputs are then
// undefined.
struct Kernels {
  bool (*rasterize_forward)(const RasterizeForward&, const Parallel&);
  bool (*rasterize_backward)(const RasterizeBackward&, const Parallel&);
  bool (*interpolate_forward)(const InterpolateForward&, const Parallel&);
  bool (*interpolate_backward)(const InterpolateBackward&, const Parallel&);
  bool (*antialias_forward)(const AntialiasForward&, const Parallel&);
  bool (*antialias_backward)(const AntialiasBackward&, const Parallel&);
  bool (*antialias_pooled_forward)(const AntialiasPooledForward&, const Parallel&);
  bool (*antialias_pooled_backward)(const AntialiasPooledBackward&, const Parallel&);
  bool (*texture_forward)(const TextureForward&, const Parallel&);
  bool (*texture_backward)(const TextureBackward&, const Parallel&);
};

// The kernels for the widest instruction set that this processor has, or for the one named in the
// environment variable RASTERIZER_FFI_ISA (baseline, v3, v4) if the processor has that.
const Kernels& BestKernels();

bool BuildTopology(const Topology& topology);

}  // namespace rasterizer

#endif  // RASTERIZER_FFI_CPU_KERNELS_H_
