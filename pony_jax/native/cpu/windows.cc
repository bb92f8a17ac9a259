// Bilinear look-up in squares of points, and its gradients (ops/sampling.py). An image is one task.

#include "vectors.h"

namespace geometry {
namespace RASTERIZER_ISA {

bool ForwardWindows(const WindowsForward& args, const Parallel& parallel);
bool WindowsGradientOfMaps(const WindowsGradMaps& args, const Parallel& parallel);
bool WindowsGradientOfPositions(const WindowsGradPositions& args, const Parallel& parallel);

namespace {

// Along one axis, what the three pixels around the i-th point of a window weigh: those at
// first + i - 1, first + i and first + i + 1. The points lie a pixel apart, so that they share it.
struct Axis {
  int64_t first;
  float value[3], slope[3];

  Axis(float ndc, int64_t size, int64_t side) {
    float place = (ndc + 1.0f) * (0.5f * static_cast<float>(size)) - 0.5f -
                  0.5f * static_cast<float>(side - 1);
    // Not farther outside than nothing is seen from; NaN stays.
    const float low = static_cast<float>(-side - 1), high = static_cast<float>(size + 1);
    place = place < low ? low : place > high ? high : place;
    const float whole = __builtin_floorf(place), share = place - whole;
    first = whole == whole ? static_cast<int64_t>(whole) : 0;
    // At a pixel's middle the slopes to either side, half each.
    const float left = share > 0.0f ? 0.0f : -0.5f;
    value[0] = 0.0f, value[1] = 1.0f - share, value[2] = share;
    slope[0] = left, slope[1] = share > 0.0f ? -1.0f : 0.0f, slope[2] = 1.0f + left;
  }
};

// A square of pixels of a map, which may reach beyond it.
struct Square {
  const Windows& in;
  int64_t y, x, side;

  // Calls use(offset in the map, offset in the square, floats) for each row that lies in both.
  template <class Use>
  void ForRows(Use use) const {
    const int64_t left = Max(x, 0), right = Min(x + side, in.width);
    if (left >= right) return;
    for (int64_t row = Max(y, 0); row < Min(y + side, in.height); ++row) {
      use((row * in.width + left) * in.channels, ((row - y) * side + left - x) * in.channels,
          (right - left) * in.channels);
    }
  }
  int64_t Size() const { return side * side * in.channels; }

  // Its pixels, 0 outside of the map.
  void Load(const float* map, float* to) const {
    std::memset(to, 0, sizeof(float) * static_cast<size_t>(Size()));
    ForRows([&](int64_t in_map, int64_t in_square, int64_t count) {
      std::memcpy(to + in_square, map + in_map, sizeof(float) * static_cast<size_t>(count));
    });
  }
};

// Calls use(window, axis of y, axis of x) for all windows of an image.
template <class Use>
void ForWindows(const Windows& in, int64_t image, Use use) {
  for (int64_t i = image * in.windows; i < (image + 1) * in.windows; ++i) {
    use(i, Axis(in.position[2 * i + 1], in.height, in.side),
        Axis(in.position[2 * i], in.width, in.side));
  }
}

float DotOf(const float* a, const float* b, int64_t size) {
  Vec16 sums = {};
  int64_t i = 0;
  for (; i + 16 <= size; i += 16) {
    Vec16 left, right;
    std::memcpy(&left, a + i, sizeof left);
    std::memcpy(&right, b + i, sizeof right);
    sums += left * right;
  }
  float sum = 0.0f;
  for (int k = 0; k < 16; ++k) sum += sums[k];
  for (; i < size; ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

bool ForwardWindows(const WindowsForward& args, const Parallel& parallel) {
  const Windows& in = args.in;
  const int64_t pixels = in.side + 1, row = in.side * in.channels, step = pixels * in.channels;
  const Scratch<float> squares(in.images * pixels * step);
  if (!squares.ok()) return false;
  ParallelFor(parallel, in.images, [&](int64_t image) {
    float* const square = squares.get() + image * pixels * step;
    ForWindows(in, image, [&](int64_t window, const Axis& y, const Axis& x) {
      Square{in, y.first, x.first, pixels}.Load(in.map + image * in.MapSize(), square);
      const float a = y.value[1] * x.value[1], b = y.value[1] * x.value[2];
      const float c = y.value[2] * x.value[1], d = y.value[2] * x.value[2];
      for (int64_t i = 0; i < in.side; ++i) {
        const float* above = square + i * step;
        const float* below = above + step;
        float* out = args.out + (window * in.side + i) * row;
        for (int64_t q = 0; q < row; ++q) {
          out[q] = a * above[q] + b * above[q + in.channels] + c * below[q] +
                   d * below[q + in.channels];
        }
      }
    });
  });
  return true;
}

bool WindowsGradientOfMaps(const WindowsGradMaps& args, const Parallel& parallel) {
  const Windows& in = args.in;
  const int64_t pixels = in.side + 1, row = in.side * in.channels, step = pixels * in.channels;
  const Scratch<float> squares(in.images * pixels * step);
  if (!squares.ok()) return false;
  ParallelFor(parallel, in.images, [&](int64_t image) {
    float* const square = squares.get() + image * pixels * step;
    float* const grad_map = args.grad_map + image * in.MapSize();
    std::memset(grad_map, 0, sizeof(float) * static_cast<size_t>(in.MapSize()));
    ForWindows(in, image, [&](int64_t window, const Axis& y, const Axis& x) {
      std::memset(square, 0, sizeof(float) * static_cast<size_t>(pixels * step));
      for (int64_t i = 0; i < in.side; ++i) {
        const float* grad = args.grad_out + (window * in.side + i) * row;
        for (int corner = 0; corner < 4; ++corner) {
          const float weight = y.value[1 + corner / 2] * x.value[1 + corner % 2];
          float* to = square + (i + corner / 2) * step + corner % 2 * in.channels;
          for (int64_t q = 0; q < row; ++q) to[q] += weight * grad[q];
        }
      }
      Square{in, y.first, x.first, pixels}.ForRows(
          [&](int64_t in_map, int64_t in_square, int64_t count) {
            for (int64_t q = 0; q < count; ++q) grad_map[in_map + q] += square[in_square + q];
          });
    });
  });
  return true;
}

bool WindowsGradientOfPositions(const WindowsGradPositions& args, const Parallel& parallel) {
  const Windows& in = args.in;
  const int64_t pixels = in.side + 2, row = in.side * in.channels, step = pixels * in.channels;
  const Scratch<float> squares(in.images * pixels * step);
  if (!squares.ok()) return false;
  ParallelFor(parallel, in.images, [&](int64_t image) {
    float* const square = squares.get() + image * pixels * step;
    ForWindows(in, image, [&](int64_t window, const Axis& y, const Axis& x) {
      Square{in, y.first - 1, x.first - 1, pixels}.Load(in.map + image * in.MapSize(), square);
      float by_y = 0.0f, by_x = 0.0f;
      for (int dy = 0; dy < 3; ++dy) {
        for (int dx = 0; dx < 3; ++dx) {
          float sum = 0.0f;
          for (int64_t i = 0; i < in.side; ++i) {
            sum += DotOf(args.grad_out + (window * in.side + i) * row,
                         square + (i + dy) * step + dx * in.channels, row);
          }
          by_y += y.slope[dy] * x.value[dx] * sum;
          by_x += y.value[dy] * x.slope[dx] * sum;
        }
      }
      args.grad_position[2 * window] = by_x * (0.5f * static_cast<float>(in.width));
      args.grad_position[2 * window + 1] = by_y * (0.5f * static_cast<float>(in.height));
    });
  });
  return true;
}

}  // namespace RASTERIZER_ISA
}  // namespace geometry
