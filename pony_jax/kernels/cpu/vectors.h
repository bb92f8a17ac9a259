// Points and 3 x 4 matrices as vectors of the compiler.
//
// Kernel files are compiled several times; see rasterizer_ffi/cpu/isa.h for what that asks of them.

#ifndef PONY_JAX_KERNELS_CPU_VECTORS_H_
#define PONY_JAX_KERNELS_CPU_VECTORS_H_

#include <cstdint>
#include <cstring>

#include "rasterizer_ffi/cpu/work.h"
#include "geometry.h"

namespace pony {
namespace RASTERIZER_ISA {
namespace {

using rasterizer::RASTERIZER_ISA::ParallelFor;
using rasterizer::RASTERIZER_ISA::PartBegin;
using rasterizer::RASTERIZER_ISA::Scratch;

typedef float Vec4 __attribute__((vector_size(16)));
typedef float Vec16 __attribute__((vector_size(64)));

// Squares of lengths up to which a vector has no direction, as in ops/numerics.py.
constexpr float kTiny = 1e-20f;

inline int64_t Min(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t Max(int64_t a, int64_t b) { return a > b ? a : b; }

// Into how many tasks points are cut: few points each, so that all threads get some, however small
// the batch.
inline int64_t PartsOf(int64_t points) {
  constexpr int64_t kTaskPoints = 1024;
  return (points + kTaskPoints - 1) / kTaskPoints;
}

// Rows of `columns` of the points of all images: those from `used` on, which are padding, become 0.
inline void ClearPadding(int64_t images, int64_t points, int64_t used, int64_t columns,
                         float* rows) {
  for (int64_t image = 0; image < images; ++image) {
    std::memset(rows + columns * (image * points + used), 0,
                static_cast<size_t>(columns * (points - used)) * sizeof(float));
  }
}

inline Vec4 Load4(const float* from) {
  Vec4 v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

inline void Store4(float* to, Vec4 v) { std::memcpy(to, &v, sizeof v); }

// (x, y, z, last); reads no more than three.
inline Vec4 Load3(const float* from, float last) { return Vec4{from[0], from[1], from[2], last}; }

inline void Store3(float* to, Vec4 v) {
  std::memcpy(to, &v, 2 * sizeof(float));
  to[2] = v[2];
}

inline void Add4(float* to, Vec4 v) { Store4(to, Load4(to) + v); }

// Elements a, b, c, d of a vector. Clang has one way to say so, GCC before 12 the other.
template <int a, int b, int c, int d>
inline Vec4 Elements(Vec4 v) {
#ifdef __clang__
  return __builtin_shufflevector(v, v, a, b, c, d);
#else
  typedef int32_t Order __attribute__((vector_size(16)));
  return __builtin_shuffle(v, Order{a, b, c, d});
#endif
}

// The sum of all four elements, in each of four.
inline Vec4 Sum(Vec4 v) {
  v += Elements<1, 0, 3, 2>(v);
  return v + Elements<2, 3, 0, 1>(v);
}

inline Vec4 Dot(Vec4 a, Vec4 b) { return Sum(a * b); }

// Of the first three elements; the fourth is 0 for finite ones.
inline Vec4 Cross(Vec4 a, Vec4 b) {
  const Vec4 turned_a = Elements<1, 2, 0, 3>(a);
  const Vec4 turned_b = Elements<1, 2, 0, 3>(b);
  const Vec4 c = a * turned_b - turned_a * b;
  return Elements<1, 2, 0, 3>(c);
}

// safe_normalize of ops/numerics.py.
struct Unit {
  Vec4 value;
  float scale;  // 1 / length, or 0: no gradient

  // The gradient of the vector, from that of the unit vector.
  Vec4 Gradient(Vec4 grad) const { return (grad - value * Dot(value, grad)) * scale; }
};

inline Unit Normalized(Vec4 v) {
  const float square = Dot(v, v)[0];
  const bool regular = square > kTiny;
  const float scale = 1.0f / __builtin_sqrtf(regular ? square : kTiny);
  return {v * scale, regular ? scale : 0.0f};
}

// A 4 x 4 matrix, which is stored in rows, by columns.
struct Columns {
  Vec4 column[4];

  explicit Columns(const float* matrix) {
    for (int j = 0; j < 4; ++j) {
      column[j] = Vec4{matrix[j], matrix[4 + j], matrix[8 + j], matrix[12 + j]};
    }
  }

  Vec4 Apply(const float* point) const {
    return column[0] * point[0] + column[1] * point[1] + column[2] * point[2] + column[3];
  }
};

}  // namespace
}  // namespace RASTERIZER_ISA
}  // namespace pony

#endif  // PONY_JAX_KERNELS_CPU_VECTORS_H_
