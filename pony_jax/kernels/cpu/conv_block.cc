// Residual blocks of a convolution, by Winograd's minimal filtering, between a normalisation and a
// gelu, an image at a time.

#include "gelu.h"
#include "normalise.h"
#include "winograd.h"

namespace pony {
namespace RASTERIZER_ISA {
namespace {

inline Norm NormOf(const ConvBlock& block) {
  return {block.shape.inputs, block.epsilon, block.scale, block.shift};
}

// The normalised image, padded; notes the moments of its pixels unless null.
inline void Normalise(const ConvBlock& block, const Padded& padded, const float* image, float* out,
                      Moments* moments) {
  const Convolution& c = block.shape;
  const Norm norm = NormOf(block);
  padded.ClearBorder(out);
  for (int64_t i = 0; i < c.height * c.width; ++i) {
    const float* pixel = image + i * c.inputs;
    const Moments m = norm.MomentsOf(pixel);
    if (moments != nullptr) moments[i] = m;
    norm.Apply(pixel, m, out + padded.Pixel(i / c.width, i % c.width));
  }
}

}  // namespace

bool ForwardConvBlock(const ConvBlockForward& args, const Parallel& parallel) {
  const ConvBlock& block = args.block;
  const Convolution& c = block.shape;
  const int64_t size = c.height * c.width * c.inputs;
  const WinogradTiles tiles(c);
  const Padded padded = tiles.padded();
  const Scratch<float> packed(WinogradTaps::Size(c.inputs));
  if (!packed.ok()) return false;
  const WinogradTaps taps(block.kernel, c.inputs, false, packed.get(), parallel);
  const int64_t scratch_size = padded.Size() + 2 * tiles.PlacesSize();
  return ParallelWithScratch(parallel, c.images, scratch_size, [&](int64_t image, float* scratch) {
    float* const unit = scratch;
    float* const inputs = unit + padded.Size();
    float* const outputs = inputs + tiles.PlacesSize();
    const float* const x = block.x + image * size;
    float* const out = args.out + image * size;
    float* const kept = args.kept == nullptr ? nullptr : args.kept + image * size;
    Normalise(block, padded, x, unit, nullptr);
    tiles.ForParts([&](int64_t first, int64_t count) {
      tiles.FromInput(unit, first, count, inputs);
      for (int place = 0; place < kPlaces; ++place) {
        const int64_t at = place * tiles.PlaceStep();
        taps.Apply(place, inputs + at, count, outputs + at);
      }
      tiles.ToOutput(outputs, first, count, [=, bias = block.bias](int64_t at, int64_t channel,
                                                                   Vec sums) {
        const Activation gelu = Gelu(sums + LoadVec(bias + channel));
        if (kept != nullptr) StoreVec(kept + at, gelu.slope);
        StoreVec(out + at, LoadVec(x + at) + gelu.value);
      });
    });
  });
}

bool BackwardConvBlock(const ConvBlockBackward& args, const Parallel& parallel) {
  const ConvBlock& block = args.block;
  const Convolution& c = block.shape;
  const int64_t channels = c.inputs, size = c.height * c.width * channels;
  const int64_t taps_size = 9 * channels * channels;
  const int64_t parts = CountParts(c.images), sums_size = taps_size + 3 * channels;
  const WinogradTiles tiles(c);
  const Padded padded = tiles.padded();
  const Scratch<float> packed(WinogradTaps::Size(channels)), all_sums(parts * sums_size);
  const Scratch<Moments> all_moments(parts * c.height * c.width);
  if (!packed.ok() || !all_sums.ok() || !all_moments.ok()) return false;
  const Norm norm = NormOf(block);
  const WinogradTaps taps(block.kernel, channels, true, packed.get(), parallel);
  const int64_t scratch_size =
      2 * padded.Size() + 2 * tiles.PlacesSize() + WinogradTaps::Size(channels);
  const bool ok = ParallelWithScratch(parallel, parts, scratch_size, [&](int64_t part,
                                                                         float* scratch) {
    float* const sums = all_sums.get() + part * sums_size;
    float* const grad_scale = sums + taps_size;
    float* const grad_shift = grad_scale + channels;
    float* const grad_bias = grad_shift + channels;
    float* const unit = scratch;
    float* const grad_unit = unit + padded.Size();
    float* const inputs = grad_unit + padded.Size();
    float* const grads = inputs + tiles.PlacesSize();
    float* const grad_taps = grads + tiles.PlacesSize();
    Moments* const moments = all_moments.get() + part * c.height * c.width;
    std::memset(grad_scale, 0, static_cast<size_t>(3 * channels) * sizeof(float));
    bool fresh = true;  // what is summed over all tiles of the part
    const int64_t end = PartBegin(c.images, parts, part + 1);
    for (int64_t image = PartBegin(c.images, parts, part); image < end; ++image) {
      const float* const x = block.x + image * size;
      const float* const grad_out = args.grad_out + image * size;
      const float* const slopes = args.kept + image * size;
      float* const grad_x = args.grad_x + image * size;
      Normalise(block, padded, x, unit, moments);
      padded.Clear(grad_unit);
      tiles.ForParts([&](int64_t first, int64_t count) {
        tiles.FromInput(unit, first, count, inputs);
        tiles.FromOutput([=](int64_t at) { return LoadVec(grad_out + at) * LoadVec(slopes + at); },
                         first, count, grads);
        AddRows(grads + kSumPlace * tiles.PlaceStep(), count, channels, grad_bias);
        for (int place = 0; place < kPlaces; ++place) {
          float* const input = inputs + place * tiles.PlaceStep();
          const float* const grad = grads + place * tiles.PlaceStep();
          AddTransposed(input, channels, channels, grad, channels, channels, count, fresh,
                        grad_taps + place * channels * channels);
          taps.Apply(place, grad, count, input);  // the input is no longer needed
        }
        fresh = false;
        tiles.AddToInput(inputs, first, count, grad_unit);
      });
      for (int64_t i = 0; i < c.height * c.width; ++i) {
        const int64_t pixel = i * channels;
        norm.Gradient(x + pixel, moments[i], grad_unit + padded.Pixel(i / c.width, i % c.width),
                      grad_scale, grad_shift, [=](int64_t channel, Vec grad) {
                        const int64_t at = pixel + channel;
                        StoreVec(grad_x + at, LoadVec(grad_out + at) + grad);
                      });
      }
    }
    if (fresh) {  // there was none
      std::memset(sums, 0, static_cast<size_t>(taps_size) * sizeof(float));
    } else {
      WinogradTaps::Gradient(grad_taps, channels, sums);
    }
  });
  if (!ok) return false;
  AddParts(all_sums.get(), parts, sums_size, parallel);
  const float* from = all_sums.get();
  const auto take = [&](int64_t count, float* to) {
    std::memcpy(to, from, static_cast<size_t>(count) * sizeof(float));
    from += count;
  };
  take(taps_size, args.grad_kernel);
  take(channels, args.grad_scale);
  take(channels, args.grad_shift);
  take(channels, args.grad_bias);
  return true;
}

}  // namespace RASTERIZER_ISA
}  // namespace pony
