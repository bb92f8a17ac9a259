// What all handlers share: the choice of an instruction set, checks of shapes, and the call.

#ifndef PONY_JAX_KERNELS_CPU_DISPATCH_H_
#define PONY_JAX_KERNELS_CPU_DISPATCH_H_

#include <algorithm>
#include <cstdint>
#include <initializer_list>

#include "rasterizer_ffi/cpu/parallel.h"
#include "rasterizer_ffi/cpu/xla_parallel.h"
#include "rasterizer_ffi/shared/xla_types.h"

namespace pony {

using rasterizer::Parallel;

int InstructionSet();  // 0 baseline, 1 v3, 2 v4
int MaxThreads();      // 0: as many as XLA has

// A kernel by instruction set. It returns false when it found no memory for its scratch.
template <class Args>
struct Kernel {
  bool (*by_isa[3])(const Args&, const Parallel&);
};

#ifdef RASTERIZER_X86_64
#define PONY_KERNEL(Function, Args)                                   \
  namespace baseline { bool Function(const Args&, const Parallel&); } \
  namespace v3 { bool Function(const Args&, const Parallel&); }       \
  namespace v4 { bool Function(const Args&, const Parallel&); }       \
  constexpr Kernel<Args> k##Function = {{baseline::Function, v3::Function, v4::Function}};
#else
#define PONY_KERNEL(Function, Args)                                   \
  namespace baseline { bool Function(const Args&, const Parallel&); } \
  constexpr Kernel<Args> k##Function = {{baseline::Function, nullptr, nullptr}};
#endif

namespace {

using Flags = ffi::Buffer<ffi::PRED>;
using rasterizer::BadShape;
using rasterizer::Dims;
using rasterizer::Floats;
using rasterizer::Ints;
using rasterizer::ReadCount;

template <class Args>
inline ffi::Error Run(const char* op, const Kernel<Args>& kernel, const Args& args,
                      ffi::ThreadPool pool) {
  const rasterizer::XlaParallel parallel(pool, MaxThreads());
  const bool done = kernel.by_isa[InstructionSet()](args, parallel);
  return done ? ffi::Error::Success() : rasterizer::OutOfMemory(op);
}

// Expected sizes; -1 takes any.
inline bool Is(Dims dims, std::initializer_list<int64_t> expected) {
  return std::equal(dims.begin(), dims.end(), expected.begin(), expected.end(),
                    [](int64_t got, int64_t wanted) { return wanted < 0 || got == wanted; });
}

struct Expected {
  const char* name;
  const char* text;
  Dims got;
  std::initializer_list<int64_t> sizes;
};

// The first that has not the expected shape makes an error.
inline ffi::Error Check(std::initializer_list<Expected> arrays) {
  for (const Expected& array : arrays) {
    if (!Is(array.got, array.sizes)) return BadShape(array.name, array.text, array.got);
  }
  return ffi::Error::Success();
}

}  // namespace
}  // namespace pony

#endif  // PONY_JAX_KERNELS_CPU_DISPATCH_H_
