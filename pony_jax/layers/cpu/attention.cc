// Attention among a few tokens, each head of an image as a task of its own.

#include "exponential.h"

namespace layers {
namespace RASTERIZER_ISA {
namespace {

// A left factor of a product: element (i, j) is data[i * row + j * column].
struct Factor {
  const float* data;
  int64_t row, column;
};

// out = a @ b for `b` and `out` with neighbouring columns, as many as a multiple of kLanes.
inline void Product(Factor a, int64_t rows, int64_t depth, const float* b, int64_t b_row,
                    int64_t columns, float* out, int64_t out_row) {
  ForPanels(columns, [&](int64_t column, int vectors) {
    ForTiles(rows, vectors, [=](int64_t first, auto& tile) {
      tile.Add(a.data + first * a.row, a.row, a.column, b + column, b_row, depth);
      tile.Store(out + first * out_row + column, out_row);
    });
  });
}

// One head of an image.
class Head {
 public:
  static int64_t Lanes(const Attention& a) { return RoundUp(a.tokens, kLanes); }
  static int64_t ScratchSize(const Attention& a) {
    return (2 * a.tokens + a.Channels()) * Lanes(a);
  }

  Head(const Attention& a, int64_t task, float* scratch)
      : a_(a), tokens_(a.tokens), channels_(a.Channels()), lanes_(Lanes(a)),
        step_(3 * a.width), first_(task / a.heads * tokens_),
        channel_(task % a.heads * channels_), shares_(scratch),
        slopes_(shares_ + tokens_ * lanes_), transposed_(slopes_ + tokens_ * lanes_) {
    FindShares();
  }

  void Mix(float* out) const {
    Product({shares_, lanes_, 1}, tokens_, tokens_, Of(a_.qkv, kValue), step_, channels_,
            out + first_ * a_.width + channel_, a_.width);
  }

  // From the gradient of the mixed values to that of queries, keys and values.
  void Gradient(const float* grad_out, float* grad_qkv) {
    const float* const grad = grad_out + first_ * a_.width + channel_;
    Product({shares_, 1, lanes_}, tokens_, tokens_, grad, a_.width, channels_,
            Of(grad_qkv, kValue), step_);
    Transpose(kValue);
    Product({grad, a_.width, 1}, tokens_, channels_, transposed_, lanes_, lanes_, slopes_, lanes_);
    for (int64_t i = 0; i < tokens_; ++i) {
      Vec sums = {};
      ForVectors(i, [&](int64_t at) { sums += LoadVec(shares_ + at) * LoadVec(slopes_ + at); });
      const float mean = Sum(sums);
      ForVectors(i, [&](int64_t at) {
        const Vec slope = LoadVec(shares_ + at) * (LoadVec(slopes_ + at) - mean);
        StoreVec(slopes_ + at, slope * a_.scale);
      });
    }
    Product({slopes_, lanes_, 1}, tokens_, tokens_, Of(a_.qkv, kKey), step_, channels_,
            Of(grad_qkv, kQuery), step_);
    Product({slopes_, 1, lanes_}, tokens_, tokens_, Of(a_.qkv, kQuery), step_, channels_,
            Of(grad_qkv, kKey), step_);
  }

 private:
  enum Part { kQuery, kKey, kValue };

  template <class Float>
  Float* Of(Float* qkv, Part part) const {
    return qkv + first_ * step_ + part * a_.width + channel_;
  }

  // Calls use(offset) for the vectors of a row of shares.
  template <class Use>
  void ForVectors(int64_t row, Use use) const {
    for (int64_t j = 0; j < lanes_; j += kLanes) use(row * lanes_ + j);
  }

  // Keys or values as columns, and zeros beyond them.
  void Transpose(Part part) {
    const float* const from = Of(a_.qkv, part);
    for (int64_t i = 0; i < channels_; ++i) {
      for (int64_t j = 0; j < lanes_; ++j) {
        transposed_[i * lanes_ + j] = j < tokens_ ? from[j * step_ + i] : 0.0f;
      }
    }
  }

  // How much each token takes of each other: the softmax of its logits, 0 beyond the tokens.
  void FindShares() {
    Transpose(kKey);
    Product({Of(a_.qkv, kQuery), step_, 1}, tokens_, channels_, transposed_, lanes_, lanes_,
            shares_, lanes_);
    for (int64_t i = 0; i < tokens_; ++i) {
      float* const row = shares_ + i * lanes_;
      float largest = row[0];
      for (int64_t j = 1; j < tokens_; ++j) largest = row[j] > largest ? row[j] : largest;
      for (int64_t j = 0; j < lanes_; j += kLanes) {
        StoreVec(row + j, Exp((LoadVec(row + j) - largest) * a_.scale));
      }
      for (int64_t j = tokens_; j < lanes_; ++j) row[j] = 0.0f;
      Vec sums = {};
      ForVectors(i, [&](int64_t at) { sums += LoadVec(shares_ + at); });
      const float share = 1 / Sum(sums);
      ForVectors(i, [&](int64_t at) { StoreVec(shares_ + at, LoadVec(shares_ + at) * share); });
    }
  }

  const Attention& a_;
  int64_t tokens_, channels_, lanes_, step_, first_, channel_;
  float* shares_;      // [tokens, lanes]
  float* slopes_;      // their gradients
  float* transposed_;  // [channels, lanes]
};

}  // namespace

bool ForwardAttention(const AttentionForward& args, const Parallel& parallel) {
  const Attention& a = args.attention;
  return ParallelWithScratch(parallel, a.images * a.heads, Head::ScratchSize(a),
                             [&](int64_t task, float* scratch) {
                               Head(a, task, scratch).Mix(args.out);
                             });
}

bool BackwardAttention(const AttentionBackward& args, const Parallel& parallel) {
  const Attention& a = args.attention;
  return ParallelWithScratch(parallel, a.images * a.heads, Head::ScratchSize(a),
                             [&](int64_t task, float* scratch) {
                               Head(a, task, scratch).Gradient(args.grad_out, args.grad_qkv);
                             });
}

}  // namespace RASTERIZER_ISA
}  // namespace layers
