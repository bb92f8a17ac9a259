// The XLA FFI targets of convolutions and residual blocks of images: they check shapes, then call.

#include "dispatch.h"
#include "networks.h"

namespace pony {

PONY_KERNEL(ForwardConvolution, ConvolutionForward)
PONY_KERNEL(ConvolutionGradientOfX, ConvolutionGradX)
PONY_KERNEL(ConvolutionGradientOfKernel, ConvolutionGradKernel)
PONY_KERNEL(ForwardConvBlock, ConvBlockForward)
PONY_KERNEL(BackwardConvBlock, ConvBlockBackward)

namespace {

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
  return Run("convolution", kForwardConvolution, args, pool);
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
  return Run("gradient of a convolution's input", kConvolutionGradientOfX, args, pool);
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
  return Run("gradient of a convolution's kernel", kConvolutionGradientOfKernel, args,
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
  return Run("conv_block", kForwardConvBlock, args, pool);
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
  return Run("gradient of conv_block", kBackwardConvBlock, args, pool);
}

}  // namespace
}  // namespace pony

#pragma GCC visibility push(default)  // what Python looks up by name

XLA_FFI_DEFINE_HANDLER_SYMBOL(PonyConvolution, pony::RunConvolution,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<pony::Floats>()  // x
                                  .Arg<pony::Floats>()  // kernel
                                  .Attr<int64_t>("stride")
                                  .Attr<int64_t>("padding")
                                  .Ret<pony::Floats>());  // result

XLA_FFI_DEFINE_HANDLER_SYMBOL(PonyConvolutionGradX, pony::RunConvolutionGradX,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<pony::Floats>()  // kernel
                                  .Arg<pony::Floats>()  // gradient of the result
                                  .Attr<int64_t>("stride")
                                  .Attr<int64_t>("padding")
                                  .Ret<pony::Floats>());  // gradient of x

XLA_FFI_DEFINE_HANDLER_SYMBOL(PonyConvolutionGradKernel, pony::RunConvolutionGradKernel,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<pony::Floats>()  // x
                                  .Arg<pony::Floats>()  // gradient of the result
                                  .Attr<int64_t>("stride")
                                  .Attr<int64_t>("padding")
                                  .Ret<pony::Floats>());  // gradient of kernel

XLA_FFI_DEFINE_HANDLER_SYMBOL(PonyConvBlock, pony::RunConvBlock,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<pony::Floats>()  // x
                                  .Arg<pony::Floats>()  // scale
                                  .Arg<pony::Floats>()  // shift
                                  .Arg<pony::Floats>()  // kernel
                                  .Arg<pony::Floats>()  // bias
                                  .Attr<float>("epsilon")
                                  .Ret<pony::Floats>()    // result
                                  .Ret<pony::Floats>());  // kept layer

XLA_FFI_DEFINE_HANDLER_SYMBOL(PonyConvBlockGrad, pony::RunConvBlockGrad,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<pony::Floats>()  // x
                                  .Arg<pony::Floats>()  // scale
                                  .Arg<pony::Floats>()  // shift
                                  .Arg<pony::Floats>()  // kernel
                                  .Arg<pony::Floats>()  // bias
                                  .Arg<pony::Floats>()  // kept layer
                                  .Arg<pony::Floats>()  // gradient of the result
                                  .Attr<float>("epsilon")
                                  .Ret<pony::Floats>()    // gradient of x
                                  .Ret<pony::Floats>()    // gradient of scale
                                  .Ret<pony::Floats>()    // gradient of shift
                                  .Ret<pony::Floats>()    // gradient of kernel
                                  .Ret<pony::Floats>());  // gradient of bias

#pragma GCC visibility pop
