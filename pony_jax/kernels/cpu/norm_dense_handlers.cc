// The XLA FFI targets of dense layers on normalised rows: they check shapes, then call.

#include "dispatch.h"
#include "networks.h"

namespace pony {

PONY_KERNEL(ForwardNormDense, NormDenseForward)
PONY_KERNEL(BackwardNormDense, NormDenseBackward)

namespace {

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
  *layer = {rows[0], rows[1], weights[1], epsilon, x.typed_data(), scale.typed_data(),
            shift.typed_data(), kernel.typed_data(), bias.typed_data()};
  return ffi::Error::Success();
}

ffi::Error RunNormDense(ffi::ThreadPool pool, Floats x, Floats scale, Floats shift, Floats kernel,
                        Floats bias, float epsilon, ffi::Result<Floats> out) {
  NormDenseForward args;
  ffi::Error error = ReadNormDense(x, scale, shift, kernel, bias, epsilon, out->dimensions(),
                                   &args.layer);
  if (error.failure()) return error;
  args.out = out->typed_data();
  return Run("norm_dense", kForwardNormDense, args, pool);
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
  return Run("gradient of norm_dense", kBackwardNormDense, args, pool);
}

}  // namespace
}  // namespace pony

#pragma GCC visibility push(default)  // what Python looks up by name

XLA_FFI_DEFINE_HANDLER_SYMBOL(PonyNormDense, pony::RunNormDense,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<pony::Floats>()  // x
                                  .Arg<pony::Floats>()  // scale
                                  .Arg<pony::Floats>()  // shift
                                  .Arg<pony::Floats>()  // kernel
                                  .Arg<pony::Floats>()  // bias
                                  .Attr<float>("epsilon")
                                  .Ret<pony::Floats>());  // result

XLA_FFI_DEFINE_HANDLER_SYMBOL(PonyNormDenseGrad, pony::RunNormDenseGrad,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<pony::Floats>()  // x
                                  .Arg<pony::Floats>()  // scale
                                  .Arg<pony::Floats>()  // shift
                                  .Arg<pony::Floats>()  // kernel
                                  .Arg<pony::Floats>()  // bias
                                  .Arg<pony::Floats>()  // gradient of the result
                                  .Attr<float>("epsilon")
                                  .Ret<pony::Floats>()    // gradient of x
                                  .Ret<pony::Floats>()    // gradient of scale
                                  .Ret<pony::Floats>()    // gradient of shift
                                  .Ret<pony::Floats>()    // gradient of kernel
                                  .Ret<pony::Floats>());  // gradient of bias

#pragma GCC visibility pop
