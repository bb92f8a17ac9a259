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
    ForPanels(layer.outputs, [&](int64_t column, int vectors) {
      ForTiles(layer.rows, vectors, [=](int64_t row, auto& tile) {
        tile.Add(x + row * x_step, x_step, 1, kernel + column, layer.outputs, layer.inputs);
        tile.Store(out + row * out_step + column, out_step);
      });
    });
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
