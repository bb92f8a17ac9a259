// Texture lookups and their gradients; shared/lookup.h says what happens at a pixel.

#ifndef RASTERIZER_FFI_CUDA_TEXTURE_H_
#define RASTERIZER_FFI_CUDA_TEXTURE_H_

#include "../shared/lookup.h"
#include "device.h"

namespace rasterizer {
namespace RASTERIZER_ISA {
namespace {

// The index is of [B,H,W].
struct Texture {
  TextureForward args;
  Levels levels;

  RASTERIZER_HD void operator()(int64_t i) const { ForwardPixel(args, levels, i); }
};

// The index is of [B,H,W].
struct TextureGradient {
  TextureBackward args;
  Levels levels;

  RASTERIZER_HD void operator()(int64_t i) const {
    const TextureForward& forward = args.forward;
    const int64_t texture = forward.num_textures == 1 ? 0 : i / forward.num_pixels;
    BackwardPixel(args, levels, i,
                  args.grad_stack + texture * levels.texels * forward.num_channels, AtomicAdd());
  }
};

template <class Device>
bool ForwardTexture(const TextureForward& args, Device& device) {
  device.ForEach(args.num_images * args.num_pixels, Texture{args, Levels(args)});
  return true;
}

template <class Device>
bool BackwardTexture(const TextureBackward& args, Device& device) {
  const TextureForward& forward = args.forward;
  const Levels levels(forward);
  device.Fill(args.grad_stack, 0,
              forward.num_textures * levels.texels * forward.num_channels *
                  static_cast<int64_t>(sizeof(float)));
  device.ForEach(forward.num_images * forward.num_pixels, TextureGradient{args, levels});
  return true;
}

}  // namespace
}  // namespace RASTERIZER_ISA
}  // namespace rasterizer

#endif  // RASTERIZER_FFI_CUDA_TEXTURE_H_
