// The gradient of a network with one output with respect to its points. A small change of the
// weights seldom switches a rectifier, so this gradient is a product of matrices. How it depends on
// one of them follows from what has come back to that layer and from a tangent that goes forward.

#include "mlp.h"

namespace layers {
namespace RASTERIZER_ISA {

namespace {

// Where the gradients of a part's weights are summed, rows as wide as the layers.
struct Sums {
  static int64_t Size(const Mlp& m) { return (m.inputs + m.middle * m.hidden + 1) * m.Width(); }

  Sums(const Mlp& m, float* data)
      : first(data), mid(first + m.inputs * m.Width()),
        last(mid + m.middle * m.hidden * m.Width()) {}

  // Clears what is added to from the beginning; a part's first block sets the rest, if it has one.
  void Begin(const Mlp& m) const {
    const int64_t size = m.Blocks() == 0 ? Size(m) : m.Width();
    std::memset(m.Blocks() == 0 ? first : last, 0, static_cast<size_t>(size) * sizeof(float));
  }

  float *first, *mid, *last;
};

}  // namespace

bool ForwardSpatialGradient(const SpatialGradientForward& args, const Parallel& parallel) {
  const Mlp& m = args.mlp;
  const Embedding embedding(m.frequencies, m.scale);
  const int64_t stride = embedding.stride(), width = m.Width();
  const Weights weights(m, false), transposed(m, true);
  const Blocks blocks(m, embedding);
  const int64_t parts = CountParts(m.Blocks()), kept_size = m.KeptOfSpatialGradient();
  const int64_t own_kept_size = args.kept != nullptr ? 0 : kept_size;
  const int64_t scratch_size = own_kept_size + 2 * kBlock * stride;
  if (!weights.ok() || !transposed.ok() || !blocks.ok()) return false;

  return ParallelWithScratch(parallel, parts, scratch_size, [&](int64_t part, float* own_kept) {
    float* const x = own_kept + own_kept_size;
    float* const grad_x = x + kBlock * stride;
    embedding.ClearGradients(kBlock, grad_x);
    const int64_t end = PartBegin(m.Blocks(), parts, part + 1);
    for (int64_t block = PartBegin(m.Blocks(), parts, part); block < end; ++block) {
      float* const kept = args.kept != nullptr ? args.kept + block * kept_size : own_kept;
      float* const grads = kept + m.KeptOfBlock();
      const int64_t count = blocks.count(block);
      blocks.Embed(block, x);
      FirstLayer(x, stride, count, weights, blocks.Layer(kept, 0, 0));
      for (int64_t layer = 1; layer <= m.middle; ++layer) {
        RectifiedProduct(blocks.Layer(kept, layer - 1, 0), width, count, weights.mid(layer - 1),
                         blocks.Layer(kept, layer, 0));
      }
      static constexpr float kOne = 1.0f;  // the gradient of every point's output
      MaskedProduct(&kOne, 0, count, transposed.last(), blocks.Layer(kept, m.middle, 0),
                    blocks.Layer(grads, m.middle, 0));
      for (int64_t layer = m.middle; layer > 0; --layer) {
        MaskedProduct(blocks.Layer(grads, layer, 0), width, count, transposed.mid(layer - 1),
                      blocks.Layer(kept, layer - 1, 0), blocks.Layer(grads, layer - 1, 0));
      }
      Multiply(blocks.Layer(grads, 0, 0), width, count, transposed.first(),
               [=](int64_t row, int64_t column, Vec sums) {
                 StoreVec(grad_x + row * stride + column, sums);
               });
      for (int64_t row = 0; row < count; ++row) {
        embedding.Gradient(x + row * stride, grad_x + row * stride,
                           args.out + 3 * (block * kBlock + row));
      }
    }
  });
}

bool BackwardSpatialGradient(const SpatialGradientBackward& args, const Parallel& parallel) {
  const Mlp& m = args.mlp;
  const Embedding embedding(m.frequencies, m.scale);
  const int64_t stride = embedding.stride(), width = m.Width();
  const Weights weights(m, false);
  const Blocks blocks(m, embedding);
  const int64_t parts = CountParts(m.Blocks()), sums_size = Sums::Size(m);
  const int64_t scratch_size = kBlock * (2 * stride + 2 * width);
  const Scratch<float> all_sums(parts * sums_size);
  if (!weights.ok() || !blocks.ok() || !all_sums.ok()) return false;

  const bool ok = ParallelWithScratch(parallel, parts, scratch_size, [&](int64_t part, float* x) {
    float* const own_sums = all_sums.get() + part * sums_size;
    const Sums sums(m, own_sums);
    sums.Begin(m);
    float* const tangent_x = x + kBlock * stride;
    float* tangent = tangent_x + kBlock * stride;
    float* tangent_above = tangent + kBlock * width;
    const int64_t begin = PartBegin(m.Blocks(), parts, part);
    const int64_t end = PartBegin(m.Blocks(), parts, part + 1);
    for (int64_t block = begin; block < end; ++block) {
      const bool fresh = block == begin;
      const float* const kept = args.kept + block * m.KeptOfSpatialGradient();
      const float* const grads = kept + m.KeptOfBlock();
      const int64_t count = blocks.count(block);
      Ahead ahead = blocks.KeptOfNext(block, kept, m.KeptOfSpatialGradient());
      blocks.Embed(block, x);
      for (int64_t row = 0; row < count; ++row) {
        embedding.Tangent(x + row * stride, args.grad_out + 3 * (block * kBlock + row),
                          tangent_x + row * stride);
      }
      AddTransposed(tangent_x, stride, m.inputs, blocks.Layer(grads, 0, 0), width, width, count,
                    fresh, sums.first, &ahead);
      MaskedProduct(tangent_x, stride, count, weights.first(), blocks.Layer(kept, 0, 0), tangent);
      for (int64_t layer = 1; layer <= m.middle; ++layer) {
        AddTransposed(tangent, width, m.hidden, blocks.Layer(grads, layer, 0), width, width, count,
                      fresh, sums.mid + (layer - 1) * m.hidden * width, &ahead);
        MaskedProduct(tangent, width, count, weights.mid(layer - 1), blocks.Layer(kept, layer, 0),
                      tangent_above);
        float* const other = tangent;
        tangent = tangent_above;
        tangent_above = other;
      }
      AddRows(tangent, count, width, sums.last);
    }
  });

  if (!ok) return false;
  AddParts(all_sums.get(), parts, sums_size, parallel);
  const Sums sums(m, all_sums.get());
  CopyRows(sums.first, width, m.inputs, m.hidden, args.grad_first);
  CopyRows(sums.mid, width, m.middle * m.hidden, m.hidden, args.grad_mid);
  CopyRows(sums.last, width, 1, m.hidden, args.grad_last);
  return true;
}

}  // namespace RASTERIZER_ISA
}  // namespace layers
