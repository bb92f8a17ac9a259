// The places of flags that are set (ops/marching_tets.py). Memory is what it waits for.

#include "vectors.h"

namespace geometry {
namespace RASTERIZER_ISA {

bool CompactFlags(const Compact& args, const Parallel& parallel);

bool CompactFlags(const Compact& args, const Parallel&) {
  int32_t count = 0;
  int64_t i = 0;
  // While there is room every place is written down, and kept where its flag is set.
  for (; i < args.size && count < args.capacity; ++i) {
    args.position[count] = static_cast<int32_t>(i);
    count += args.flag[i];
    args.prefix[i] = count;
  }
  for (int64_t k = count; k < args.capacity; ++k) {
    args.position[k] = static_cast<int32_t>(args.size);
  }
  for (; i < args.size; ++i) args.prefix[i] = count += args.flag[i];
  return true;
}

}  // namespace RASTERIZER_ISA
}  // namespace geometry
