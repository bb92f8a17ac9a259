// The XLA FFI targets of landmarks and skinning: they check shapes, then call.

#include "dispatch.h"
#include "geometry.h"

namespace pony {

PONY_KERNEL(FindLandmarks, Landmarks)
PONY_KERNEL(ComputeSkinningWeights, SkinningWeights)
PONY_KERNEL(ForwardSkin, SkinForward)
PONY_KERNEL(BackwardSkin, SkinBackward)

namespace {

ffi::Error RunLandmarks(ffi::ThreadPool pool, Floats verts, Ints valid, double margin,
                        bool above_feet, ffi::Result<Floats> mean, ffi::Result<Floats> tips,
                        ffi::Result<Floats> feet, ffi::Result<Ints> found) {
  const Dims dims = verts.dimensions();
  if (dims.size() != 3 || dims[1] < 1 || dims[2] != 3) {
    return BadShape("verts", "[b,v,3] with a vertex", dims);
  }
  ffi::Error error = Check({{"valid", "[v]", valid.dimensions(), {dims[1]}},
                            {"mean", "[b,3]", mean->dimensions(), {dims[0], 3}},
                            {"tips", "[b,2,3]", tips->dimensions(), {dims[0], 2, 3}},
                            {"feet", "[b,4,3]", feet->dimensions(), {dims[0], 4, 3}},
                            {"found", "[b,4]", found->dimensions(), {dims[0], 4}}});
  if (error.failure()) return error;
  const Landmarks args = {dims[0], dims[1], margin, above_feet, verts.typed_data(),
                          valid.typed_data(), mean->typed_data(), tips->typed_data(),
                          feet->typed_data(), found->typed_data()};
  return Run("landmarks", kFindLandmarks, args, pool);
}

ffi::Error RunSkinningWeights(ffi::ThreadPool pool, Floats verts, Floats bones, Ints count,
                              double temperature, ffi::Result<Floats> weights) {
  const Dims dims = verts.dimensions(), of_bones = bones.dimensions();
  ffi::Error error = Check({{"verts", "[b,v,3]", dims, {-1, -1, 3}}});
  if (error.failure()) return error;
  error = Check({{"bones", "[b,k,2,3]", of_bones, {dims[0], -1, 2, 3}}});
  if (error.failure()) return error;
  error = Check({{"weights", "[b,v,k]", weights->dimensions(), {dims[0], dims[1], of_bones[1]}}});
  if (error.failure()) return error;
  int64_t used = 0;
  error = ReadCount(count, dims[1], &used);
  if (error.failure()) return error;
  const SkinningWeights args = {dims[0], dims[1], of_bones[1], used, temperature,
                                verts.typed_data(), bones.typed_data(), weights->typed_data()};
  return Run("skinning weights", kComputeSkinningWeights, args, pool);
}

ffi::Error ReadSkin(const Floats& verts, const Floats& weights, const Floats& transforms,
                    const Ints& count, Skin* in) {
  const Dims dims = weights.dimensions();
  ffi::Error error = Check({{"weights", "[b,v,k]", dims, {-1, -1, -1}}});
  if (error.failure()) return error;
  int64_t used = 0;
  error = ReadCount(count, dims[1], &used);
  if (error.failure()) return error;
  *in = {dims[0], dims[1], dims[2], used, verts.typed_data(), weights.typed_data(),
         transforms.typed_data()};
  return Check({{"verts", "[b,v,3]", verts.dimensions(), {dims[0], dims[1], 3}},
                {"transforms", "[b,k,4,4]", transforms.dimensions(), {dims[0], dims[2], 4, 4}}});
}

ffi::Error RunSkin(ffi::ThreadPool pool, Floats verts, Floats weights, Floats transforms,
                   Ints count, ffi::Result<Floats> out) {
  SkinForward args;
  ffi::Error error = ReadSkin(verts, weights, transforms, count, &args.in);
  if (error.failure()) return error;
  error = Check({{"result", "[b,v,3]", out->dimensions(), {args.in.images, args.in.vertices, 3}}});
  if (error.failure()) return error;
  args.out = out->typed_data();
  return Run("skin", kForwardSkin, args, pool);
}

ffi::Error RunSkinGrad(ffi::ThreadPool pool, Floats verts, Floats weights, Floats transforms,
                       Ints count, Floats grad_out, ffi::Result<Floats> grad_verts,
                       ffi::Result<Floats> grad_transforms) {
  SkinBackward args;
  ffi::Error error = ReadSkin(verts, weights, transforms, count, &args.in);
  if (error.failure()) return error;
  const int64_t b = args.in.images, v = args.in.vertices, k = args.in.bones;
  error = Check(
      {{"gradient of the result", "[b,v,3]", grad_out.dimensions(), {b, v, 3}},
       {"gradient of verts", "[b,v,3]", grad_verts->dimensions(), {b, v, 3}},
       {"gradient of transforms", "[b,k,4,4]", grad_transforms->dimensions(), {b, k, 4, 4}}});
  if (error.failure()) return error;
  args.grad_out = grad_out.typed_data();
  args.grad_vertex = grad_verts->typed_data();
  args.grad_transform = grad_transforms->typed_data();
  return Run("gradient of skin", kBackwardSkin, args, pool);
}

}  // namespace
}  // namespace pony

#pragma GCC visibility push(default)  // what Python looks up by name

XLA_FFI_DEFINE_HANDLER_SYMBOL(PonyLandmarks, pony::RunLandmarks,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<pony::Floats>()  // verts
                                  .Arg<pony::Ints>()    // valid
                                  .Attr<double>("margin")
                                  .Attr<bool>("above_feet")
                                  .Ret<pony::Floats>()  // mean
                                  .Ret<pony::Floats>()  // tips
                                  .Ret<pony::Floats>()  // feet
                                  .Ret<pony::Ints>());  // found

XLA_FFI_DEFINE_HANDLER_SYMBOL(PonySkinningWeights, pony::RunSkinningWeights,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<pony::Floats>()  // verts
                                  .Arg<pony::Floats>()  // bones
                                  .Arg<pony::Ints>()    // count
                                  .Attr<double>("temperature")
                                  .Ret<pony::Floats>());  // weights

XLA_FFI_DEFINE_HANDLER_SYMBOL(PonySkin, pony::RunSkin,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<pony::Floats>()    // verts
                                  .Arg<pony::Floats>()    // weights
                                  .Arg<pony::Floats>()    // transforms
                                  .Arg<pony::Ints>()      // count
                                  .Ret<pony::Floats>());  // result

XLA_FFI_DEFINE_HANDLER_SYMBOL(PonySkinGrad, pony::RunSkinGrad,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<pony::Floats>()    // verts
                                  .Arg<pony::Floats>()    // weights
                                  .Arg<pony::Floats>()    // transforms
                                  .Arg<pony::Ints>()      // count
                                  .Arg<pony::Floats>()    // gradient of the result
                                  .Ret<pony::Floats>()    // gradient of verts
                                  .Ret<pony::Floats>());  // gradient of transforms

#pragma GCC visibility pop
