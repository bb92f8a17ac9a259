// The arguments of the networks' kernels.
//
// Every kernel is compiled once per instruction set (see CMakeLists.txt) and chosen at run time. All
// arrays are dense and of float32 unless said. Products may be fused with sums, so the last bits
// depend on the instruction set, but never on the number of threads.

#ifndef PONY_JAX_KERNELS_CPU_NETWORKS_H_
#define PONY_JAX_KERNELS_CPU_NETWORKS_H_

#include <cstdint>

#include "rasterizer_ffi/cpu/parallel.h"

namespace pony {

using rasterizer::Parallel;

// Points that are worked on together; the arrays of kept layers hold whole blocks.
constexpr int64_t kBlock = 96;
// Kept layers have their width rounded up to this.
constexpr int64_t kWidthMultiple = 16;

inline int64_t RoundUp(int64_t size, int64_t multiple) {
  return (size + multiple - 1) / multiple * multiple;
}

// A network on points: embedding, a layer with bias, layers without, a linear one; rectifiers
// between them. See pony_jax/ops/mlp.py.
struct Mlp {
  int64_t points;     // n
  int64_t used;       // of them; those beyond are padding, whose values and gradients are 0
  int64_t inputs;     // e, width of the embedding
  int64_t hidden;     // d
  int64_t middle;     // l, layers from d to d
  int64_t outputs;    // o
  int64_t images;     // b, rows of `condition`; 0: there is none
  bool image_a_point;  // whether a point belongs to one image; otherwise all images see all points
  int64_t frequencies;
  double scale;             // angular frequency of the first octave
  const float* point;       // [n, 3]
  const float* first;       // [e, d]
  const float* bias;        // [d]
  const float* mid;         // [l, d, d]
  const float* last;        // [d, o]
  const float* condition;   // [b, d], added before the rectifier of the first of `mid`
  const int32_t* image;     // [n] if image_a_point

  // How often a point goes through the layers after the one with the condition.
  int64_t Slots() const { return images > 0 && !image_a_point ? images : 1; }
  int64_t Blocks() const { return (used + kBlock - 1) / kBlock; }
  // There is room for the kept layers of all points.
  int64_t KeptSize() const { return (points + kBlock - 1) / kBlock * KeptOfBlock(); }
  int64_t Width() const { return RoundUp(hidden, kWidthMultiple); }
  // Floats that the forward pass keeps for the gradient, of a block: the first layer, the second
  // (before its rectifier if it has a condition), and the later ones of every slot.
  int64_t KeptOfBlock() const {
    const int64_t later = middle > 1 ? (middle - 1) * Slots() : 0;
    return (1 + (middle > 0) + later) * kBlock * Width();
  }
};

struct MlpForward {
  Mlp mlp;
  float* out;   // [n, o], or [b, n, o] where all images see all points
  float* kept;  // Blocks() * KeptOfBlock(), or null
};

struct MlpBackward {
  Mlp mlp;
  const float* kept;
  const float* grad_out;
  // Gradients of the arrays of `mlp`, of their shapes.
  float* grad_point;
  float* grad_first;
  float* grad_bias;
  float* grad_mid;
  float* grad_last;
  float* grad_condition;
};

// A convolution of images [b, h, w, c] without bias.
struct Convolution {
  int64_t images, height, width, inputs;
  int64_t kernel_height, kernel_width, outputs;
  int64_t stride, padding;  // the same along both axes; padding with zeros at every side

  int64_t OutHeight() const { return (height + 2 * padding - kernel_height) / stride + 1; }
  int64_t OutWidth() const { return (width + 2 * padding - kernel_width) / stride + 1; }
};

struct ConvolutionForward {
  Convolution shape;
  const float* x;       // [b, h, w, i]
  const float* kernel;  // [kh, kw, i, o]
  float* out;           // [b, oh, ow, o]
};

struct ConvolutionGradX {
  Convolution shape;
  const float* kernel;
  const float* grad_out;
  float* grad_x;
};

struct ConvolutionGradKernel {
  Convolution shape;
  const float* x;
  const float* grad_out;
  float* grad_kernel;
};

// x + gelu(convolution of the normalised x + bias): each pixel's channels are normalised to mean 0
// and variance 1, then scaled and shifted. Channels are a multiple of kWidthMultiple; kernels have
// 3 x 3 taps, stride and padding are 1.
struct ConvBlock {
  Convolution shape;
  float epsilon;       // added to variances
  const float* x;      // [b, h, w, c]
  const float* scale;  // [c]
  const float* shift;  // [c]
  const float* kernel;
  const float* bias;  // [c]
};

struct ConvBlockForward {
  ConvBlock block;
  float* out;   // [b, h, w, c]
  float* kept;  // slopes of gelu, of the same shape; or null
};

struct ConvBlockBackward {
  ConvBlock block;
  const float* kept;
  const float* grad_out;
  // Gradients of the arrays of `block`, of their shapes.
  float* grad_x;
  float* grad_scale;
  float* grad_shift;
  float* grad_kernel;
  float* grad_bias;
};

// A dense layer on normalised rows: each is brought to mean 0 and variance 1, then scaled and
// shifted. Inputs are a multiple of kWidthMultiple.
struct NormDense {
  int64_t rows, inputs, outputs;
  float epsilon;        // added to variances
  const float* x;       // [n, c]
  const float* scale;   // [c]
  const float* shift;   // [c]
  const float* kernel;  // [c, o]
  const float* bias;    // [o]
};

struct NormDenseForward {
  NormDense layer;
  float* out;  // [n, o]
};

struct NormDenseBackward {
  NormDense layer;
  const float* grad_out;
  // Gradients of the arrays of `layer`, of their shapes.
  float* grad_x;
  float* grad_scale;
  float* grad_shift;
  float* grad_kernel;
  float* grad_bias;
};

}  // namespace pony

#endif  // PONY_JAX_KERNELS_CPU_NETWORKS_H_
