// Adam's update of many arrays in one pass, in place.

#include "tile.h"

namespace layers {
namespace RASTERIZER_ISA {
namespace {

// A piece is one task.
constexpr int64_t kPiece = 1 << 14;

void UpdatePiece(const Adam& adam, const AdamArray& array, int64_t begin, int64_t end) {
  const float keep_mean = adam.mean_decay, keep_square = adam.square_decay;
  const float rate = adam.rate / adam.mean_correction;
  const float root = 1 / __builtin_sqrtf(adam.square_correction);
  float* const value = array.value;
  float* const mean = array.mean;
  float* const square = array.square;
  const float* const grad = array.grad;
#pragma GCC ivdep
  for (int64_t i = begin; i < end; ++i) {
    const float g = adam.grad_scale * grad[i];
    const float m = keep_mean * mean[i] + (1 - keep_mean) * g;
    const float s = keep_square * square[i] + (1 - keep_square) * g * g;
    mean[i] = m;
    square[i] = s;
    value[i] -= rate * m / (root * __builtin_sqrtf(s) + adam.epsilon);
  }
}

}  // namespace

bool UpdateByAdam(const Adam& adam, const Parallel& parallel) {
  const Scratch<int64_t> first_piece(adam.num_arrays + 1);
  if (!first_piece.ok()) return false;
  first_piece[0] = 0;
  for (int64_t i = 0; i < adam.num_arrays; ++i) {
    first_piece[i + 1] = first_piece[i] + (adam.arrays[i].size + kPiece - 1) / kPiece;
  }
  // Pieces of small arrays are small, so a task is several neighbours.
  const int64_t pieces = first_piece[adam.num_arrays], parts = CountParts(pieces);
  ParallelFor(parallel, parts, [&](int64_t part) {
    int64_t array = 0;
    const int64_t end = PartBegin(pieces, parts, part + 1);
    for (int64_t piece = PartBegin(pieces, parts, part); piece < end; ++piece) {
      while (first_piece[array + 1] <= piece) ++array;
      const int64_t begin = (piece - first_piece[array]) * kPiece;
      const int64_t left = adam.arrays[array].size - begin;
      UpdatePiece(adam, adam.arrays[array], begin, begin + (left < kPiece ? left : kPiece));
    }
  });
  return true;
}

}  // namespace RASTERIZER_ISA
}  // namespace layers
