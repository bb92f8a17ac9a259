// The gelu of sums of two arrays and a bias.

#include "gelu.h"

namespace layers {
namespace RASTERIZER_ISA {

bool ForwardGeluSum(const GeluSumForward& args, const Parallel& parallel) {
  const int64_t channels = args.channels, parts = CountParts(args.rows);
  ParallelFor(parallel, parts, [&](int64_t part) {
    const int64_t end = PartBegin(args.rows, parts, part + 1) * channels;
    for (int64_t row = PartBegin(args.rows, parts, part) * channels; row < end; row += channels) {
      for (int64_t j = 0; j < channels; j += kLanes) {
        const Vec first = LoadVec(args.first + row + j) + LoadVec(args.bias + j);
        const Activation gelu = Gelu(first + LoadVec(args.second + row + j));
        StoreVec(args.out + row + j, gelu.value);
        if (args.kept != nullptr) StoreVec(args.kept + row + j, gelu.slope);
      }
    }
  });
  return true;
}

bool BackwardGeluSum(const GeluSumBackward& args, const Parallel& parallel) {
  const int64_t channels = args.channels, parts = CountParts(args.rows);
  const Scratch<float> sums(parts * channels);
  if (!sums.ok()) return false;
  ParallelFor(parallel, parts, [&](int64_t part) {
    const int64_t begin = PartBegin(args.rows, parts, part);
    const int64_t count = PartBegin(args.rows, parts, part + 1) - begin;
    const int64_t first = begin * channels;
    for (int64_t i = first; i < first + count * channels; i += kLanes) {
      StoreVec(args.grad + i, LoadVec(args.grad_out + i) * LoadVec(args.kept + i));
    }
    float* const own = sums.get() + part * channels;
    std::memset(own, 0, static_cast<size_t>(channels) * sizeof(float));
    AddRows(args.grad + first, count, channels, own);
  });
  AddParts(sums.get(), parts, channels, parallel);
  std::memcpy(args.grad_bias, sums.get(), static_cast<size_t>(channels) * sizeof(float));
  return true;
}

}  // namespace RASTERIZER_ISA
}  // namespace layers
