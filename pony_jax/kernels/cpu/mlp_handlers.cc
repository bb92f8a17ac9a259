// The XLA FFI targets of networks on points: they check shapes, then call.

#include "dispatch.h"
#include "networks.h"

namespace pony {

PONY_KERNEL(ForwardMlp, MlpForward)
PONY_KERNEL(BackwardMlp, MlpBackward)

namespace {

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
  *mlp = {points[0], points[0], inputs[0], hidden, layers[0], outputs[1], 0, false,
          num_frequencies, scale, point.typed_data(), first.typed_data(), bias.typed_data(),
          mid.typed_data(), last.typed_data(), nullptr, nullptr};
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
  return ReadCount(count, mlp->points, &mlp->used);
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
  return Run("mlp", kForwardMlp, args, pool);
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
  return Run("gradient of mlp", kBackwardMlp, args, pool);
}

}  // namespace
}  // namespace pony

#pragma GCC visibility push(default)  // what Python looks up by name

XLA_FFI_DEFINE_HANDLER_SYMBOL(PonyMlp, pony::RunMlp,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<pony::Floats>()  // points
                                  .Arg<pony::Floats>()  // first
                                  .Arg<pony::Floats>()  // bias
                                  .Arg<pony::Floats>()  // middle
                                  .Arg<pony::Floats>()  // last
                                  .Arg<pony::Floats>()  // condition
                                  .Arg<pony::Ints>()    // image
                                  .Arg<pony::Ints>()    // count
                                  .Attr<int64_t>("num_frequencies")
                                  .Attr<double>("scale")
                                  .Ret<pony::Floats>()    // result
                                  .Ret<pony::Floats>());  // kept layers

XLA_FFI_DEFINE_HANDLER_SYMBOL(PonyMlpGrad, pony::RunMlpGrad,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<pony::Floats>()  // points
                                  .Arg<pony::Floats>()  // first
                                  .Arg<pony::Floats>()  // bias
                                  .Arg<pony::Floats>()  // middle
                                  .Arg<pony::Floats>()  // last
                                  .Arg<pony::Floats>()  // condition
                                  .Arg<pony::Ints>()    // image
                                  .Arg<pony::Ints>()    // count
                                  .Arg<pony::Floats>()  // kept layers
                                  .Arg<pony::Floats>()  // gradient of the result
                                  .Attr<int64_t>("num_frequencies")
                                  .Attr<double>("scale")
                                  .Ret<pony::Floats>()    // gradient of points
                                  .Ret<pony::Floats>()    // gradient of first
                                  .Ret<pony::Floats>()    // gradient of bias
                                  .Ret<pony::Floats>()    // gradient of middle
                                  .Ret<pony::Floats>()    // gradient of last
                                  .Ret<pony::Floats>());  // gradient of condition

#pragma GCC visibility pop
