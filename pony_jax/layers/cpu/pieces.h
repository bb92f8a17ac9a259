// Arrays of all sizes, cut into pieces for tasks of about the same size.

#ifndef PONY_JAX_LAYERS_CPU_PIECES_H_
#define PONY_JAX_LAYERS_CPU_PIECES_H_

#include "tile.h"

namespace layers {
namespace RASTERIZER_ISA {
namespace {

class Pieces {
 public:
  // `size_of(i)`: of array i.
  template <class SizeOf>
  Pieces(int64_t num_arrays, SizeOf size_of) : first_(num_arrays + 1), sizes_(num_arrays) {
    if (!ok()) return;
    first_[0] = 0;
    for (int64_t i = 0; i < num_arrays; ++i) {
      sizes_[i] = size_of(i);
      first_[i + 1] = first_[i] + (sizes_[i] + kPiece - 1) / kPiece;
    }
    count_ = first_[num_arrays];
  }

  bool ok() const { return first_.ok() && sizes_.ok(); }
  // Pieces of small arrays are small, so a part is several neighbours.
  int64_t CountOfParts() const { return CountParts(count_); }

  // Calls use(array, begin, end) for the pieces of a part.
  template <class Use>
  void ForPart(int64_t part, Use use) const {
    int64_t array = 0;
    const int64_t end = PartBegin(count_, CountOfParts(), part + 1);
    for (int64_t piece = PartBegin(count_, CountOfParts(), part); piece < end; ++piece) {
      while (first_[array + 1] <= piece) ++array;
      const int64_t begin = (piece - first_[array]) * kPiece;
      use(array, begin, Min(begin + kPiece, sizes_[array]));
    }
  }

 private:
  static constexpr int64_t kPiece = 1 << 14;

  Scratch<int64_t> first_;  // piece of each array
  Scratch<int64_t> sizes_;
  int64_t count_ = 0;
};

}  // namespace
}  // namespace RASTERIZER_ISA
}  // namespace layers

#endif  // PONY_JAX_LAYERS_CPU_PIECES_H_
