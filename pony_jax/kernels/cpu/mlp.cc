// Networks on points. All layers of a block of points are computed in one go, so that nothing but
// what the gradient needs leaves the cache.

#include "mlp.h"

namespace pony {
namespace RASTERIZER_ISA {

namespace {

// Where the gradients of a part's weights are summed, rows as wide as the layers. That of the last
// layer is transposed: it has few outputs.
struct Sums {
  static int64_t Size(const Mlp& m) {
    return (m.inputs + 1 + m.middle * m.hidden + m.outputs + m.images) * m.Width();
  }

  Sums(const Mlp& m, float* data)
      : width(m.Width()), first(data), bias(first + m.inputs * width), mid(bias + width),
        last(mid + m.middle * m.hidden * width), condition(last + m.outputs * width) {}

  // Clears what is added to from the beginning; a part's first block sets the rest, if it has one.
  void Begin(const Mlp& m) const {
    if (m.Blocks() == 0) {
      std::memset(first, 0, static_cast<size_t>(Size(m)) * sizeof(float));
      return;
    }
    std::memset(bias, 0, static_cast<size_t>(width) * sizeof(float));
    std::memset(condition, 0, static_cast<size_t>(m.images * width) * sizeof(float));
  }

  int64_t width;
  float *first, *bias, *mid, *last, *condition;
};

// Goes back through the layers of a block of points; one for each part of the points.
class BlockGradient {
 public:
  static int64_t ScratchSize(const Mlp& m, int64_t stride) {
    return kBlock * (2 * stride + 4 * m.Width());
  }

  BlockGradient(const MlpBackward& args, const Blocks& blocks, const Embedding& embedding,
                const Weights& transposed, float* sums, float* scratch)
      : args_(args), m_(args.mlp), blocks_(blocks), embedding_(embedding), transposed_(transposed),
        width_(m_.Width()), sums_(m_, sums), x_(scratch),
        grad_x_(x_ + kBlock * embedding.stride()),
        conditioned_(grad_x_ + kBlock * embedding.stride()),
        total_(conditioned_ + kBlock * width_), grad_(total_ + kBlock * width_),
        grad_below_(grad_ + kBlock * width_) {
    embedding.ClearGradients(kBlock, grad_x_);
  }

  // `first`: the sums have not begun.
  void Run(int64_t block, bool first) {
    const float* const kept = args_.kept + block * m_.KeptOfBlock();
    Ahead ahead = blocks_.KeptOfNext(block, kept, m_.KeptOfBlock());
    for (int64_t slot = 0; slot < m_.Slots(); ++slot) {
      ThroughSlot(block, slot, kept, first && slot == 0, &ahead);
      if (m_.images > 0) AddToCondition(block, slot);
      if (m_.Slots() == 1) continue;
      for (int64_t i = 0; i < blocks_.count(block) * width_; ++i) {
        total_[i] = (slot > 0 ? total_[i] : 0.0f) + grad_[i];
      }
    }
    ThroughFirst(block, kept, m_.Slots() > 1 ? total_ : grad_, first, &ahead);
  }

 private:
  // From the result to the layer that the condition is added to, whose gradient is then grad_.
  void ThroughSlot(int64_t block, int64_t slot, const float* kept, bool fresh, Ahead* ahead) {
    const int64_t count = blocks_.count(block), outputs = m_.outputs;
    if (m_.images > 0) {
      blocks_.AddCondition(block, slot, blocks_.Layer(kept, 1, 0), conditioned_);
    }
    const float* const grad_out =
        args_.grad_out + (slot * m_.points + block * kBlock) * outputs;
    const float* below = blocks_.Input(kept, m_.middle, slot, conditioned_);
    AddTransposed(grad_out, outputs, outputs, below, width_, width_, count, fresh, sums_.last);
    MaskedProduct(grad_out, outputs, count, transposed_.last(), below, grad_);
    for (int64_t layer = m_.middle; layer >= 2; --layer) {
      below = blocks_.Input(kept, layer - 1, slot, conditioned_);
      AddTransposed(below, width_, m_.hidden, grad_, width_, width_, count, fresh,
                    sums_.mid + (layer - 1) * m_.hidden * width_, ahead);
      MaskedProduct(grad_, width_, count, transposed_.mid(layer - 1), below, grad_below_);
      float* const other = grad_;
      grad_ = grad_below_;
      grad_below_ = other;
    }
  }

  void AddToCondition(int64_t block, int64_t slot) const {
    const int64_t count = blocks_.count(block);
    for (int64_t row = 0, end; row < count; row = end) {
      const int64_t image = blocks_.Image(block, row, slot);
      for (end = row + 1; end < count && blocks_.Image(block, end, slot) == image;) ++end;
      if (image < 0) continue;
      AddRows(grad_ + row * width_, end - row, width_, sums_.condition + image * width_);
    }
  }

  // Through the layers that all slots share, to the points.
  void ThroughFirst(int64_t block, const float* kept, const float* grad, bool fresh,
                    Ahead* ahead) {
    const int64_t count = blocks_.count(block), stride = embedding_.stride();
    if (m_.middle > 0) {
      const float* const first = blocks_.Layer(kept, 0, 0);
      AddTransposed(first, width_, m_.hidden, grad, width_, width_, count, fresh, sums_.mid,
                    ahead);
      MaskedProduct(grad, width_, count, transposed_.mid(0), first, grad_below_);
      grad = grad_below_;
    }
    AddRows(grad, count, width_, sums_.bias);
    blocks_.Embed(block, x_);
    AddTransposed(x_, stride, m_.inputs, grad, width_, width_, count, fresh, sums_.first, ahead);
    Multiply(grad, width_, count, transposed_.first(),
             [stride, to = grad_x_](int64_t row, int64_t column, Vec sums) {
               StoreVec(to + row * stride + column, sums);
             });
    for (int64_t row = 0; row < count; ++row) {
      embedding_.Gradient(x_ + row * stride, grad_x_ + row * stride,
                          args_.grad_point + 3 * (block * kBlock + row));
    }
  }

  const MlpBackward& args_;
  const Mlp& m_;
  const Blocks& blocks_;
  const Embedding& embedding_;
  const Weights& transposed_;
  int64_t width_;
  Sums sums_;
  // Rows of a block: embedded points, the layer with its condition, and gradients.
  float *x_, *grad_x_, *conditioned_;
  float* total_;  // of all slots, before the condition
  float *grad_, *grad_below_;
};

// Rows of points that are not used, in an array of `columns` with all points a slot.
inline void ClearPadding(const Mlp& m, int64_t slot, int64_t columns, float* out) {
  std::memset(out + (slot * m.points + m.used) * columns, 0,
              static_cast<size_t>((m.points - m.used) * columns) * sizeof(float));
}

}  // namespace

bool ForwardMlp(const MlpForward& args, const Parallel& parallel) {
  const Mlp& m = args.mlp;
  for (int64_t slot = 0; slot < m.Slots(); ++slot) ClearPadding(m, slot, m.outputs, args.out);
  const Embedding embedding(m.frequencies, m.scale);
  const Weights weights(m, false);
  const Blocks blocks(m, embedding);
  const int64_t parts = CountParts(m.Blocks()), width = m.Width();
  const int64_t kept_size = args.kept != nullptr ? 0 : m.KeptOfBlock();
  const int64_t scratch_size = kept_size + kBlock * (embedding.stride() + width);
  if (!weights.ok() || !blocks.ok()) return false;

  return ParallelWithScratch(parallel, parts, scratch_size, [&](int64_t part, float* own_kept) {
    float* const x = own_kept + kept_size;
    float* const conditioned = x + kBlock * embedding.stride();
    const int64_t end = PartBegin(m.Blocks(), parts, part + 1);
    for (int64_t block = PartBegin(m.Blocks(), parts, part); block < end; ++block) {
      float* const kept = args.kept != nullptr ? args.kept + block * m.KeptOfBlock() : own_kept;
      const int64_t count = blocks.count(block);
      blocks.Embed(block, x);
      float* const first = blocks.Layer(kept, 0, 0);
      FirstLayer(x, embedding.stride(), count, weights, first);
      if (m.images > 0) {
        float* const second = blocks.Layer(kept, 1, 0);
        Multiply(first, width, count, weights.mid(0), [=](int64_t row, int64_t column, Vec sums) {
          StoreVec(second + row * width + column, sums);
        });
      } else if (m.middle > 0) {
        RectifiedProduct(first, width, count, weights.mid(0), blocks.Layer(kept, 1, 0));
      }
      for (int64_t slot = 0; slot < m.Slots(); ++slot) {
        if (m.images > 0) {
          blocks.AddCondition(block, slot, blocks.Layer(kept, 1, 0), conditioned);
        }
        for (int64_t layer = 2; layer <= m.middle; ++layer) {
          RectifiedProduct(blocks.Input(kept, layer - 1, slot, conditioned), width, count,
                           weights.mid(layer - 1), blocks.Layer(kept, layer, slot));
        }
        float* const out = args.out + (slot * m.points + block * kBlock) * m.outputs;
        Multiply(blocks.Input(kept, m.middle, slot, conditioned), width, count, weights.last(),
                 [out, outputs = m.outputs](int64_t row, int64_t column, Vec sums) {
                   StoreSome(out + row * outputs + column, sums, outputs - column);
                 });
      }
    }
  });
}

bool BackwardMlp(const MlpBackward& args, const Parallel& parallel) {
  const Mlp& m = args.mlp;
  ClearPadding(m, 0, 3, args.grad_point);
  const Embedding embedding(m.frequencies, m.scale);
  const Weights transposed(m, true);
  const Blocks blocks(m, embedding);
  const int64_t parts = CountParts(m.Blocks()), sums_size = Sums::Size(m);
  const int64_t scratch_size = BlockGradient::ScratchSize(m, embedding.stride());
  const Scratch<float> all_sums(parts * sums_size);
  if (!transposed.ok() || !blocks.ok() || !all_sums.ok()) return false;

  const bool ok = ParallelWithScratch(parallel, parts, scratch_size, [&](int64_t part,
                                                                         float* scratch) {
    float* const own_sums = all_sums.get() + part * sums_size;
    Sums(m, own_sums).Begin(m);
    BlockGradient gradient(args, blocks, embedding, transposed, own_sums, scratch);
    const int64_t begin = PartBegin(m.Blocks(), parts, part);
    const int64_t end = PartBegin(m.Blocks(), parts, part + 1);
    for (int64_t block = begin; block < end; ++block) gradient.Run(block, block == begin);
  });

  if (!ok) return false;
  AddParts(all_sums.get(), parts, sums_size, parallel);
  const Sums sums(m, all_sums.get());
  CopyRows(sums.first, sums.width, m.inputs, m.hidden, args.grad_first);
  CopyRows(sums.bias, sums.width, 1, m.hidden, args.grad_bias);
  CopyRows(sums.mid, sums.width, m.middle * m.hidden, m.hidden, args.grad_mid);
  for (int64_t i = 0; i < m.hidden; ++i) {
    for (int64_t j = 0; j < m.outputs; ++j) {
      args.grad_last[i * m.outputs + j] = sums.last[j * sums.width + i];
    }
  }
  CopyRows(sums.condition, sums.width, m.images, m.hidden, args.grad_condition);
  return true;
}

}  // namespace RASTERIZER_ISA
}  // namespace pony
