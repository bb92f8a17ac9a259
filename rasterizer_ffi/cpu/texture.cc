// Texture lookups and their gradients, pixel by pixel; shared/lookup.h says what happens at a pixel.

#include "../shared/lookup.h"
#include "accumulate.h"

namespace rasterizer {
namespace RASTERIZER_ISA {
namespace {

constexpr int64_t kTaskPixels = 2048;

}  // namespace

bool ForwardTexture(const TextureForward& args, const Parallel& parallel) {
  const Levels levels(args);
  const int64_t pixels = args.num_images * args.num_pixels;
  const int64_t tasks = (pixels + kTaskPixels - 1) / kTaskPixels;
  ParallelFor(parallel, tasks, [&](int64_t task) {
    const int64_t end = PartBegin(pixels, tasks, task + 1);
    for (int64_t i = PartBegin(pixels, tasks, task); i < end; ++i) ForwardPixel(args, levels, i);
  });
  return true;
}

bool BackwardTexture(const TextureBackward& args, const Parallel& parallel) {
  const TextureForward& forward = args.forward;
  const Levels levels(forward);
  const int64_t targets = forward.num_textures;
  const int64_t pixels = forward.num_images * forward.num_pixels / Max(targets, int64_t{1});
  const VertexSums sums(args.grad_stack, targets, levels.texels * forward.num_channels, pixels,
                        /*width=*/1);
  if (!sums.ok()) return false;
  sums.Run(parallel, [&](int64_t target, int64_t begin, int64_t end, float* out) {
    for (int64_t i = begin; i < end; ++i) {
      BackwardPixel(args, levels, target * pixels + i, out, PlainAdd());
    }
  });
  return true;
}

}  // namespace RASTERIZER_ISA
}  // namespace rasterizer
