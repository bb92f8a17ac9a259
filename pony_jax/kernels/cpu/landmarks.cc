// Where the tips of the spine and the feet are in meshes (ops/bones.py).

#include "vectors.h"

namespace pony {
namespace RASTERIZER_ISA {

bool FindLandmarks(const Landmarks& args, const Parallel& parallel);

namespace {

// Whole numbers in the order of the floats that they are made of.
inline uint32_t KeyOf(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}

inline float FloatOf(uint32_t key) {
  const uint32_t bits = key >> 31 ? key ^ 0x80000000u : ~key;
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

constexpr int kDigit = 11;  // bits looked at in a round
constexpr int kBins = 1 << kDigit;

// The key at a rank: its bits are found from the highest on, by counting in which bin it lies. Those
// of its bin, for the next round, go to `some`, of `size` as well.
uint32_t KeyAtRank(const uint32_t* keys, int64_t size, int64_t rank, uint32_t* some) {
  uint32_t found = 0;
  for (int shift = 32 - kDigit;; shift = shift > kDigit ? shift - kDigit : 0) {
    const auto bin_of = [=](uint32_t key) { return key >> shift & (kBins - 1); };
    int32_t bins[kBins] = {};
    for (int64_t i = 0; i < size; ++i) ++bins[bin_of(keys[i])];
    uint32_t bin = 0;
    for (; rank >= bins[bin]; ++bin) rank -= bins[bin];
    found |= bin << shift;
    if (shift == 0) return found;
    int64_t count = 0;
    for (int64_t i = 0; i < size; ++i) {
      const uint32_t key = keys[i];
      some[count] = key;
      count += bin_of(key) == bin;
    }
    keys = some;
    size = count;
  }
}

// Distance between the 5 % and the 95 % quantiles of x of all valid vertices of all images.
float WidthOf(const Landmarks& args, uint32_t* keys, uint32_t* some) {
  int64_t size = 0;
  for (int64_t image = 0; image < args.images; ++image) {
    const float* const vertex = args.vertex + 3 * image * args.vertices;
    for (int64_t v = 0; v < args.vertices; ++v) {
      if (args.valid[v] != 0) keys[size++] = KeyOf(vertex[3 * v]);
    }
  }
  if (size == 0) return 0.0f;
  float quantile[2];
  for (int i = 0; i < 2; ++i) {
    const float position = (i == 0 ? 0.05f : 0.95f) * static_cast<float>(size - 1);
    const int64_t low = Min(static_cast<int64_t>(position), size - 1);
    const float a = FloatOf(KeyAtRank(keys, size, low, some));
    const float c = FloatOf(KeyAtRank(keys, size, Min(low + 1, size - 1), some));
    quantile[i] = a + (c - a) * (position - static_cast<float>(low));
  }
  return quantile[1] - quantile[0];
}

void OfImage(const Landmarks& args, int64_t image, float margin) {
  const float* vertex = args.vertex + 3 * image * args.vertices;
  // In doubles: floats one after the other lose three bits in a mesh of thousands of vertices, and
  // the pose network reads bones through sines that magnify it.
  double sum[3] = {};
  int64_t count = 0;
  for (int64_t v = 0; v < args.vertices; ++v) {
    if (args.valid[v] == 0) continue;
    for (int k = 0; k < 3; ++k) sum[k] += vertex[3 * v + k];
    ++count;
  }
  float* mean = args.mean + 3 * image;
  for (int k = 0; k < 3; ++k) mean[k] = static_cast<float>(sum[k] / Max(count, 1));

  constexpr float kInfinity = __builtin_inff();
  const float floor = args.above_feet ? mean[1] - 0.5f : -kInfinity;
  float foremost = -kInfinity, hindmost = kInfinity;
  float low[4] = {kInfinity, kInfinity, kInfinity, kInfinity};
  int64_t tip[2] = {}, foot[4] = {};
  bool found[4] = {};
  for (int64_t v = 0; v < args.vertices; ++v) {
    if (args.valid[v] == 0) continue;
    const float x = vertex[3 * v], y = vertex[3 * v + 1], z = vertex[3 * v + 2];
    if (y > floor) {
      if (z > foremost) foremost = z, tip[0] = v;
      if (z < hindmost) hindmost = z, tip[1] = v;
    }
    if (z == 0.0f || !(x > margin || x < -margin)) continue;
    const int quadrant = x > margin ? (z > 0.0f ? 0 : 1) : (z > 0.0f ? 3 : 2);
    found[quadrant] = true;
    if (y < low[quadrant]) low[quadrant] = y, foot[quadrant] = v;
  }
  for (int i = 0; i < 2; ++i) {
    std::memcpy(args.tip + 3 * (2 * image + i), vertex + 3 * tip[i], 3 * sizeof(float));
  }
  for (int i = 0; i < 4; ++i) {
    std::memcpy(args.foot + 3 * (4 * image + i), vertex + 3 * foot[i], 3 * sizeof(float));
    args.found[4 * image + i] = found[i];
  }
}

}  // namespace

bool FindLandmarks(const Landmarks& args, const Parallel& parallel) {
  const int64_t size = args.images * args.vertices;
  const Scratch<uint32_t> keys(size), some(size);
  if (!keys.ok() || !some.ok()) return false;
  const float margin =
      static_cast<float>(args.margin) * WidthOf(args, keys.get(), some.get());
  ParallelFor(parallel, args.images, [&](int64_t image) { OfImage(args, image, margin); });
  return true;
}

}  // namespace RASTERIZER_ISA
}  // namespace pony
