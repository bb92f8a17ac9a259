// What a render has in common with its photograph, and the gradient of that
// (model/objective.py). An image is one task.

#include "vectors.h"

namespace geometry {
namespace RASTERIZER_ISA {

bool ForwardImageLosses(const ImageLossesForward& args, const Parallel& parallel);
bool BackwardImageLosses(const ImageLossesBackward& args, const Parallel& parallel);

namespace {

// Means over windows of 4, 8 and 16 pixels are means over four values of maps that are 2, 4 and 8
// times smaller.
constexpr int kLevels = 3;

// The maps of one image, from the largest on, and the gradients of their loss.
class Pyramid {
 public:
  static int64_t ScratchSize(const ImageLosses& in) { return 3 * in.HalfSize(); }

  Pyramid(const ImageLosses& in, float* scratch, float* largest_gradient) {
    int64_t height = in.HalfHeight(), width = in.HalfWidth();
    for (Level& level : levels_) {
      level = {height, width, scratch, largest_gradient};
      scratch += height * width;
      largest_gradient = scratch;
      scratch += height * width;
      height /= 2, width /= 2;
    }
    std::memset(levels_[0].value, 0, sizeof(float) * static_cast<size_t>(in.HalfSize()));
  }

  void Add(int64_t y, int64_t x, float value) {
    levels_[0].value[y / 2 * levels_[0].width + x / 2] += 0.25f * value;
  }

  // The loss; its gradient is then that of the largest map.
  double Loss() {
    double loss = 0.0;
    for (int i = 0; i < kLevels; ++i) {
      if (i > 0) levels_[i].Shrink(levels_[i - 1]);
      loss += levels_[i].Loss(static_cast<float>(4 << i));
    }
    for (int i = kLevels - 1; i > 0; --i) levels_[i].AddGradientTo(levels_[i - 1]);
    return loss;
  }

 private:
  struct Level {
    int64_t height, width;
    float *value, *grad;

    void Shrink(const Level& larger) {
      for (int64_t y = 0; y < height; ++y) {
        const float* const above = larger.value + 2 * y * larger.width;
        const float* const below = above + larger.width;
        for (int64_t x = 0; x < width; ++x) {
          value[y * width + x] = 0.25f * (above[2 * x] + above[2 * x + 1] + below[2 * x] +
                                          below[2 * x + 1]);
        }
      }
    }

    // The mean square over all neighbours in squares of four, times `weight`.
    double Loss(float weight) {
      std::memset(grad, 0, sizeof(float) * static_cast<size_t>(height * width));
      const int64_t squares = (height - 1) * (width - 1);
      const float slope = 0.5f * weight / static_cast<float>(squares);
      double sum = 0.0;
      for (int64_t y = 0; y + 1 < height; ++y) {
        float sum_of_row = 0.0f;
        for (int64_t x = 0; x + 1 < width; ++x) {
          const int64_t at = y * width + x;
          const float mean = 0.25f * ((value[at] + value[at + width]) +
                                      (value[at + 1] + value[at + width + 1]));
          sum_of_row += mean * mean;
          const float share = slope * mean;
          grad[at] += share, grad[at + 1] += share;
          grad[at + width] += share, grad[at + width + 1] += share;
        }
        sum += sum_of_row;
      }
      return weight * (sum / static_cast<double>(squares));
    }

    void AddGradientTo(const Level& larger) const {
      for (int64_t y = 0; y < larger.height; ++y) {
        for (int64_t x = 0; x < larger.width; ++x) {
          larger.grad[y * larger.width + x] += 0.25f * grad[y / 2 * width + x / 2];
        }
      }
    }
  };

  Level levels_[kLevels];
};

// Where render and mask overlap, less a rim of one pixel and the image's border.
void FindOverlap(const ImageLosses& in, int64_t image, bool* both, bool* overlap) {
  const int64_t first = image * in.Pixels(), width = in.width;
  for (int64_t i = 0; i < in.Pixels(); ++i) {
    both[i] = in.Coverage(first + i) * in.valid[first + i] > 0.0f && in.mask[first + i] > 0.0f;
  }
  std::memset(overlap, 0, static_cast<size_t>(in.Pixels()));
  for (int64_t y = 1; y + 1 < in.height; ++y) {
    for (int64_t x = 1; x + 1 < width; ++x) {
      const bool* const middle = both + y * width + x;
      bool all = true;
      for (const bool* row = middle - width; row <= middle + width; row += width) {
        all &= row[-1] & row[0] & row[1];
      }
      overlap[y * width + x] = all;
    }
  }
}

}  // namespace

bool ForwardImageLosses(const ImageLossesForward& args, const Parallel& parallel) {
  const ImageLosses& in = args.in;
  const int64_t maps_size = Pyramid::ScratchSize(in), features = in.channels - kFirstFeature;
  const Scratch<float> maps(in.images * maps_size);
  const Scratch<bool> all_both(in.images * in.Pixels());
  if (!maps.ok() || !all_both.ok()) return false;
  ParallelFor(parallel, in.images, [&](int64_t image) {
    const int64_t first = image * in.Pixels();
    FindOverlap(in, image, &all_both[first], args.overlap + first);
    Pyramid pyramid(in, &maps[image * maps_size], args.grad_pyramid + image * in.HalfSize());
    double sums[kImageLosses] = {};
    for (int64_t y = 0; y < in.height; ++y) {
      float of_row[kImageLosses] = {};
      for (int64_t x = 0; x < in.width; ++x) {
        const int64_t at = first + y * in.width + x;
        const float* const pixel = in.render + at * in.channels;
        const float coverage = in.Coverage(at);
        const float error = coverage * in.valid[at] - in.mask[at];
        pyramid.Add(y, x, error);
        of_row[kMask] += error * error;
        of_row[kMaskDistance] += coverage * in.outside[at];
        of_row[kMaskInverseDistance] += (1.0f - coverage) * in.inside[at];
        if (!args.overlap[at]) continue;
        for (int64_t c = 0; c < kCoverage; ++c) {
          of_row[kRgb] += __builtin_fabsf(pixel[c] - in.image[at * kCoverage + c]);
        }
        for (int64_t c = 0; c < features; ++c) {
          const float difference = pixel[kFirstFeature + c] - in.feature[at * features + c];
          of_row[kFeature] += difference * difference;
        }
      }
      for (int i = 0; i < kImageLosses; ++i) sums[i] += of_row[i];
    }
    sums[kMaskPyramid] = pyramid.Loss() * static_cast<double>(in.Pixels());
    for (int i = 0; i < kImageLosses; ++i) {
      const double size = static_cast<double>(in.Pixels() * in.ChannelsOf(i));
      args.out[image * kImageLosses + i] = static_cast<float>(sums[i] / size);
    }
  });
  return true;
}

bool BackwardImageLosses(const ImageLossesBackward& args, const Parallel& parallel) {
  const ImageLosses& in = args.in;
  const int64_t features = in.channels - kFirstFeature;
  ParallelFor(parallel, in.images, [&](int64_t image) {
    float share[kImageLosses];  // of one pixel's channel in the result
    for (int i = 0; i < kImageLosses; ++i) {
      share[i] = args.grad_out[image * kImageLosses + i] /
                 static_cast<float>(in.Pixels() * in.ChannelsOf(i));
    }
    const float of_pyramid = 0.25f * args.grad_out[image * kImageLosses + kMaskPyramid];
    for (int64_t y = 0; y < in.height; ++y) {
      const float* const pyramid =
          args.grad_pyramid + image * in.HalfSize() + y / 2 * in.HalfWidth();
      for (int64_t x = 0; x < in.width; ++x) {
        const int64_t at = image * in.Pixels() + y * in.width + x;
        const float* const pixel = in.render + at * in.channels;
        float* const grad = args.grad_render + at * in.channels;
        const float error = in.Coverage(at) * in.valid[at] - in.mask[at];
        const float by_error = 2.0f * share[kMask] * error + of_pyramid * pyramid[x / 2];
        std::memset(grad, 0, sizeof(float) * static_cast<size_t>(in.channels));
        grad[kCoverage] = by_error * in.valid[at] + share[kMaskDistance] * in.outside[at] -
                          share[kMaskInverseDistance] * in.inside[at];
        if (!args.overlap[at]) continue;
        for (int64_t c = 0; c < kCoverage; ++c) {
          // Where there is no error 1, like jnp.abs.
          grad[c] = pixel[c] >= in.image[at * kCoverage + c] ? share[kRgb] : -share[kRgb];
        }
        for (int64_t c = 0; c < features; ++c) {
          grad[kFirstFeature + c] = 2.0f * share[kFeature] *
                                    (pixel[kFirstFeature + c] - in.feature[at * features + c]);
        }
      }
    }
  });
  return true;
}

}  // namespace RASTERIZER_ISA
}  // namespace geometry
