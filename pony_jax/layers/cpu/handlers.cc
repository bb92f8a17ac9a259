// The XLA FFI targets: shapes are checked, then the kernels compute on XLA's threads.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "rasterizer_ffi/cpu/processor.h"
#include "rasterizer_ffi/cpu/xla_parallel.h"
#include "rasterizer_ffi/shared/xla_types.h"
#include "kernels.h"

namespace layers {

#define LAYERS_DECLARE(isa)                                                         \
  namespace isa {                                                                   \
  bool ForwardMlp(const MlpForward&, const Parallel&);                              \
  bool BackwardMlp(const MlpBackward&, const Parallel&);                            \
  bool ForwardConvolution(const ConvolutionForward&, const Parallel&);              \
  bool ConvolutionGradientOfX(const ConvolutionGradX&, const Parallel&);            \
  bool ConvolutionGradientOfKernel(const ConvolutionGradKernel&, const Parallel&);  \
  bool ForwardConvBlock(const ConvBlockForward&, const Parallel&);                  \
  bool BackwardConvBlock(const ConvBlockBackward&, const Parallel&);                \
  bool ForwardNormDense(const NormDenseForward&, const Parallel&);                  \
  bool BackwardNormDense(const NormDenseBackward&, const Parallel&);                \
  const Kernels kernels = {ForwardMlp,         BackwardMlp,                         \
                           ForwardConvolution, ConvolutionGradientOfX,              \
                           ConvolutionGradientOfKernel,                             \
                           ForwardConvBlock,   BackwardConvBlock,                   \
                           ForwardNormDense,   BackwardNormDense};                    \
  }

LAYERS_DECLARE(baseline)
#ifdef RASTERIZER_X86_64
LAYERS_DECLARE(v3)
LAYERS_DECLARE(v4)
#endif

namespace {

using rasterizer::BadShape;
using rasterizer::Dims;
using rasterizer::Floats;
using rasterizer::Ints;
using rasterizer::Isa;

const Kernels& BestKernels() {
  static const Kernels& kernels = [&]() -> const Kernels& {
    switch (rasterizer::ChooseIsa("PONY_JAX_ISA")) {
#ifdef RASTERIZER_X86_64
      case Isa::kV4: return v4::kernels;
      case Isa::kV3: return v3::kernels;
#endif
      default: return baseline::kernels;
    }
  }();
  return kernels;
}

std::atomic<int> max_threads{0};  // 0: as many as XLA has

template <class Args>
ffi::Error Run(const char* op, bool (*kernel)(const Args&, const Parallel&), const Args& args,
               ffi::ThreadPool pool) {
  const rasterizer::XlaParallel parallel(pool, max_threads.load());
  return kernel(args, parallel) ? ffi::Error::Success() : rasterizer::OutOfMemory(op);
}

bool Is(Dims dims, std::initializer_list<int64_t> expected) {
  return std::equal(dims.begin(), dims.end(), expected.begin(), expected.end());
}

// The points and layers of a network without a condition, or what is wrong with them.
ffi::Error ReadMlp(const Floats& point, const Floats& first, const Floats& bias, const Floats& mid,
                   const Floats& last, int64_t num_frequencies, double scale, Mlp* mlp) {
  const Dims points = point.dimensions(), inputs = first.dimensions(), layers = mid.dimensions();
  const Dims outputs = last.dimensions();
  if (points.size() != 2 || points[1] != 3) return BadShape("points", "[n,3]", points);
  if (inputs.size() != 2 || inputs[0] != 3 + 6 * num_frequencies) {
    return BadShape("first", "[3 + 6 num_frequencies,d]", inputs);
  }
  const int64_t hidden = inputs[1];
  if (!Is(bias.dimensions(), {hidden})) return BadShape("bias", "[d]", bias.dimensions());
  if (layers.size() != 3 || layers[1] != hidden || layers[2] != hidden) {
    return BadShape("middle", "[l,d,d]", layers);
  }
  if (outputs.size() != 2 || outputs[0] != hidden) return BadShape("last", "[d,o]", outputs);
  *mlp = {points[0],
          points[0],
          inputs[0],
          hidden,
          layers[0],
          outputs[1],
          0,
          false,
          num_frequencies,
          scale,
          point.typed_data(),
          first.typed_data(),
          bias.typed_data(),
          mid.typed_data(),
          last.typed_data(),
          nullptr,
          nullptr};
  return ffi::Error::Success();
}

// `count` is of the points that are used; empty means all.
ffi::Error ReadCondition(const Floats& condition, const Ints& image, const Ints& count, Mlp* mlp) {
  const Dims conditions = condition.dimensions();
  if (conditions.size() != 2 || conditions[1] != mlp->hidden ||
      (conditions[0] > 0 && mlp->middle < 1)) {
    return BadShape("condition", "[b,d], and a layer in the middle", conditions);
  }
  const int64_t num_image = image.dimensions().size() == 1 ? image.dimensions()[0] : -1;
  if (num_image != 0 && (num_image != mlp->points || conditions[0] == 0)) {
    return BadShape("image", "[n] with a condition, or [0]", image.dimensions());
  }
  mlp->images = conditions[0];
  mlp->image_a_point = num_image > 0;
  mlp->condition = condition.typed_data();
  mlp->image = image.typed_data();
  return rasterizer::ReadCount(count, mlp->points, &mlp->used);
}

bool IsOfOut(Dims dims, const Mlp& m) {
  return m.images > 0 && !m.image_a_point ? Is(dims, {m.images, m.points, m.outputs})
                                          : Is(dims, {m.points, m.outputs});
}

ffi::Error RunMlp(ffi::ThreadPool pool, Floats point, Floats first, Floats bias, Floats mid,
                  Floats last, Floats condition, Ints image, Ints count, int64_t num_frequencies,
                  double scale, ffi::Result<Floats> out, ffi::Result<Floats> kept) {
  MlpForward args;
  ffi::Error error = ReadMlp(point, first, bias, mid, last, num_frequencies, scale, &args.mlp);
  if (error.success()) error = ReadCondition(condition, image, count, &args.mlp);
  if (error.failure()) return error;
  if (!IsOfOut(out->dimensions(), args.mlp)) {
    return BadShape("result", "[n,o], or [b,n,o]", out->dimensions());
  }
  const int64_t kept_size = kept->element_count();
  if (kept_size != 0 && kept_size != args.mlp.KeptSize()) {
    return BadShape("kept layers", "of all blocks, or none", kept->dimensions());
  }
  args.out = out->typed_data();
  args.kept = kept_size > 0 ? kept->typed_data() : nullptr;
  return Run("mlp", BestKernels().mlp_forward, args, pool);
}

ffi::Error RunMlpGrad(ffi::ThreadPool pool, Floats point, Floats first, Floats bias, Floats mid,
                      Floats last, Floats condition, Ints image, Ints count, Floats kept,
                      Floats grad_out, int64_t num_frequencies, double scale,
                      ffi::Result<Floats> grad_point, ffi::Result<Floats> grad_first,
                      ffi::Result<Floats> grad_bias, ffi::Result<Floats> grad_mid,
                      ffi::Result<Floats> grad_last, ffi::Result<Floats> grad_condition) {
  MlpBackward args;
  ffi::Error error = ReadMlp(point, first, bias, mid, last, num_frequencies, scale, &args.mlp);
  if (error.success()) error = ReadCondition(condition, image, count, &args.mlp);
  if (error.failure()) return error;
  if (!IsOfOut(grad_out.dimensions(), args.mlp)) {
    return BadShape("gradient of the result", "[n,o], or [b,n,o]", grad_out.dimensions());
  }
  if (static_cast<int64_t>(kept.element_count()) != args.mlp.KeptSize()) {
    return BadShape("kept layers", "of all blocks", kept.dimensions());
  }
  args.kept = kept.typed_data();
  args.grad_out = grad_out.typed_data();
  args.grad_point = grad_point->typed_data();
  args.grad_first = grad_first->typed_data();
  args.grad_bias = grad_bias->typed_data();
  args.grad_mid = grad_mid->typed_data();
  args.grad_last = grad_last->typed_data();
  args.grad_condition = grad_condition->typed_data();
  return Run("gradient of mlp", BestKernels().mlp_backward, args, pool);
}

ffi::Error ReadConvolution(Dims x, Dims kernel, Dims out, int64_t stride, int64_t padding,
                           Convolution* shape) {
  if (x.size() != 4) return BadShape("x", "[b,h,w,i]", x);
  if (kernel.size() != 4 || kernel[2] != x[3]) return BadShape("kernel", "[kh,kw,i,o]", kernel);
  if (stride < 1 || padding < 0) {
    return ffi::Error::InvalidArgument("expected a stride of at least 1 and padding of at least 0");
  }
  *shape = {x[0], x[1], x[2], x[3], kernel[0], kernel[1], kernel[3], stride, padding};
  if (kernel[0] > x[1] + 2 * padding || kernel[1] > x[2] + 2 * padding ||
      !Is(out, {x[0], shape->OutHeight(), shape->OutWidth(), kernel[3]})) {
    return BadShape("result or its gradient", "[b,oh,ow,o]", out);
  }
  return ffi::Error::Success();
}

ffi::Error RunConvolution(ffi::ThreadPool pool, Floats x, Floats kernel, int64_t stride,
                          int64_t padding, ffi::Result<Floats> out) {
  ConvolutionForward args;
  ffi::Error error = ReadConvolution(x.dimensions(), kernel.dimensions(), out->dimensions(), stride,
                                     padding, &args.shape);
  if (error.failure()) return error;
  args.x = x.typed_data();
  args.kernel = kernel.typed_data();
  args.out = out->typed_data();
  return Run("convolution", BestKernels().convolution_forward, args, pool);
}

ffi::Error RunConvolutionGradX(ffi::ThreadPool pool, Floats kernel, Floats grad_out, int64_t stride,
                               int64_t padding, ffi::Result<Floats> grad_x) {
  ConvolutionGradX args;
  ffi::Error error = ReadConvolution(grad_x->dimensions(), kernel.dimensions(),
                                     grad_out.dimensions(), stride, padding, &args.shape);
  if (error.failure()) return error;
  args.kernel = kernel.typed_data();
  args.grad_out = grad_out.typed_data();
  args.grad_x = grad_x->typed_data();
  return Run("gradient of a convolution's input", BestKernels().convolution_grad_x, args, pool);
}

ffi::Error RunConvolutionGradKernel(ffi::ThreadPool pool, Floats x, Floats grad_out, int64_t stride,
                                    int64_t padding, ffi::Result<Floats> grad_kernel) {
  ConvolutionGradKernel args;
  ffi::Error error = ReadConvolution(x.dimensions(), grad_kernel->dimensions(),
                                     grad_out.dimensions(), stride, padding, &args.shape);
  if (error.failure()) return error;
  args.x = x.typed_data();
  args.grad_out = grad_out.typed_data();
  args.grad_kernel = grad_kernel->typed_data();
  return Run("gradient of a convolution's kernel", BestKernels().convolution_grad_kernel, args,
             pool);
}

// The arguments that both directions share, or what is wrong with them.
ffi::Error ReadConvBlock(const Floats& x, const Floats& scale, const Floats& shift,
                         const Floats& kernel, const Floats& bias, float epsilon, Dims out,
                         ConvBlock* block) {
  const Dims taps = kernel.dimensions();
  ffi::Error error = ReadConvolution(x.dimensions(), taps, out, 1, 1, &block->shape);
  if (error.failure()) return error;
  const int64_t channels = x.dimensions()[3];
  if (taps[0] != 3 || taps[1] != 3 || taps[3] != channels || channels % kWidthMultiple != 0) {
    return BadShape("kernel", "[3,3,c,c] with c a multiple of 16", taps);
  }
  for (const Floats* array : {&scale, &shift, &bias}) {
    if (!Is(array->dimensions(), {channels})) {
      return BadShape("scale, shift or bias", "[c]", array->dimensions());
    }
  }
  block->epsilon = epsilon;
  block->x = x.typed_data();
  block->scale = scale.typed_data();
  block->shift = shift.typed_data();
  block->kernel = kernel.typed_data();
  block->bias = bias.typed_data();
  return ffi::Error::Success();
}

ffi::Error RunConvBlock(ffi::ThreadPool pool, Floats x, Floats scale, Floats shift, Floats kernel,
                        Floats bias, float epsilon, ffi::Result<Floats> out,
                        ffi::Result<Floats> kept) {
  ConvBlockForward args;
  ffi::Error error = ReadConvBlock(x, scale, shift, kernel, bias, epsilon, out->dimensions(),
                                   &args.block);
  if (error.failure()) return error;
  if (kept->element_count() != 0 && kept->element_count() != out->element_count()) {
    return BadShape("kept layer", "of the result, or empty", kept->dimensions());
  }
  args.out = out->typed_data();
  args.kept = kept->element_count() > 0 ? kept->typed_data() : nullptr;
  return Run("conv_block", BestKernels().conv_block_forward, args, pool);
}

ffi::Error RunConvBlockGrad(ffi::ThreadPool pool, Floats x, Floats scale, Floats shift,
                            Floats kernel, Floats bias, Floats kept, Floats grad_out, float epsilon,
                            ffi::Result<Floats> grad_x, ffi::Result<Floats> grad_scale,
                            ffi::Result<Floats> grad_shift, ffi::Result<Floats> grad_kernel,
                            ffi::Result<Floats> grad_bias) {
  ConvBlockBackward args;
  ffi::Error error = ReadConvBlock(x, scale, shift, kernel, bias, epsilon, grad_out.dimensions(),
                                   &args.block);
  if (error.failure()) return error;
  if (kept.element_count() != grad_out.element_count()) {
    return BadShape("kept layer", "of the result", kept.dimensions());
  }
  args.kept = kept.typed_data();
  args.grad_out = grad_out.typed_data();
  args.grad_x = grad_x->typed_data();
  args.grad_scale = grad_scale->typed_data();
  args.grad_shift = grad_shift->typed_data();
  args.grad_kernel = grad_kernel->typed_data();
  args.grad_bias = grad_bias->typed_data();
  return Run("gradient of conv_block", BestKernels().conv_block_backward, args, pool);
}

// The arguments that both directions share, or what is wrong with them.
ffi::Error ReadNormDense(const Floats& x, const Floats& scale, const Floats& shift,
                         const Floats& kernel, const Floats& bias, float epsilon, Dims out,
                         NormDense* layer) {
  const Dims rows = x.dimensions(), weights = kernel.dimensions();
  if (rows.size() != 2 || rows[1] % kWidthMultiple != 0) {
    return BadShape("x", "[n,c] with c a multiple of 16", rows);
  }
  if (weights.size() != 2 || weights[0] != rows[1]) return BadShape("kernel", "[c,o]", weights);
  for (const Floats* array : {&scale, &shift}) {
    if (!Is(array->dimensions(), {rows[1]})) {
      return BadShape("scale or shift", "[c]", array->dimensions());
    }
  }
  if (!Is(bias.dimensions(), {weights[1]})) return BadShape("bias", "[o]", bias.dimensions());
  if (!Is(out, {rows[0], weights[1]})) return BadShape("result or its gradient", "[n,o]", out);
  *layer = {rows[0],
            rows[1],
            weights[1],
            epsilon,
            x.typed_data(),
            scale.typed_data(),
            shift.typed_data(),
            kernel.typed_data(),
            bias.typed_data()};
  return ffi::Error::Success();
}

ffi::Error RunNormDense(ffi::ThreadPool pool, Floats x, Floats scale, Floats shift, Floats kernel,
                        Floats bias, float epsilon, ffi::Result<Floats> out) {
  NormDenseForward args;
  ffi::Error error = ReadNormDense(x, scale, shift, kernel, bias, epsilon, out->dimensions(),
                                   &args.layer);
  if (error.failure()) return error;
  args.out = out->typed_data();
  return Run("norm_dense", BestKernels().norm_dense_forward, args, pool);
}

ffi::Error RunNormDenseGrad(ffi::ThreadPool pool, Floats x, Floats scale, Floats shift,
                            Floats kernel, Floats bias, Floats grad_out, float epsilon,
                            ffi::Result<Floats> grad_x, ffi::Result<Floats> grad_scale,
                            ffi::Result<Floats> grad_shift, ffi::Result<Floats> grad_kernel,
                            ffi::Result<Floats> grad_bias) {
  NormDenseBackward args;
  ffi::Error error = ReadNormDense(x, scale, shift, kernel, bias, epsilon, grad_out.dimensions(),
                                   &args.layer);
  if (error.failure()) return error;
  args.grad_out = grad_out.typed_data();
  args.grad_x = grad_x->typed_data();
  args.grad_scale = grad_scale->typed_data();
  args.grad_shift = grad_shift->typed_data();
  args.grad_kernel = grad_kernel->typed_data();
  args.grad_bias = grad_bias->typed_data();
  return Run("gradient of norm_dense", BestKernels().norm_dense_backward, args, pool);
}

}  // namespace
}  // namespace layers

#pragma GCC visibility push(default)  // what Python looks up by name

XLA_FFI_DEFINE_HANDLER_SYMBOL(LayersMlp, layers::RunMlp,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<rasterizer::Floats>()  // points
                                  .Arg<rasterizer::Floats>()  // first
                                  .Arg<rasterizer::Floats>()  // bias
                                  .Arg<rasterizer::Floats>()  // middle
                                  .Arg<rasterizer::Floats>()  // last
                                  .Arg<rasterizer::Floats>()  // condition
                                  .Arg<rasterizer::Ints>()    // image
                                  .Arg<rasterizer::Ints>()    // count
                                  .Attr<int64_t>("num_frequencies")
                                  .Attr<double>("scale")
                                  .Ret<rasterizer::Floats>()    // result
                                  .Ret<rasterizer::Floats>());  // kept layers

XLA_FFI_DEFINE_HANDLER_SYMBOL(LayersMlpGrad, layers::RunMlpGrad,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<rasterizer::Floats>()  // points
                                  .Arg<rasterizer::Floats>()  // first
                                  .Arg<rasterizer::Floats>()  // bias
                                  .Arg<rasterizer::Floats>()  // middle
                                  .Arg<rasterizer::Floats>()  // last
                                  .Arg<rasterizer::Floats>()  // condition
                                  .Arg<rasterizer::Ints>()    // image
                                  .Arg<rasterizer::Ints>()    // count
                                  .Arg<rasterizer::Floats>()  // kept layers
                                  .Arg<rasterizer::Floats>()  // gradient of the result
                                  .Attr<int64_t>("num_frequencies")
                                  .Attr<double>("scale")
                                  .Ret<rasterizer::Floats>()    // gradient of points
                                  .Ret<rasterizer::Floats>()    // gradient of first
                                  .Ret<rasterizer::Floats>()    // gradient of bias
                                  .Ret<rasterizer::Floats>()    // gradient of middle
                                  .Ret<rasterizer::Floats>()    // gradient of last
                                  .Ret<rasterizer::Floats>());  // gradient of condition

XLA_FFI_DEFINE_HANDLER_SYMBOL(LayersConvolution, layers::RunConvolution,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<rasterizer::Floats>()  // x
                                  .Arg<rasterizer::Floats>()  // kernel
                                  .Attr<int64_t>("stride")
                                  .Attr<int64_t>("padding")
                                  .Ret<rasterizer::Floats>());  // result

XLA_FFI_DEFINE_HANDLER_SYMBOL(LayersConvolutionGradX, layers::RunConvolutionGradX,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<rasterizer::Floats>()  // kernel
                                  .Arg<rasterizer::Floats>()  // gradient of the result
                                  .Attr<int64_t>("stride")
                                  .Attr<int64_t>("padding")
                                  .Ret<rasterizer::Floats>());  // gradient of x

XLA_FFI_DEFINE_HANDLER_SYMBOL(LayersConvolutionGradKernel, layers::RunConvolutionGradKernel,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<rasterizer::Floats>()  // x
                                  .Arg<rasterizer::Floats>()  // gradient of the result
                                  .Attr<int64_t>("stride")
                                  .Attr<int64_t>("padding")
                                  .Ret<rasterizer::Floats>());  // gradient of kernel

XLA_FFI_DEFINE_HANDLER_SYMBOL(LayersConvBlock, layers::RunConvBlock,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<rasterizer::Floats>()  // x
                                  .Arg<rasterizer::Floats>()  // scale
                                  .Arg<rasterizer::Floats>()  // shift
                                  .Arg<rasterizer::Floats>()  // kernel
                                  .Arg<rasterizer::Floats>()  // bias
                                  .Attr<float>("epsilon")
                                  .Ret<rasterizer::Floats>()    // result
                                  .Ret<rasterizer::Floats>());  // kept layer

XLA_FFI_DEFINE_HANDLER_SYMBOL(LayersConvBlockGrad, layers::RunConvBlockGrad,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<rasterizer::Floats>()  // x
                                  .Arg<rasterizer::Floats>()  // scale
                                  .Arg<rasterizer::Floats>()  // shift
                                  .Arg<rasterizer::Floats>()  // kernel
                                  .Arg<rasterizer::Floats>()  // bias
                                  .Arg<rasterizer::Floats>()  // kept layer
                                  .Arg<rasterizer::Floats>()  // gradient of the result
                                  .Attr<float>("epsilon")
                                  .Ret<rasterizer::Floats>()    // gradient of x
                                  .Ret<rasterizer::Floats>()    // gradient of scale
                                  .Ret<rasterizer::Floats>()    // gradient of shift
                                  .Ret<rasterizer::Floats>()    // gradient of kernel
                                  .Ret<rasterizer::Floats>());  // gradient of bias

XLA_FFI_DEFINE_HANDLER_SYMBOL(LayersNormDense, layers::RunNormDense,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<rasterizer::Floats>()  // x
                                  .Arg<rasterizer::Floats>()  // scale
                                  .Arg<rasterizer::Floats>()  // shift
                                  .Arg<rasterizer::Floats>()  // kernel
                                  .Arg<rasterizer::Floats>()  // bias
                                  .Attr<float>("epsilon")
                                  .Ret<rasterizer::Floats>());  // result

XLA_FFI_DEFINE_HANDLER_SYMBOL(LayersNormDenseGrad, layers::RunNormDenseGrad,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<rasterizer::Floats>()  // x
                                  .Arg<rasterizer::Floats>()  // scale
                                  .Arg<rasterizer::Floats>()  // shift
                                  .Arg<rasterizer::Floats>()  // kernel
                                  .Arg<rasterizer::Floats>()  // bias
                                  .Arg<rasterizer::Floats>()  // gradient of the result
                                  .Attr<float>("epsilon")
                                  .Ret<rasterizer::Floats>()    // gradient of x
                                  .Ret<rasterizer::Floats>()    // gradient of scale
                                  .Ret<rasterizer::Floats>()    // gradient of shift
                                  .Ret<rasterizer::Floats>()    // gradient of kernel
                                  .Ret<rasterizer::Floats>());  // gradient of bias

// Limits the threads of every op from now on; 0 takes the limit away.
extern "C" void LayersSetMaxThreads(int threads) { layers::max_threads = threads; }

#pragma GCC visibility pop
