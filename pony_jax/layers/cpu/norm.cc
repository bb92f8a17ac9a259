// The norm of many arrays in one pass.

#include "pieces.h"

namespace layers {
namespace RASTERIZER_ISA {
namespace {

float SumOfSquares(const float* from, int64_t count) {
  Vec sums[4] = {};  // additions to one would wait for each other
  int64_t i = 0;
  for (; i + 4 * kLanes <= count; i += 4 * kLanes) {
    for (int k = 0; k < 4; ++k) {
      const Vec v = LoadVec(from + i + k * kLanes);
      sums[k] += v * v;
    }
  }
  float sum = Sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
  for (; i < count; ++i) sum += from[i] * from[i];
  return sum;
}

}  // namespace

bool ComputeNorm(const NormOfArrays& args, const Parallel& parallel) {
  const Pieces pieces(args.num_arrays, [&](int64_t i) { return args.sizes[i]; });
  const Scratch<double> sums(pieces.CountOfParts());
  if (!pieces.ok() || !sums.ok()) return false;
  ParallelFor(parallel, pieces.CountOfParts(), [&](int64_t part) {
    double sum = 0.0;
    pieces.ForPart(part, [&](int64_t array, int64_t begin, int64_t end) {
      sum += SumOfSquares(args.arrays[array] + begin, end - begin);
    });
    sums[part] = sum;
  });
  double total = 0.0;
  for (int64_t part = 0; part < pieces.CountOfParts(); ++part) total += sums[part];
  *args.out = static_cast<float>(__builtin_sqrt(total));
  return true;
}

}  // namespace RASTERIZER_ISA
}  // namespace layers
