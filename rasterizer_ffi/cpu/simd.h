// Vectors of the compiler, and the few data movements that it does not find by itself.

#ifndef RASTERIZER_FFI_CPU_SIMD_H_
#define RASTERIZER_FFI_CPU_SIMD_H_

#include <cstdint>
#include <cstring>

#ifdef __SSE2__
// GCC 12 takes its own undefined vectors for mistakes.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif

#include "isa.h"

namespace rasterizer {
namespace RASTERIZER_ISA {
namespace {

typedef float Vec4f __attribute__((vector_size(16)));
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

constexpr int kGroup = 16;  // pixels or triangles worked on together
constexpr uint32_t kLanes[kGroup] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

inline Vec16f CopySign(float magnitude, Vec16f sign) {
  uint32_t bits;
  std::memcpy(&bits, &magnitude, sizeof bits);
  return (Vec16f)(((Vec16u)sign & 0x80000000u) | bits);
}

inline bool AllZero(Vec16u v) {
#ifdef __AVX512F__
  return _mm512_test_epi32_mask((__m512i)v, (__m512i)v) == 0;
#else
  uint64_t any = 0, parts[8];
  std::memcpy(parts, &v, sizeof v);
  for (int i = 0; i < 8; ++i) any |= parts[i];
  return any == 0;
#endif
}

// Bit i: element i of a mask is not 0.
inline uint32_t BitsOfMask(Vec16i mask) {
#ifdef __AVX512F__
  return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask);
#else
  uint32_t bits = 0;
  for (int i = 0; i < kGroup; ++i) bits |= static_cast<uint32_t>(mask[i] != 0) << i;
  return bits;
#endif
}

#ifdef __AVX512F__
// Of each group of four rows, the elements x become neighbours in column[0], and so on.
inline void TransposeFours(const __m512 row[4], __m512 column[4]) {
  const __m512d low01 = _mm512_castps_pd(_mm512_unpacklo_ps(row[0], row[1]));
  const __m512d high01 = _mm512_castps_pd(_mm512_unpackhi_ps(row[0], row[1]));
  const __m512d low23 = _mm512_castps_pd(_mm512_unpacklo_ps(row[2], row[3]));
  const __m512d high23 = _mm512_castps_pd(_mm512_unpackhi_ps(row[2], row[3]));
  column[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(low01, low23));
  column[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low01, low23));
  column[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high01, high23));
  column[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high01, high23));
}
#endif

// Memory has rows of four 32-bit elements (a pixel of rast, a vertex), arithmetic wants columns of
// kGroup of them. Columns are aligned to 64 bytes. Element i of x, y, z and w becomes that of the row that begins at `from(i)`.
template <class From>
inline void LoadRows(From from, void* x, void* y, void* z, void* w) {
#if defined(__AVX512F__)
  __m512 row[4], column[4];  // row[i] holds the rows i, i + 4, i + 8, i + 12
  for (int i = 0; i < 4; ++i) {
    const auto load = [&](int j) { return _mm_loadu_ps(reinterpret_cast<const float*>(from(j))); };
    row[i] = _mm512_castps128_ps512(load(i));
    row[i] = _mm512_insertf32x4(row[i], load(i + 4), 1);
    row[i] = _mm512_insertf32x4(row[i], load(i + 8), 2);
    row[i] = _mm512_insertf32x4(row[i], load(i + 12), 3);
  }
  TransposeFours(row, column);
  void* const columns[4] = {x, y, z, w};
  for (int k = 0; k < 4; ++k) _mm512_store_ps(columns[k], column[k]);
#elif defined(__SSE2__)
  void* const columns[4] = {x, y, z, w};
  for (int i = 0; i < kGroup; i += 4) {
    __m128 row[4];
    for (int j = 0; j < 4; ++j) row[j] = _mm_loadu_ps(reinterpret_cast<const float*>(from(i + j)));
    _MM_TRANSPOSE4_PS(row[0], row[1], row[2], row[3]);
    for (int k = 0; k < 4; ++k) _mm_store_ps(static_cast<float*>(columns[k]) + i, row[k]);
  }
#else
  char* const columns[4] = {static_cast<char*>(x), static_cast<char*>(y), static_cast<char*>(z),
                            static_cast<char*>(w)};
  for (int i = 0; i < kGroup; ++i) {
    const char* row = reinterpret_cast<const char*>(from(i));
    for (int k = 0; k < 4; ++k) std::memcpy(columns[k] + 4 * i, row + 4 * k, 4);
  }
#endif
}

// Asks for the kGroup rows of four a page after these: the processor's own prefetching ends with
// the page.
inline void PrefetchPageAhead(const float* from) {
  for (int i = 0; i < 4; ++i) __builtin_prefetch(from + 16 * i + 1024);
}

// Reads `count` rows of four floats, one after the other; rows beyond are 0.
inline void LoadPixelRows(const float* from, int64_t count, void* x, void* y, void* z, void* w) {
  static constexpr float kZeros[4] = {};
  if (count >= kGroup) {
#ifdef __AVX512F__
    __m512 row[4], column[4];  // row[i] holds the rows 4 * i and those after it
    for (int i = 0; i < 4; ++i) row[i] = _mm512_loadu_ps(from + 16 * i);
    PrefetchPageAhead(from);
    TransposeFours(row, column);
    const __m512i order =
        _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    void* const columns[4] = {x, y, z, w};
    for (int k = 0; k < 4; ++k) {
      _mm512_store_ps(columns[k], _mm512_permutexvar_ps(order, column[k]));
    }
#else
    LoadRows([&](int i) { return from + 4 * i; }, x, y, z, w);
#endif
  } else {
    LoadRows([&](int i) { return i < count ? from + 4 * i : kZeros; }, x, y, z, w);
  }
}

// Reads kGroup rows of three, one after the other, into their columns.
inline void LoadTriples(const int32_t* from, Vec16i column[3]) {
#ifdef __AVX512F__
  const __m512i part[3] = {_mm512_loadu_si512(from), _mm512_loadu_si512(from + 16),
                           _mm512_loadu_si512(from + 32)};
  const __m512i threes =
      _mm512_setr_epi32(0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33, 36, 39, 42, 45);
  for (int k = 0; k < 3; ++k) {
    // Permutations take places modulo the elements there are.
    const __m512i place = _mm512_add_epi32(threes, _mm512_set1_epi32(k));
    const __m512i first = _mm512_permutex2var_epi32(part[0], place, part[1]);
    const __m512i last = _mm512_permutexvar_epi32(place, part[2]);
    const __mmask16 is_last = _mm512_cmpge_epi32_mask(place, _mm512_set1_epi32(32));
    column[k] = (Vec16i)_mm512_mask_blend_epi32(is_last, first, last);
  }
#else
  for (int i = 0; i < kGroup; ++i) {
    for (int k = 0; k < 3; ++k) column[k][i] = from[3 * i + k];
  }
#endif
}

// Whether none of kGroup pixels of rast shows a triangle. Asks for those a page ahead.
inline bool NoneShown(const float* rast) {
  PrefetchPageAhead(rast);
  Vec16u any = {};
  for (int i = 0; i < 4; ++i) any |= Load<Vec16u>(rast + 16 * i);
  const Vec16u ids = {0, 0, 0, ~0u, 0, 0, 0, ~0u, 0, 0, 0, ~0u, 0, 0, 0, ~0u};
  return AllZero(any & ids);
}

// table[index[i]] for each element.
inline Vec16i Gather(const int32_t* table, Vec16i index) {
#ifdef __AVX512F__
  return (Vec16i)_mm512_i32gather_epi32((__m512i)index, table, 4);
#else
  for (int i = 0; i < kGroup; ++i) index[i] = table[index[i]];
  return index;
#endif
}

// Streaming stores go past the cache to the memory: for results larger than the cache, which would
// otherwise be read before they are overwritten.
inline bool CanStream(const float* to) { return reinterpret_cast<uintptr_t>(to) % 64 == 0; }

inline void StreamFence() {
#ifdef __SSE2__
  _mm_sfence();
#endif
}

// Writes x[0] y[0] z[0] w[0] x[1] ... w[15]; streamed only to where CanStream.
inline void StoreRows(const void* x, const void* y, const void* z, const void* w, float* to,
                      bool streamed) {
#if defined(__AVX512F__)
  const __m512 vx = _mm512_load_ps(x), vy = _mm512_load_ps(y);
  const __m512 vz = _mm512_load_ps(z), vw = _mm512_load_ps(w);
  const __m512d xy_low = _mm512_castps_pd(_mm512_unpacklo_ps(vx, vy));
  const __m512d xy_high = _mm512_castps_pd(_mm512_unpackhi_ps(vx, vy));
  const __m512d zw_low = _mm512_castps_pd(_mm512_unpacklo_ps(vz, vw));
  const __m512d zw_high = _mm512_castps_pd(_mm512_unpackhi_ps(vz, vw));
  // row[i] holds the rows i, i + 4, i + 8, i + 12.
  const __m512d row[4] = {
      _mm512_unpacklo_pd(xy_low, zw_low), _mm512_unpackhi_pd(xy_low, zw_low),
      _mm512_unpacklo_pd(xy_high, zw_high), _mm512_unpackhi_pd(xy_high, zw_high)};
  const __m512d first01 = _mm512_shuffle_f64x2(row[0], row[1], 0x44);
  const __m512d last01 = _mm512_shuffle_f64x2(row[0], row[1], 0xee);
  const __m512d first23 = _mm512_shuffle_f64x2(row[2], row[3], 0x44);
  const __m512d last23 = _mm512_shuffle_f64x2(row[2], row[3], 0xee);
  const __m512d out[4] = {
      _mm512_shuffle_f64x2(first01, first23, 0x88), _mm512_shuffle_f64x2(first01, first23, 0xdd),
      _mm512_shuffle_f64x2(last01, last23, 0x88), _mm512_shuffle_f64x2(last01, last23, 0xdd)};
  for (int i = 0; i < 4; ++i) {
    if (streamed) {
      _mm512_stream_pd(reinterpret_cast<double*>(to + 16 * i), out[i]);
    } else {
      _mm512_storeu_pd(to + 16 * i, out[i]);
    }
  }
#elif defined(__SSE2__)
  const void* const columns[4] = {x, y, z, w};
  for (int i = 0; i < kGroup; i += 4) {
    __m128 row[4];
    for (int k = 0; k < 4; ++k) row[k] = _mm_load_ps(static_cast<const float*>(columns[k]) + i);
    _MM_TRANSPOSE4_PS(row[0], row[1], row[2], row[3]);
    for (int j = 0; j < 4; ++j) {
      float* at = to + 4 * (i + j);
      if (streamed) {
        _mm_stream_ps(at, row[j]);
      } else {
        _mm_storeu_ps(at, row[j]);
      }
    }
  }
#else
  (void)streamed;
  const char* const columns[4] = {static_cast<const char*>(x), static_cast<const char*>(y),
                                  static_cast<const char*>(z), static_cast<const char*>(w)};
  for (int i = 0; i < kGroup; ++i) {
    for (int k = 0; k < 4; ++k) std::memcpy(to + 4 * i + k, columns[k] + 4 * i, 4);
  }
#endif
}

// Zeroes `size` floats; if streamed, a multiple of 16 of them to where CanStream.
inline void ZeroFill(float* to, int64_t size, bool streamed) {
#if defined(__AVX512F__)
  if (streamed) {
    for (int64_t i = 0; i < size; i += 16) _mm512_stream_ps(to + i, _mm512_setzero_ps());
    return;
  }
#elif defined(__SSE2__)
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
