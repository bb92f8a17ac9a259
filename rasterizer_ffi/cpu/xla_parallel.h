// Parallel work on the threads that XLA lends to a handler.

#ifndef RASTERIZER_FFI_CPU_XLA_PARALLEL_H_
#define RASTERIZER_FFI_CPU_XLA_PARALLEL_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>

#include "parallel.h"
#include "xla/ffi/api/ffi.h"

namespace rasterizer {

// Parallel on XLA's thread pool. The calling thread works too and never waits for a task that has not
// started, so this cannot deadlock when called from the pool itself.
class XlaParallel : public Parallel {
 public:
  // At most `limit` threads; 0: as many as XLA has.
  XlaParallel(xla::ffi::ThreadPool pool, int limit) : pool_(pool) {
    const int64_t threads = limit > 0 ? limit : pool_.num_threads();
    num_threads_ = static_cast<int>(threads > 0 ? threads : 1);
  }

  int num_threads() const override { return num_threads_; }

  void Run(int64_t num_tasks, void (*task)(void*, int64_t), void* context) const override {
    if (num_threads_ == 1) {
      for (int64_t i = 0; i < num_tasks; ++i) task(context, i);
      return;
    }
    struct State {
      std::atomic<int64_t> next{0}, done{0};
      std::mutex mutex;
      std::condition_variable all_done;
    };
    auto state = std::make_shared<State>();
    auto work = [state, num_tasks, task, context] {
      int64_t finished = 0;
      for (int64_t i; (i = state->next.fetch_add(1)) < num_tasks; ++finished) task(context, i);
      if (finished == 0 || state->done.fetch_add(finished) + finished < num_tasks) return;
      std::lock_guard<std::mutex> lock(state->mutex);
      state->all_done.notify_one();
    };
    const int64_t helpers = (num_tasks < num_threads_ ? num_tasks : num_threads_) - 1;
    for (int64_t i = 0; i < helpers; ++i) pool_.Schedule(decltype(work)(work));
    work();
    // The others are on their last tasks. To sleep and be woken takes longer than most waits.
    for (int i = 0; i < kYields; ++i) {
      if (state->done == num_tasks) return;
      std::this_thread::yield();
    }
    std::unique_lock<std::mutex> lock(state->mutex);
    state->all_done.wait(lock, [&] { return state->done == num_tasks; });
  }

 private:
  static constexpr int kYields = 200;  // some 50 microseconds

  mutable xla::ffi::ThreadPool pool_;
  int num_threads_;
};

}  // namespace rasterizer

#endif  // RASTERIZER_FFI_CPU_XLA_PARALLEL_H_
