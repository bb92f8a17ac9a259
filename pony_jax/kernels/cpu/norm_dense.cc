// Dense layers on normalised rows, a block of rows at a time.

#include "normalise.h"

namespace pony {
namespace RASTERIZER_ISA {
namespace {

inline Norm NormOf(const NormDense& layer) {
  return {layer.inputs, layer.epsilon, layer.scale, layer.shift};
}

inline int64_t OutputLanes(const NormDense& layer) { return RoundUp(layer.outputs, kLanes); }

// A block of rows.
struct Rows {
  Rows(const NormDense& layer, int64_t block)
      : first(block * kBlock), count(Min(layer.rows - first, kBlock)) {}

  int64_t first, count;
};

inline int64_t CountBlocks(const NormDense& layer) { return (layer.rows + kBlock - 1) / kBlock; }

inline void Normalise(const NormDense& layer, const Rows& rows, float* out, Moments* moments) {
  const Norm norm = NormOf(layer);
  for (int64_t i = 0; i < rows.count; ++i) {
    const float* const row = layer.x + (rows.first + i) * layer.inputs;
    moments[i] = norm.MomentsOf(row);
    norm.Apply(row, moments[i], out + i * layer.inputs);
  }
}

}  // namespace

bool ForwardNormDense(const NormDenseForward& args, const Parallel& parallel) {
  const NormDense& layer = args.layer;
  const int64_t outputs = OutputLanes(layer), blocks = CountBlocks(layer);
  const int64_t parts = CountParts(blocks);
  const Scratch<float> packed(layer.inputs * outputs), bias(outputs);
  if (!packed.ok() || !bias.ok()) return false;
  const Panels kernel = {layer.inputs, outputs, packed.get()};
  kernel.Pack(0, layer.inputs, layer.outputs, layer.kernel, layer.outputs, 1);
  for (int64_t j = 0; j < outputs; ++j) bias[j] = j < layer.outputs ? layer.bias[j] : 0.0f;
  const int64_t scratch_size = kBlock * layer.inputs;
  return ParallelWithScratch(parallel, parts, scratch_size, [&](int64_t part, float* unit) {
    const int64_t end = PartBegin(blocks, parts, part + 1);
    for (int64_t block = PartBegin(blocks, parts, part); block < end; ++block) {
      const Rows rows(layer, block);
      Moments moments[kBlock];
      Normalise(layer, rows, unit, moments);
      Multiply(unit, layer.inputs, rows.count, kernel,
               [out = args.out + rows.first * layer.outputs, outputs = layer.outputs,
                bias = bias.get()](int64_t row, int64_t column, Vec sums) {
                 StoreSome(out + row * outputs + column, sums + LoadVec(bias + column),
                           outputs - column);
               });
    }
  });
}

bool BackwardNormDense(const NormDenseBackward& args, const Parallel& parallel) {
  const NormDense& layer = args.layer;
  const int64_t inputs = layer.inputs, outputs = OutputLanes(layer), blocks = CountBlocks(layer);
  const int64_t parts = CountParts(blocks), sums_size = (inputs + 1) * outputs + 2 * inputs;
  const int64_t scratch_size = kBlock * (2 * inputs + outputs);
  const Scratch<float> packed(layer.outputs * inputs), all_sums(parts * sums_size);
  if (!packed.ok() || !all_sums.ok()) return false;
  const Panels transposed = {layer.outputs, inputs, packed.get()};
  transposed.Pack(0, layer.outputs, inputs, layer.kernel, 1, layer.outputs);
  const Norm norm = NormOf(layer);
  const bool ok = ParallelWithScratch(parallel, parts, scratch_size, [&](int64_t part,
                                                                         float* unit) {
    float* const grad_kernel = all_sums.get() + part * sums_size;
    float* const grad_bias = grad_kernel + inputs * outputs;
    float* const grad_scale = grad_bias + outputs;
    float* const grad_shift = grad_scale + inputs;
    float* const grad_unit = unit + kBlock * inputs;
    float* const padded = grad_unit + kBlock * inputs;  // gradients of outputs, if they need it
    if (outputs != layer.outputs) {
      std::memset(padded, 0, static_cast<size_t>(kBlock * outputs) * sizeof(float));
    }
    Moments moments[kBlock];
    std::memset(grad_kernel, 0, static_cast<size_t>(sums_size) * sizeof(float));
    const int64_t end = PartBegin(blocks, parts, part + 1);
    for (int64_t block = PartBegin(blocks, parts, part); block < end; ++block) {
      const Rows rows(layer, block);
      const float* grad_out = args.grad_out + rows.first * layer.outputs;
      if (outputs != layer.outputs) {
        for (int64_t i = 0; i < rows.count; ++i) {
          std::memcpy(padded + i * outputs, grad_out + i * layer.outputs,
                      static_cast<size_t>(layer.outputs) * sizeof(float));
        }
        grad_out = padded;
      }
      AddRows(grad_out, rows.count, outputs, grad_bias);
      Normalise(layer, rows, unit, moments);
      AddTransposed(unit, inputs, inputs, grad_out, outputs, outputs, rows.count, false,
                    grad_kernel);
      Multiply(grad_out, outputs, rows.count, transposed,
               [=](int64_t row, int64_t column, Vec sums) {
                 StoreVec(grad_unit + row * inputs + column, sums);
               });
      for (int64_t i = 0; i < rows.count; ++i) {
        const int64_t at = (rows.first + i) * inputs;
        norm.Gradient(layer.x + at, moments[i], grad_unit + i * inputs, grad_scale, grad_shift,
                      [to = args.grad_x + at](int64_t channel, Vec grad) {
                        StoreVec(to + channel, grad);
                      });
      }
    }
  });
  if (!ok) return false;
  AddParts(all_sums.get(), parts, sums_size, parallel);
  const float* const sums = all_sums.get();
  CopyRows(sums, outputs, inputs, layer.outputs, args.grad_kernel);
  CopyRows(sums + inputs * outputs, outputs, 1, layer.outputs, args.grad_bias);
  CopyRows(sums + (inputs + 1) * outputs, inputs, 1, inputs, args.grad_scale);
  CopyRows(sums + (inputs + 1) * outputs + inputs, inputs, 1, inputs, args.grad_shift);
  return true;
}

}  // namespace RASTERIZER_ISA
}  // namespace pony
