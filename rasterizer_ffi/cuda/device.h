// What the operations of this folder ask of a device, and the few things that its threads do
// together.
//
// An operation is a sequence of loops. What happens at one index of a loop is a functor that both
// the host and CUDA compile; the indices of a loop run in any order or at once, and only the
// functions below touch memory that another index of the same loop touches. On the host they are
// plain operations: running every index there, in any order, proves everything but the launch.
//
// A Device has
//   template <class T> T* Allocate(int64_t size);  // scratch for this operation; null: no memory
//   template <class T> const T* Upload(const T* values, int64_t size);  // from the host
//   void Fill(void* data, int byte, int64_t num_bytes);
//   template <class Functor> void ForEach(int64_t size, const Functor& functor);  // functor(index)
// and does these things one after the other.

#ifndef RASTERIZER_FFI_CUDA_DEVICE_H_
#define RASTERIZER_FFI_CUDA_DEVICE_H_

#include "../shared/portable.h"

namespace rasterizer {
namespace RASTERIZER_ISA {
namespace {

struct AtomicAdd {
  RASTERIZER_HD void operator()(float* sum, float value) const {
#ifdef __CUDA_ARCH__
    atomicAdd(sum, value);
#else
    *sum += value;
#endif
  }
};

RASTERIZER_HD inline void AtomicMin(uint64_t* least, uint64_t value) {
#ifdef __CUDA_ARCH__
  atomicMin(reinterpret_cast<unsigned long long*>(least), static_cast<unsigned long long>(value));
#else
  *least = Min(*least, value);
#endif
}

RASTERIZER_HD inline void AtomicMin(uint32_t* least, uint32_t value) {
#ifdef __CUDA_ARCH__
  atomicMin(least, value);
#else
  *least = Min(*least, value);
#endif
}

// Writes `value` where `*slot` is all ones, and returns what was there before.
RASTERIZER_HD inline uint64_t AtomicClaim(uint64_t* slot, uint64_t value) {
#ifdef __CUDA_ARCH__
  return atomicCAS(reinterpret_cast<unsigned long long*>(slot), ~0ull,
                   static_cast<unsigned long long>(value));
#else
  const uint64_t before = *slot;
  if (before == ~uint64_t{0}) *slot = value;
  return before;
#endif
}

// Writes a pixel of four channels in one go. `to` is aligned to 16 bytes, as all such pixels are.
RASTERIZER_HD inline void Store4(float* to, float x, float y, float z, float w) {
#ifdef __CUDA_ARCH__
  *reinterpret_cast<float4*>(to) = make_float4(x, y, z, w);
#else
  to[0] = x, to[1] = y, to[2] = z, to[3] = w;
#endif
}

}  // namespace
}  // namespace RASTERIZER_ISA
}  // namespace rasterizer

#endif  // RASTERIZER_FFI_CUDA_DEVICE_H_
