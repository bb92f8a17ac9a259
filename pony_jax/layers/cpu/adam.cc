// Adam's update of many arrays in one pass, in place.

#include "pieces.h"

namespace layers {
namespace RASTERIZER_ISA {
namespace {

void UpdatePiece(const Adam& adam, const AdamArray& array, int64_t begin, int64_t end) {
  const float keep_mean = adam.mean_decay, keep_square = adam.square_decay;
  const float rate = adam.rate / adam.mean_correction;
  const float root = 1 / __builtin_sqrtf(adam.square_correction);
  float* const __restrict value = array.value;
  float* const __restrict mean = array.mean;
  float* const __restrict square = array.square;
  const float* const __restrict grad = array.grad;
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
  const Pieces pieces(adam.num_arrays, [&](int64_t i) { return adam.arrays[i].size; });
  if (!pieces.ok()) return false;
  ParallelFor(parallel, pieces.CountOfParts(), [&](int64_t part) {
    pieces.ForPart(part, [&](int64_t array, int64_t begin, int64_t end) {
      UpdatePiece(adam, adam.arrays[array], begin, end);
    });
  });
  return true;
}

}  // namespace RASTERIZER_ISA
}  // namespace layers
