// Dense layers of their own for each token, a token at a time: its weights, which are most of what is
// read and written, pass through the cache once.

#include "tile.h"

namespace layers {
namespace RASTERIZER_ISA {

bool ForwardTokenDense(const TokenDenseForward& args, const Parallel& parallel) {
  const TokenDense& layer = args.layer;
  const int64_t x_step = layer.tokens * layer.inputs, out_step = layer.tokens * layer.outputs;
  ParallelFor(parallel, layer.tokens, [&](int64_t token) {
    const float* const x = layer.x + token * layer.inputs;
    const float* const kernel = layer.kernel + token * layer.inputs * layer.outputs;
    float* const out = args.out + token * layer.outputs;
    // Some inputs at a time: their weights lie together in memory, and stay in the cache for all rows.
    constexpr int64_t kInputs = 64;
    int64_t first = 0;
    do {
      const int64_t left = layer.inputs - first, count = left < kInputs ? left : kInputs;
      const int64_t next = left - count < kInputs ? left - count : kInputs;
      const float* const weights = kernel + first * layer.outputs;
      Ahead ahead(weights + count * layer.outputs, next * layer.outputs,
                  layer.rows * layer.outputs);
      ForPanels(layer.outputs, [&](int64_t column, int vectors) {
        ForTiles(layer.rows, vectors, [=, w_step = layer.outputs, ahead = &ahead](int64_t row,
                                                                                  auto& tile) {
          ahead->During(tile.kTileRows * tile.kTileVectors * kLanes);
          float* const to = out + row * out_step + column;
          if (first > 0) tile.Load(to, out_step);
          tile.Add(x + row * x_step + first, x_step, 1, weights + column, w_step, count);
          tile.Store(to, out_step);
        });
      });
      first += count;
    } while (first < layer.inputs);
  });
  return true;
}

bool BackwardTokenDense(const TokenDenseBackward& args, const Parallel& parallel) {
  const TokenDense& layer = args.layer;
  const int64_t x_step = layer.tokens * layer.inputs, out_step = layer.tokens * layer.outputs;
  const int64_t lanes = RoundUp(args.trained, kLanes);
  const int64_t scratch_size = layer.outputs * lanes;
  return ParallelWithScratch(parallel, layer.tokens, scratch_size, [&](int64_t token,
                                                                       float* scratch) {
    const int64_t size = layer.inputs * layer.outputs;
    const float* const grad = args.grad_out + token * layer.outputs;
    AddTransposed(layer.x + token * layer.inputs, x_step, layer.inputs, grad, out_step,
                  layer.outputs, layer.rows, true, args.grad_kernel + token * size);
    const Panels transposed = {layer.outputs, lanes, scratch};
    transposed.Pack(0, layer.outputs, args.trained, layer.kernel + token * size, 1, layer.outputs);
    Multiply(grad, out_step, layer.rows, transposed, [=](int64_t row, int64_t column, Vec sums) {
      StoreSome(args.grad_x + (row * layer.tokens + token) * args.trained + column, sums,
                args.trained - column);
    });
  });
}

}  // namespace RASTERIZER_ISA
}  // namespace layers
