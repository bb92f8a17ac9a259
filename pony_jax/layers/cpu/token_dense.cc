// Dense layers of their own for each token, a token at a time: its weights, which are most of what is
// read and written, pass through the cache once.

#include "tile.h"

namespace layers {
namespace RASTERIZER_ISA {

namespace {

// Of a token, what a task makes: so many outputs, and so many rows of the kernel's gradient.
constexpr int64_t kTaskOutputs = 64, kTaskInputs = 256;

int64_t PartsOf(int64_t size, int64_t part) { return (size + part - 1) / part; }

}  // namespace

bool ForwardTokenDense(const TokenDenseForward& args, const Parallel& parallel) {
  const TokenDense& layer = args.layer;
  const int64_t x_step = layer.tokens * layer.inputs, out_step = layer.tokens * layer.outputs;
  const int64_t parts = PartsOf(layer.outputs, kTaskOutputs);
  ParallelFor(parallel, layer.tokens * parts, [&](int64_t task) {
    const int64_t token = task / parts, begin = task % parts * kTaskOutputs;
    const int64_t outputs = Min(kTaskOutputs, layer.outputs - begin);
    const float* const x = layer.x + token * layer.inputs;
    const float* const kernel = layer.kernel + token * layer.inputs * layer.outputs + begin;
    float* const out = args.out + token * layer.outputs + begin;
    // Some inputs at a time: their weights lie together in memory, and stay in the cache for all rows.
    // Each has its own sum: less rounding than in one long sum.
    constexpr int64_t kInputs = 64;
    int64_t first = 0;
    do {
      const int64_t count = Min(kInputs, layer.inputs - first);
      const int64_t next = Min(kInputs, layer.inputs - first - count);
      const float* const weights = kernel + first * layer.outputs;
      // Of all outputs: those of other tasks are between.
      Ahead ahead(weights + count * layer.outputs, next * layer.outputs, layer.rows * outputs);
      ForPanels(outputs, [&](int64_t column, int vectors) {
        ForTiles(layer.rows, vectors, [=, w_step = layer.outputs, ahead = &ahead](int64_t row,
                                                                                  auto& tile) {
          ahead->During(tile.kTileRows * tile.kTileVectors * kLanes);
          float* const to = out + row * out_step + column;
          tile.Add(x + row * x_step + first, x_step, 1, weights + column, w_step, count);
          if (first > 0) tile.AddStored(to, out_step);
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
  const int64_t parts = PartsOf(layer.inputs, kTaskInputs);
  const int64_t scratch_size = layer.outputs * RoundUp(kTaskInputs, kLanes);
  return ParallelWithScratch(parallel, layer.tokens * parts, scratch_size, [&](int64_t task,
                                                                               float* scratch) {
    const int64_t token = task / parts, first = task % parts * kTaskInputs;
    const int64_t inputs = Min(kTaskInputs, layer.inputs - first);
    const int64_t weights = (token * layer.inputs + first) * layer.outputs;
    const float* const grad = args.grad_out + token * layer.outputs;
    AddTransposed(layer.x + token * layer.inputs + first, x_step, inputs, grad, out_step,
                  layer.outputs, layer.rows, true, args.grad_kernel + weights);
    const int64_t trained = Min(inputs, args.trained - first);
    if (trained <= 0) return;
    const Panels transposed = {layer.outputs, RoundUp(trained, kLanes), scratch};
    transposed.Pack(0, layer.outputs, trained, layer.kernel + weights, 1, layer.outputs);
    float* const grad_x = args.grad_x + token * args.trained + first;
    Multiply(grad, out_step, layer.rows, transposed, [=, step = layer.tokens * args.trained](
                                                         int64_t row, int64_t column, Vec sums) {
      StoreSome(grad_x + row * step + column, sums, trained - column);
    });
  });
}

}  // namespace RASTERIZER_ISA
}  // namespace layers
