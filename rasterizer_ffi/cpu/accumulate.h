// Sums of per-pixel gradients into vertices, in an order that does not depend on the threads.
//
// Rows of pixels are cut into parts by the shapes alone. Each part is summed by one task, in row
// order, into its own copy of the vertex array; the copies are then added in the order of the parts.

#ifndef RASTERIZER_FFI_CPU_ACCUMULATE_H_
#define RASTERIZER_FFI_CPU_ACCUMULATE_H_

#include "isa.h"

namespace rasterizer {
namespace RASTERIZER_ISA {
namespace {

class VertexSums {
 public:
  // `targets` arrays of `size` floats each, one after the other in `out`; the pixels that add to one
  // target lie in `rows` rows of `width` pixels.
  VertexSums(float* out, int64_t targets, int64_t size, int64_t rows, int64_t width)
      : out_(out), targets_(targets), size_(size), rows_(rows),
        parts_(CountParts(targets, size, rows, width)),
        copies_(parts_ > 1 ? targets * parts_ * size : 0) {}

  bool ok() const { return copies_.ok(); }

  // Calls add(target, first row, end row, sums) for all parts, then adds up their sums.
  template <class Add>
  void Run(const Parallel& parallel, Add add) const {
    ParallelFor(parallel, targets_ * parts_, [&](int64_t task) {
      const int64_t target = task / parts_, part = task % parts_;
      float* sums = parts_ > 1 ? copies_.get() + task * size_ : out_ + target * size_;
      if (size_ > 0) std::memset(sums, 0, sizeof(float) * static_cast<size_t>(size_));
      add(target, PartBegin(rows_, parts_, part), PartBegin(rows_, parts_, part + 1), sums);
    });
    if (parts_ == 1) return;
    const int64_t chunk = 16384, chunks = (size_ + chunk - 1) / chunk;
    ParallelFor(parallel, targets_ * chunks, [&](int64_t task) {
      const int64_t target = task / chunks, begin = task % chunks * chunk;
      const int64_t end = Min(size_, begin + chunk);
      float* out = out_ + target * size_;
      const float* copies = copies_.get() + target * parts_ * size_;
      for (int64_t i = begin; i < end; ++i) out[i] = copies[i];
      for (int64_t part = 1; part < parts_; ++part) {
        for (int64_t i = begin; i < end; ++i) out[i] += copies[part * size_ + i];
      }
    });
  }

 private:
  // About 16 tasks in all, but only where a part has enough pixels to pay for its copy; all copies
  // together take at most 4 bytes a pixel. A power of two: other counts leave threads idle.
  static int64_t CountParts(int64_t targets, int64_t size, int64_t rows, int64_t width) {
    const int64_t wanted = targets > 0 ? (16 + targets - 1) / targets : 1;
    const int64_t affordable = rows * width / Max(size, int64_t{1});
    const int64_t worthwhile = rows * width / 4096;
    const int64_t most = Min(Min(wanted, rows), Min(affordable, worthwhile));
    int64_t parts = 1;
    while (2 * parts <= most) parts *= 2;
    return parts;
  }

  float* out_;
  int64_t targets_, size_, rows_, parts_;
  Scratch<float> copies_;
};

}  // namespace
}  // namespace RASTERIZER_ISA
}  // namespace rasterizer

#endif  // RASTERIZER_FFI_CPU_ACCUMULATE_H_
