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

// Pixels or triangles worked on together: as many as a register holds. What does not fit one, the
// compiler compares and chooses from element by element, through memory.
#if defined(__AVX512F__)
constexpr int kGroup = 16;
#define RASTERIZER_MM(intrinsic) _mm512_##intrinsic
#elif defined(__AVX2__)
constexpr int kGroup = 8;
#define RASTERIZER_MM(intrinsic) _mm256_##intrinsic
#else
constexpr int kGroup = 4;
#define RASTERIZER_MM(intrinsic) _mm_##intrinsic
#endif

typedef float Vec4f __attribute__((vector_size(16)));
typedef float GroupF __attribute__((vector_size(4 * kGroup)));
typedef double GroupD __attribute__((vector_size(4 * kGroup)));  // each is two neighbours
typedef int32_t GroupI __attribute__((vector_size(4 * kGroup)));
typedef uint32_t GroupU __attribute__((vector_size(4 * kGroup)));

template <class Vector, class Element>
inline Vector Load(const Element* from) {
  Vector v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

constexpr uint32_t kLanes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

inline GroupF CopySign(float magnitude, GroupF sign) {
  uint32_t bits;
  std::memcpy(&bits, &magnitude, sizeof bits);
  return (GroupF)(((GroupU)sign & 0x80000000u) | bits);
}

// Bit i: element i of a mask is not 0.
inline uint32_t BitsOfMask(GroupI mask) {
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask);
#elif defined(__SSE2__)
  return RASTERIZER_MM(movemask_ps)((GroupF)(mask != 0));
#else
  uint32_t bits = 0;
  for (int i = 0; i < kGroup; ++i) bits |= static_cast<uint32_t>(mask[i] != 0) << i;
  return bits;
#endif
}

inline bool AllZero(GroupU v) { return BitsOfMask((GroupI)v) == 0; }

// Memory has rows of four 32-bit elements (a pixel of rast, a vertex), arithmetic wants columns.
struct Columns {
  GroupF x, y, z, w;
};

// In each 16 bytes of the four vectors: what were elements 0 become result.x, and so on. Makes
// columns of rows, and rows of columns.
inline Columns TransposeFours(const Columns& row) {
#ifdef __SSE2__
  const GroupD low01 = (GroupD)RASTERIZER_MM(unpacklo_ps)(row.x, row.y);
  const GroupD high01 = (GroupD)RASTERIZER_MM(unpackhi_ps)(row.x, row.y);
  const GroupD low23 = (GroupD)RASTERIZER_MM(unpacklo_ps)(row.z, row.w);
  const GroupD high23 = (GroupD)RASTERIZER_MM(unpackhi_ps)(row.z, row.w);
  return {(GroupF)RASTERIZER_MM(unpacklo_pd)(low01, low23),
          (GroupF)RASTERIZER_MM(unpackhi_pd)(low01, low23),
          (GroupF)RASTERIZER_MM(unpacklo_pd)(high01, high23),
          (GroupF)RASTERIZER_MM(unpackhi_pd)(high01, high23)};
#else
  const auto column = [&](int i) { return GroupF{row.x[i], row.y[i], row.z[i], row.w[i]}; };
  return {column(0), column(1), column(2), column(3)};
#endif
}

// Row i is read from `from(i)`.
template <class From>
inline Columns LoadRows(From from) {
  const auto load = [&](int i) { return Load<Vec4f>(from(i)); };
  const auto every_fourth = [&](int i) -> GroupF {
#if defined(__AVX512F__)
    const __m512 first = _mm512_castps128_ps512(load(i));
    const __m512 two = _mm512_insertf32x4(first, load(i + 4), 1);
    return _mm512_insertf32x4(_mm512_insertf32x4(two, load(i + 8), 2), load(i + 12), 3);
#elif defined(__AVX2__)
    return _mm256_set_m128(load(i + 4), load(i));
#else
    return load(i);
#endif
  };
  return TransposeFours({every_fourth(0), every_fourth(1), every_fourth(2), every_fourth(3)});
}

// Asks for the kGroup rows of four a page after these: the processor's own prefetching ends with
// the page.
inline void PrefetchPageAhead(const float* from) {
  for (int i = 0; i < 4 * kGroup; i += 16) __builtin_prefetch(from + i + 1024);
}

// Reads `count` rows of four floats, one after the other; rows beyond are 0.
inline Columns LoadPixelRows(const float* from, int64_t count) {
  static constexpr float kZeros[4] = {};
  if (count < kGroup) return LoadRows([&](int i) { return i < count ? from + 4 * i : kZeros; });
  PrefetchPageAhead(from);
#ifdef __AVX512F__
  const Columns mixed = TransposeFours({Load<GroupF>(from), Load<GroupF>(from + 16),
                                        Load<GroupF>(from + 32), Load<GroupF>(from + 48)});
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return {_mm512_permutexvar_ps(order, mixed.x), _mm512_permutexvar_ps(order, mixed.y),
          _mm512_permutexvar_ps(order, mixed.z), _mm512_permutexvar_ps(order, mixed.w)};
#else
  return LoadRows([&](int i) { return from + 4 * i; });
#endif
}

// table[index[i]] for each element.
inline GroupI Gather(const int32_t* table, GroupI index) {
#ifdef __AVX512F__
  return (GroupI)_mm512_i32gather_epi32((__m512i)index, table, 4);
#else
  for (int i = 0; i < kGroup; ++i) index[i] = table[index[i]];
  return index;
#endif
}

// Reads kGroup rows of three, one after the other, into their columns.
inline void LoadTriples(const int32_t* from, GroupI column[3]) {
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
    column[k] = (GroupI)_mm512_mask_blend_epi32(is_last, first, last);
  }
#else
  for (int i = 0; i < kGroup; ++i) {
    for (int k = 0; k < 3; ++k) column[k][i] = from[3 * i + k];
  }
#endif
}

// Whether none of kGroup pixels of rast shows a triangle. Asks for those a page ahead.
inline bool NoneShown(const float* rast) {
  static constexpr uint32_t kIds[16] = {0, 0, 0, ~0u, 0, 0, 0, ~0u, 0, 0, 0, ~0u, 0, 0, 0, ~0u};
  PrefetchPageAhead(rast);
  GroupU any = {};
  for (int i = 0; i < 4; ++i) any |= Load<GroupU>(rast + kGroup * i);
  return AllZero(any & Load<GroupU>(kIds));
}

// Streaming stores go past the cache to the memory: for results larger than the cache, which would
// otherwise be read before they are overwritten.
inline bool CanStream(const float* to) { return reinterpret_cast<uintptr_t>(to) % 64 == 0; }

inline void StreamFence() {
#ifdef __SSE2__
  _mm_sfence();
#endif
}

// Streamed only to where CanStream.
inline void Store(GroupF v, float* to, bool streamed) {
#ifdef __SSE2__
  if (streamed) return RASTERIZER_MM(stream_ps)(to, v);
#endif
  (void)streamed;
  std::memcpy(to, &v, sizeof v);
}

// Writes the rows, one after the other; streamed only to where CanStream.
inline void StoreRows(const Columns& columns, float* to, bool streamed) {
  const Columns row = TransposeFours(columns);  // row.x holds the rows 0, 4, 8, 12, and so on
#if defined(__AVX512F__)
  const __m512 first01 = _mm512_shuffle_f32x4(row.x, row.y, 0x44);
  const __m512 last01 = _mm512_shuffle_f32x4(row.x, row.y, 0xee);
  const __m512 first23 = _mm512_shuffle_f32x4(row.z, row.w, 0x44);
  const __m512 last23 = _mm512_shuffle_f32x4(row.z, row.w, 0xee);
  const GroupF out[4] = {
      _mm512_shuffle_f32x4(first01, first23, 0x88), _mm512_shuffle_f32x4(first01, first23, 0xdd),
      _mm512_shuffle_f32x4(last01, last23, 0x88), _mm512_shuffle_f32x4(last01, last23, 0xdd)};
#elif defined(__AVX2__)
  const GroupF out[4] = {
      _mm256_permute2f128_ps(row.x, row.y, 0x20), _mm256_permute2f128_ps(row.z, row.w, 0x20),
      _mm256_permute2f128_ps(row.x, row.y, 0x31), _mm256_permute2f128_ps(row.z, row.w, 0x31)};
#else
  const GroupF out[4] = {row.x, row.y, row.z, row.w};
#endif
  for (int i = 0; i < 4; ++i) Store(out[i], to + kGroup * i, streamed);
}

// Zeroes `size` floats; if streamed, a multiple of 16 of them to where CanStream.
inline void ZeroFill(float* to, int64_t size, bool streamed) {
  if (streamed) {
    for (int64_t i = 0; i < size; i += kGroup) Store(GroupF{}, to + i, true);
  } else {
    std::memset(to, 0, sizeof(float) * static_cast<size_t>(size));
  }
}

}  // namespace
}  // namespace RASTERIZER_ISA
}  // namespace rasterizer

#endif  // RASTERIZER_FFI_CPU_SIMD_H_
