// Convolutions of 3 x 3 taps by Winograd's minimal filtering F(2 x 2, 3 x 3): 16 products for 2 x 2
// outputs instead of 36. Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016.
//
// A tile of 4 x 4 inputs and the taps are each transformed to 4 x 4 places; at each place all tiles
// and all channels make one matrix product; a transform of the places gives 2 x 2 outputs. Gradients
// go back through the same steps.

#ifndef PONY_JAX_KERNELS_CPU_WINOGRAD_H_
#define PONY_JAX_KERNELS_CPU_WINOGRAD_H_

#include "padded.h"

namespace pony {
namespace RASTERIZER_ISA {
namespace {

constexpr int kPlaces = 16;
// Where the gradients of a tile's four outputs are simply added.
constexpr int kSumPlace = 5;

// The transforms along one axis. Each "Back" is the transpose, which gradients take.
inline void TransformInput(const Vec* x, Vec* places) {
  places[0] = x[0] - x[2];
  places[1] = x[1] + x[2];
  places[2] = x[2] - x[1];
  places[3] = x[1] - x[3];
}
inline void TransformInputBack(const Vec* places, Vec* x) {
  x[0] = places[0];
  x[1] = places[1] - places[2] + places[3];
  x[2] = places[1] + places[2] - places[0];
  x[3] = -places[3];
}
inline void TransformTaps(const Vec* taps, Vec* places) {
  const Vec outer = 0.5f * (taps[0] + taps[2]), middle = 0.5f * taps[1];
  places[0] = taps[0];
  places[1] = outer + middle;
  places[2] = outer - middle;
  places[3] = taps[2];
}
inline void TransformTapsBack(const Vec* places, Vec* taps) {
  const Vec both = 0.5f * (places[1] + places[2]);
  taps[0] = places[0] + both;
  taps[1] = 0.5f * (places[1] - places[2]);
  taps[2] = both + places[3];
}
inline void TransformOutput(const Vec* places, Vec* out) {
  out[0] = places[0] + places[1] + places[2];
  out[1] = places[1] - places[2] - places[3];
}
inline void TransformOutputBack(const Vec* out, Vec* places) {
  places[0] = out[0];
  places[1] = out[0] + out[1];
  places[2] = out[0] - out[1];
  places[3] = -out[1];
}

// A transform along both axes of a square of `From` by `From` vectors, row by row.
template <int From, int To, void (*kTransform)(const Vec*, Vec*)>
inline __attribute__((always_inline)) void OnSquare(const Vec* from, Vec* to) {
  Vec rows[From * To];
#pragma GCC unroll 4
  for (int i = 0; i < From; ++i) kTransform(from + i * From, rows + i * To);
#pragma GCC unroll 4
  for (int j = 0; j < To; ++j) {
    Vec column[From], result[To];
#pragma GCC unroll 4
    for (int i = 0; i < From; ++i) column[i] = rows[i * To + j];
    kTransform(column, result);
#pragma GCC unroll 4
    for (int i = 0; i < To; ++i) to[i * To + j] = result[i];
  }
}

// The tiles of an image of `channels`, a multiple of kLanes, that keeps its size: a part of them at a
// time, so that their places stay in the cache.
class WinogradTiles {
 public:
  explicit WinogradTiles(const Convolution& c)
      : channels(c.inputs), image_{c.height, c.width, c.inputs, 0, 0},
        columns_((c.width + 1) / 2), count_((c.height + 1) / 2 * columns_) {}

  const int64_t channels;

  // The image with all that tiles look at: one pixel around it, and one more after an odd side.
  Padded padded() const {
    return {image_.height, image_.width, channels, 1 + image_.height % 2, 1 + image_.width % 2};
  }
  // Floats of the places of a part, the products of all places one after the other. A vector lies
  // between them: places a power of two apart would share the same few lines of a cache.
  int64_t PlacesSize() const { return kPlaces * PlaceStep(); }
  int64_t PlaceStep() const { return kTilesOfPart * channels + kLanes; }

  // Calls use(first tile, number of tiles) for each part.
  template <class Use>
  void ForParts(Use use) const {
    const int64_t parts = (count_ + kTilesOfPart - 1) / kTilesOfPart;
    for (int64_t i = 0; i < parts; ++i) {
      const int64_t first = PartBegin(count_, parts, i);
      use(first, PartBegin(count_, parts, i + 1) - first);
    }
  }

  // From a padded image to places.
  void FromInput(const float* x, int64_t first, int64_t count, float* places) const {
    const int64_t step = PlaceStep();
    ForVectors(first, count, [=, padded = padded()](int64_t row, int64_t column, int64_t channel,
                                                    int64_t at) {
      const float* const corner = x + padded.Pixel(row - 1, column - 1) + channel;
      Vec pixels[16], transformed[kPlaces];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) {
        pixels[i] = LoadVec(corner + i / 4 * padded.Step() + i % 4 * padded.channels);
      }
      OnSquare<4, 4, TransformInput>(pixels, transformed);
      StorePlaces(transformed, step, places + at);
    });
  }
  // Adds places to a padded image, where tiles overlap.
  void AddToInput(const float* places, int64_t first, int64_t count, float* x) const {
    const int64_t step = PlaceStep();
    ForVectors(first, count, [=, padded = padded()](int64_t row, int64_t column, int64_t channel,
                                                    int64_t at) {
      float* const corner = x + padded.Pixel(row - 1, column - 1) + channel;
      Vec transformed[kPlaces], pixels[16];
      LoadPlaces(places + at, step, transformed);
      OnSquare<4, 4, TransformInputBack>(transformed, pixels);
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) {
        float* const pixel = corner + i / 4 * padded.Step() + i % 4 * padded.channels;
        StoreVec(pixel, LoadVec(pixel) + pixels[i]);
      }
    });
  }
  // Calls store(offset in the image, channel, value) for each vector of the result.
  template <class Store>
  void ToOutput(const float* places, int64_t first, int64_t count, Store store) const {
    const int64_t step = PlaceStep();
    ForVectors(first, count, [=, image = image_](int64_t row, int64_t column, int64_t channel,
                                                 int64_t at) {
      Vec transformed[kPlaces], out[4];
      LoadPlaces(places + at, step, transformed);
      OnSquare<4, 2, TransformOutput>(transformed, out);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const int64_t y = row + i / 2, x = column + i % 2;
        if (y < image.height && x < image.width) {
          store(image.Pixel(y, x) + channel, channel, out[i]);
        }
      }
    });
  }
  // The gradient of the result's places, from load(offset in the image) of each vector of its own.
  template <class Load>
  void FromOutput(Load load, int64_t first, int64_t count, float* places) const {
    const int64_t step = PlaceStep();
    ForVectors(first, count, [=, image = image_](int64_t row, int64_t column, int64_t channel,
                                                 int64_t at) {
      Vec grad[4], transformed[kPlaces];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const int64_t y = row + i / 2, x = column + i % 2;
        const bool inside = y < image.height && x < image.width;
        grad[i] = inside ? load(image.Pixel(y, x) + channel) : Vec{};
      }
      OnSquare<2, 4, TransformOutputBack>(grad, transformed);
      StorePlaces(transformed, step, places + at);
    });
  }

 private:
  static constexpr int64_t kTilesOfPart = 64;

  // Calls use(row, column, channel, offset in a place) for each vector of tiles; row and column are
  // those of a tile's first output.
  template <class Use>
  __attribute__((flatten, noinline)) void ForVectors(int64_t first, int64_t count, Use use) const {
    const int64_t columns = 2 * columns_, channels = this->channels;
    int64_t row = 2 * (first / columns_), column = 2 * (first % columns_);
    for (int64_t tile = 0; tile < count; ++tile) {
      for (int64_t channel = 0; channel < channels; channel += kLanes) {
        use(row, column, channel, tile * channels + channel);
      }
      column += 2;
      if (column == columns) row += 2, column = 0;
    }
  }

  static void LoadPlaces(const float* from, int64_t step, Vec* places) {
#pragma GCC unroll 16
    for (int i = 0; i < kPlaces; ++i) places[i] = LoadVec(from + i * step);
  }
  static void StorePlaces(const Vec* places, int64_t step, float* to) {
#pragma GCC unroll 16
    for (int i = 0; i < kPlaces; ++i) StoreVec(to + i * step, places[i]);
  }

  const Padded image_;
  const int64_t columns_, count_;
};

// The taps [3, 3, c, c] at each place, as right factors.
class WinogradTaps {
 public:
  static int64_t Size(int64_t channels) { return kPlaces * channels * channels; }

  // `transposed`: for gradients. `data` is of Size.
  WinogradTaps(const float* taps, int64_t channels, bool transposed, float* data,
               const Parallel& parallel)
      : channels_(channels), data_(data) {
    const int64_t row_step = transposed ? 1 : channels, column_step = transposed ? channels : 1;
    const int64_t parts = CountParts(channels);
    ParallelFor(parallel, parts, [&](int64_t part) {
      const int64_t begin = PartBegin(channels, parts, part);
      const int64_t end = PartBegin(channels, parts, part + 1);
      ForPanels(channels, [&](int64_t column, int vectors) {
        for (int64_t i = begin * vectors; i < end * vectors; ++i) {
          const int64_t row = i / vectors, v = i % vectors;
          const float* const from = taps + row * row_step + (column + v * kLanes) * column_step;
          Vec square[9], transformed[kPlaces];
          for (int k = 0; k < 9; ++k) {
            square[k] = Gather(from + k * channels * channels, column_step);
          }
          OnSquare<3, 4, TransformTaps>(square, transformed);
          float* const to = data + column * channels + i * kLanes;
          for (int k = 0; k < kPlaces; ++k) {
            StoreVec(to + k * channels * channels, transformed[k]);
          }
        }
      });
    });
  }

  // out = rows @ taps, at a place.
  void Apply(int place, const float* rows, int64_t count, float* out) const {
    const Panels taps = {channels_, channels_, data_ + place * channels_ * channels_};
    Multiply(rows, channels_, count, taps,
             [=, step = channels_](int64_t row, int64_t column, Vec sums) {
               StoreVec(out + row * step + column, sums);
             });
  }

  // The gradient of the taps [3, 3, c, c] from that of their places [16, c, c].
  static void Gradient(const float* places, int64_t channels, float* grad) {
    const int64_t size = channels * channels;
    for (int64_t at = 0; at < size; at += kLanes) {
      Vec transformed[kPlaces], square[9];
      for (int i = 0; i < kPlaces; ++i) transformed[i] = LoadVec(places + i * size + at);
      OnSquare<4, 3, TransformTapsBack>(transformed, square);
      for (int i = 0; i < 9; ++i) {
        StoreVec(grad + i * size + at, square[i]);
      }
    }
  }

 private:
  static Vec Gather(const float* from, int64_t step) {
    if (step == 1) return LoadVec(from);
    float values[kLanes];
    for (int i = 0; i < kLanes; ++i) values[i] = from[i * step];
    return LoadVec(values);
  }

  int64_t channels_;
  float* data_;
};

}  // namespace
}  // namespace RASTERIZER_ISA
}  // namespace pony

#endif  // PONY_JAX_KERNELS_CPU_WINOGRAD_H_
