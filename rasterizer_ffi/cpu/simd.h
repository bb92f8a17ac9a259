// Vectors of the compiler, and the few data movements that it does not find by itself.

#ifndef RASTERIZER_FFI_CPU_SIMD_H_
#define RASTERIZER_FFI_CPU_SIMD_H_

#include <cstdint>
#include <cstring>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "isa.h"

namespace rasterizer {
namespace RASTERIZER_ISA {
namespace {

typedef uint32_t Vec8u __attribute__((vector_size(32)));
typedef int32_t Vec8i __attribute__((vector_size(32)));
typedef uint32_t Vec16u __attribute__((vector_size(64)));
typedef int32_t Vec16i __attribute__((vector_size(64)));
typedef float Vec16f __attribute__((vector_size(64)));

template <class Vector, class Element>
inline Vector Load(const Element* from) {
  Vector v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

// Whether 16 ids are all 0.
inline bool AllZero(const int32_t* ids) {
  int32_t any = 0;
  for (int i = 0; i < 16; ++i) any |= ids[i];
  return any == 0;
}

// Reads four vectors of four floats and writes them transposed.
inline void Transpose4(const float* a, const float* b, const float* c, const float* d, float* x,
                       float* y, float* z, float* w) {
#ifdef __SSE2__
  __m128 ra = _mm_loadu_ps(a), rb = _mm_loadu_ps(b), rc = _mm_loadu_ps(c), rd = _mm_loadu_ps(d);
  _MM_TRANSPOSE4_PS(ra, rb, rc, rd);
  _mm_storeu_ps(x, ra);
  _mm_storeu_ps(y, rb);
  _mm_storeu_ps(z, rc);
  _mm_storeu_ps(w, rd);
#else
  const float* in[4] = {a, b, c, d};
  for (int i = 0; i < 4; ++i) x[i] = in[i][0], y[i] = in[i][1], z[i] = in[i][2], w[i] = in[i][3];
#endif
}

// Streaming stores go past the cache to the memory: for results larger than the cache, which would
// otherwise be read before they are overwritten.
inline bool CanStream(const float* to) { return reinterpret_cast<uintptr_t>(to) % 16 == 0; }

inline void StreamFence() {
#ifdef __SSE2__
  _mm_sfence();
#endif
}

// Writes x[0] y[0] z[0] w[0] x[1] ... w[3].
inline void Interleave4(const float* x, const float* y, const float* z, const float* w, float* to,
                        bool streamed) {
#ifdef __SSE2__
  __m128 rx = _mm_loadu_ps(x), ry = _mm_loadu_ps(y), rz = _mm_loadu_ps(z), rw = _mm_loadu_ps(w);
  _MM_TRANSPOSE4_PS(rx, ry, rz, rw);
  if (streamed) {
    _mm_stream_ps(to, rx);
    _mm_stream_ps(to + 4, ry);
    _mm_stream_ps(to + 8, rz);
    _mm_stream_ps(to + 12, rw);
  } else {
    _mm_storeu_ps(to, rx);
    _mm_storeu_ps(to + 4, ry);
    _mm_storeu_ps(to + 8, rz);
    _mm_storeu_ps(to + 12, rw);
  }
#else
  (void)streamed;
  for (int i = 0; i < 4; ++i) {
    to[4 * i] = x[i], to[4 * i + 1] = y[i], to[4 * i + 2] = z[i], to[4 * i + 3] = w[i];
  }
#endif
}

// Zeroes `size` floats, a multiple of 4.
inline void ZeroFill(float* to, int64_t size, bool streamed) {
#ifdef __SSE2__
  if (streamed) {
    for (int64_t i = 0; i < size; i += 4) _mm_stream_ps(to + i, _mm_setzero_ps());
    return;
  }
#endif
  (void)streamed;
  std::memset(to, 0, sizeof(float) * static_cast<size_t>(size));
}

}  // namespace
}  // namespace RASTERIZER_ISA
}  // namespace rasterizer

#endif  // RASTERIZER_FFI_CPU_SIMD_H_
