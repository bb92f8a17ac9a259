// Small functions for every backend. The headers of this folder are compiled for each instruction
// set of the CPU and for CUDA: what they define has internal linkage in RASTERIZER_ISA (see
// cpu/isa.h), and the mathematics are the compiler's built-in functions, which nvcc knows too.

#ifndef RASTERIZER_FFI_SHARED_PORTABLE_H_
#define RASTERIZER_FFI_SHARED_PORTABLE_H_

#include "arguments.h"

#ifndef RASTERIZER_ISA
#define RASTERIZER_ISA baseline
#endif

namespace rasterizer {
namespace RASTERIZER_ISA {
namespace {

template <class T>
RASTERIZER_HD inline T Min(T a, T b) {
  return a < b ? a : b;
}

template <class T>
RASTERIZER_HD inline T Max(T a, T b) {
  return a > b ? a : b;
}

// How shared code adds to a sum when nobody else does; cuda/device.h has the other way.
struct PlainAdd {
  RASTERIZER_HD void operator()(float* sum, float value) const { *sum += value; }
};

// The triangle index of a pixel of rast, or -1. The float is checked before the conversion: it
// comes from outside. There are at most 2^24 triangles, so that floats hold their number.
RASTERIZER_HD inline int64_t TriangleOfPixel(const float* rast_pixel, int64_t num_triangles) {
  const float id = rast_pixel[3];
  if (!(id >= 1.0f && id <= static_cast<float>(num_triangles))) return -1;
  return static_cast<int32_t>(id) - 1;
}

// Whether all three indices of a triangle name one of num_vertices vertices.
RASTERIZER_HD inline bool IndicesValid(const int32_t* tri, int64_t num_vertices) {
  return static_cast<uint32_t>(tri[0]) < static_cast<uint64_t>(num_vertices) &&
         static_cast<uint32_t>(tri[1]) < static_cast<uint64_t>(num_vertices) &&
         static_cast<uint32_t>(tri[2]) < static_cast<uint64_t>(num_vertices);
}

}  // namespace
}  // namespace RASTERIZER_ISA
}  // namespace rasterizer

#endif  // RASTERIZER_FFI_SHARED_PORTABLE_H_
