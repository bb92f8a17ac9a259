// Scratch memory and parallel loops, for files that are compiled once per instruction set.

#ifndef RASTERIZER_FFI_CPU_WORK_H_
#define RASTERIZER_FFI_CPU_WORK_H_

#include <cstdint>
#include <cstdlib>

#include "parallel.h"

namespace rasterizer {
namespace RASTERIZER_ISA {
namespace {

// An uninitialised array that frees itself. It begins with a line of the cache: vectors as long as
// one would cross lines everywhere else. (std::aligned_alloc leaves splinters in glibc's heap.)
template <class T>
class Scratch {
 public:
  explicit Scratch(int64_t size)
      : memory_(std::malloc(static_cast<size_t>(size > 0 ? size : 1) * sizeof(T) + kLine - 1)),
        data_(reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(memory_) + kLine - 1) / kLine *
                                   kLine)) {}
  ~Scratch() { std::free(memory_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  bool ok() const { return memory_ != nullptr; }
  T* get() const { return data_; }
  T& operator[](int64_t i) const { return data_[i]; }

 private:
  static constexpr uintptr_t kLine = 64;

  void* memory_;
  T* data_;
};

// Runs task(i) for i in [0, num_tasks).
template <class Task>
inline void ParallelFor(const Parallel& parallel, int64_t num_tasks, Task task) {
  if (num_tasks == 1) {
    task(0);
  } else if (num_tasks > 1) {
    parallel.Run(
        num_tasks, [](void* context, int64_t i) { (*static_cast<Task*>(context))(i); }, &task);
  }
}

// First index of part i when `size` is cut into `parts` nearly equal parts.
inline int64_t PartBegin(int64_t size, int64_t parts, int64_t i) { return size * i / parts; }

}  // namespace
}  // namespace RASTERIZER_ISA
}  // namespace rasterizer

#endif  // RASTERIZER_FFI_CPU_WORK_H_
