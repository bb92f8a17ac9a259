// How the kernels ask for parallel work, without knowing who provides the threads.

#ifndef RASTERIZER_FFI_CPU_PARALLEL_H_
#define RASTERIZER_FFI_CPU_PARALLEL_H_

#include <cstdint>

namespace rasterizer {

// Runs independent tasks; the XLA handlers back it by XLA's thread pool, the tests by std::thread.
class Parallel {
 public:
  virtual ~Parallel() = default;

  // Threads that may run at once. Kernels may use it to choose how finely the work is cut, never in
  // a way that changes the result.
  virtual int num_threads() const = 0;

  // Calls task(context, i) once for every i in [0, num_tasks) and returns when all have returned.
  virtual void Run(int64_t num_tasks, void (*task)(void* context, int64_t index),
                   void* context) const = 0;
};

}  // namespace rasterizer

#endif  // RASTERIZER_FFI_CPU_PARALLEL_H_
