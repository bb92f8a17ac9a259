// Real threads for the kernels of the CPU, where there is no XLA to lend its own.

#ifndef TESTS_RASTERIZER_FFI_THREADS_H_
#define TESTS_RASTERIZER_FFI_THREADS_H_

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "../../rasterizer_ffi/cpu/kernels.h"

class Threads : public rasterizer::Parallel {
 public:
  explicit Threads(int count) : count_(count) {}
  int num_threads() const override { return count_; }
  void Run(int64_t num_tasks, void (*task)(void*, int64_t), void* context) const override {
    std::atomic<int64_t> next{0};
    const auto work = [&] {
      for (int64_t i; (i = next.fetch_add(1)) < num_tasks;) task(context, i);
    };
    std::vector<std::thread> threads;
    for (int i = 1; i < count_; ++i) threads.emplace_back(work);
    work();
    for (std::thread& thread : threads) thread.join();
  }

 private:
  int count_;
};

#endif  // TESTS_RASTERIZER_FFI_THREADS_H_
