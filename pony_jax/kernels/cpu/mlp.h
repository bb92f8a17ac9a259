// Networks on points: their packed layers, blocks of points, and products with rectifiers.

#ifndef PONY_JAX_KERNELS_CPU_MLP_H_
#define PONY_JAX_KERNELS_CPU_MLP_H_

#include "embedding.h"
#include "tile.h"

namespace pony {
namespace RASTERIZER_ISA {
namespace {

// The layers, packed for products with rows; transposed, with rows of gradients.
class Weights {
 public:
  Weights(const Mlp& m, bool transposed)
      : hidden_(m.hidden), width_(m.Width()), bias_(m.Width()),
        data_((transposed ? m.hidden * RoundUp(m.inputs, kLanes) : m.inputs * width_) +
              m.middle * m.hidden * width_ +
              (transposed ? m.outputs * width_ : m.hidden * RoundUp(m.outputs, kLanes))) {
    if (!ok()) return;
    first_ = transposed ? Panels{m.hidden, RoundUp(m.inputs, kLanes), data_.get()}
                        : Panels{m.inputs, width_, data_.get()};
    Pack(first_, m.first, m.inputs, m.hidden, transposed);
    for (int64_t i = 0; i < m.middle; ++i) {
      Pack(mid(i), m.mid + i * m.hidden * m.hidden, m.hidden, m.hidden, transposed);
    }
    float* const end = mid(m.middle).data;
    last_ = transposed ? Panels{m.outputs, width_, end}
                       : Panels{m.hidden, RoundUp(m.outputs, kLanes), end};
    Pack(last_, m.last, m.hidden, m.outputs, transposed);
    for (int64_t j = 0; j < width_; ++j) bias_[j] = j < hidden_ ? m.bias[j] : 0.0f;
  }

  bool ok() const { return bias_.ok() && data_.ok(); }
  const float* bias() const { return bias_.get(); }
  const Panels& first() const { return first_; }
  const Panels& last() const { return last_; }
  Panels mid(int64_t layer) const {
    return {hidden_, width_, data_.get() + first_.size() + layer * hidden_ * width_};
  }

 private:
  static void Pack(const Panels& panels, const float* weights, int64_t inputs, int64_t outputs,
                   bool transposed) {
    if (transposed) {
      panels.Pack(0, outputs, inputs, weights, 1, outputs);
    } else {
      panels.Pack(0, inputs, outputs, weights, outputs, 1);
    }
  }

  int64_t hidden_, width_;
  Scratch<float> bias_, data_;
  Panels first_, last_;
};

// What the passes of both directions do with a block of points.
class Blocks {
 public:
  Blocks(const Mlp& m, const Embedding& embedding)
      : m_(m), embedding_(embedding), width_(m.Width()),
        conditions_((m.images + 1) * width_) {
    if (!ok()) return;
    for (int64_t i = 0; i < (m.images + 1) * width_; ++i) {
      const int64_t image = i / width_, j = i % width_;
      conditions_[i] =
          image < m.images && j < m.hidden ? m.condition[image * m.hidden + j] : 0.0f;
    }
  }

  bool ok() const { return embedding_.ok() && conditions_.ok(); }

  int64_t count(int64_t block) const {
    return Min(m_.used - block * kBlock, kBlock);
  }

  void Embed(int64_t block, float* x) const {
    const float* point = m_.point + 3 * block * kBlock;
    for (int64_t i = 0; i < count(block); ++i) {
      embedding_.Embed(point + 3 * i, x + i * embedding_.stride());
    }
  }

  // A kept layer, counted from the first: [rows, width]. Slots share the first two.
  template <class Float>
  Float* Layer(Float* kept, int64_t layer, int64_t slot) const {
    const int64_t place = layer < 2 ? layer : 2 + (layer - 2) * m_.Slots() + slot;
    return kept + place * kBlock * width_;
  }

  // What is kept of the next block, `size` floats beyond that of this one; wanted when the gradients
  // of the weights are summed over this one.
  Ahead KeptOfNext(int64_t block, const float* kept, int64_t size) const {
    const int64_t num_sums = (m_.inputs + m_.middle * m_.hidden) * width_;
    return {kept + size, block + 1 < m_.Blocks() ? size : 0, num_sums};
  }

  int64_t Image(int64_t block, int64_t row, int64_t slot) const {
    if (!m_.image_a_point) return slot;
    const int64_t image = m_.image[block * kBlock + row];
    return image >= 0 && image < m_.images ? image : -1;
  }

  // The second layer with its condition, rectified.
  void AddCondition(int64_t block, int64_t slot, const float* second, float* out) const {
    const int64_t width = width_;
    for (int64_t row = 0; row < count(block); ++row) {
      const int64_t image = Image(block, row, slot);
      const float* const condition = conditions_.get() + (image < 0 ? m_.images : image) * width;
      for (int64_t j = row * width, k = 0; k < width; j += kLanes, k += kLanes) {
        StoreVec(out + j, Rectified(LoadVec(second + j) + LoadVec(condition + k)));
      }
    }
  }

  // The rectified layer that a slot's layer `layer` + 1 reads; `conditioned` is that of the slot.
  const float* Input(const float* kept, int64_t layer, int64_t slot,
                     const float* conditioned) const {
    return layer == 1 && m_.images > 0 ? conditioned : Layer(kept, layer, slot);
  }

 private:
  const Mlp& m_;
  const Embedding& embedding_;
  int64_t width_;
  Scratch<float> conditions_;  // rows as wide as the layers; the last, of no image, is 0
};

// The first layer of embedded points.
inline void FirstLayer(const float* x, int64_t x_row, int64_t rows, const Weights& weights,
                       float* out) {
  const float* const bias = weights.bias();
  const int64_t width = weights.first().width;
  Multiply(x, x_row, rows, weights.first(), [=](int64_t row, int64_t column, Vec sums) {
    StoreVec(out + row * width + column, Rectified(sums + LoadVec(bias + column)));
  });
}

inline void RectifiedProduct(const float* a, int64_t a_row, int64_t rows, const Panels& weights,
                             float* out) {
  const int64_t width = weights.width;
  Multiply(a, a_row, rows, weights, [=](int64_t row, int64_t column, Vec sums) {
    StoreVec(out + row * width + column, Rectified(sums));
  });
}

// Gradients that reach a layer, or tangents that do: none where the layer is not positive.
inline void MaskedProduct(const float* a, int64_t a_row, int64_t rows, const Panels& weights,
                          const float* layer, float* out) {
  const int64_t width = weights.width;
  Multiply(a, a_row, rows, weights, [=](int64_t row, int64_t column, Vec sums) {
    const int64_t at = row * width + column;
    StoreVec(out + at, LoadVec(layer + at) > 0.0f ? sums : Vec{});
  });
}

}  // namespace
}  // namespace RASTERIZER_ISA
}  // namespace pony

#endif  // PONY_JAX_KERNELS_CPU_MLP_H_
