// Sums of all values up to each one.

#ifndef RASTERIZER_FFI_CUDA_PREFIX_SUM_H_
#define RASTERIZER_FFI_CUDA_PREFIX_SUM_H_

#include "device.h"

namespace rasterizer {
namespace RASTERIZER_ISA {
namespace {

constexpr int64_t kSumBlock = 64;  // values that one thread adds up

struct SumBlock {
  const int64_t* values;
  int64_t size;
  int64_t* sums;  // out: of each block

  RASTERIZER_HD void operator()(int64_t block) const {
    const int64_t end = Min(size, (block + 1) * kSumBlock);
    int64_t sum = 0;
    for (int64_t i = block * kSumBlock; i < end; ++i) sum += values[i];
    sums[block] = sum;
  }
};

struct PrefixSumBlock {
  int64_t* values;
  int64_t size;
  const int64_t* sums;  // prefix sums of the blocks; null if there is one block

  RASTERIZER_HD void operator()(int64_t block) const {
    const int64_t end = Min(size, (block + 1) * kSumBlock);
    int64_t sum = block > 0 ? sums[block - 1] : 0;
    for (int64_t i = block * kSumBlock; i < end; ++i) {
      sum += values[i];
      values[i] = sum;
    }
  }
};

// Elements of scratch that PrefixSum needs.
inline int64_t PrefixSumScratch(int64_t size) {
  int64_t scratch = 0;
  while (size > kSumBlock) {
    size = (size + kSumBlock - 1) / kSumBlock;
    scratch += size;
  }
  return scratch;
}

// Replaces each value by the sum of all up to and including it.
template <class Device>
void PrefixSum(int64_t* values, int64_t size, int64_t* scratch, Device& device) {
  const int64_t blocks = (size + kSumBlock - 1) / kSumBlock;
  if (blocks > 1) {
    device.ForEach(blocks, SumBlock{values, size, scratch});
    PrefixSum(scratch, blocks, scratch + blocks, device);
  }
  device.ForEach(blocks, PrefixSumBlock{values, size, scratch});
}

}  // namespace
}  // namespace RASTERIZER_ISA
}  // namespace rasterizer

#endif  // RASTERIZER_FFI_CUDA_PREFIX_SUM_H_
