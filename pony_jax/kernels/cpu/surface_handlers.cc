// The XLA FFI targets of the visible surface and its light: they check shapes, then call.

#include "dispatch.h"
#include "geometry.h"

namespace pony {

PONY_KERNEL(ForwardSurface, SurfaceForward)
PONY_KERNEL(BackwardSurface, SurfaceBackward)
PONY_KERNEL(ForwardLitValues, LitValuesForward)
PONY_KERNEL(BackwardLitValues, LitValuesBackward)

namespace {

ffi::Error ReadSurface(const Floats& verts, const Floats& rest, const Floats& matrix,
                       const Floats& coverage, const Ints& faces, int64_t samples, int64_t capacity,
                       Surface* in) {
  const Dims dims = verts.dimensions(), image = coverage.dimensions();
  ffi::Error error = Check({{"verts", "[b,v,3]", dims, {-1, -1, 3}}});
  if (error.failure()) return error;
  error = Check({{"verts_rest", "[v,3]", rest.dimensions(), {dims[1], 3}},
                 {"cam_from_world", "[b,4,4]", matrix.dimensions(), {dims[0], 4, 4}},
                 {"coverage", "[b,hs,ws,4]", image, {dims[0], -1, -1, 4}},
                 {"faces", "[f,3]", faces.dimensions(), {-1, 3}}});
  if (error.failure()) return error;
  if (samples < 1 || image[1] % samples != 0 || image[2] % samples != 0) {
    return BadShape("coverage", "[b,hs,ws,4] with whole pixels", image);
  }
  *in = {dims[0], dims[1], faces.dimensions()[0], image[1], image[2], samples, capacity,
         verts.typed_data(), rest.typed_data(), matrix.typed_data(), coverage.typed_data(),
         faces.typed_data()};
  return ffi::Error::Success();
}

ffi::Error RunSurface(ffi::ThreadPool pool, Floats verts, Floats rest, Floats matrix,
                      Floats coverage, Ints faces, int64_t samples, ffi::Result<Ints> pixel,
                      ffi::Result<Ints> image, ffi::Result<Floats> point,
                      ffi::Result<Floats> normal, ffi::Result<Ints> count, ffi::Result<Ints> shown,
                      ffi::Result<Floats> kept) {
  SurfaceForward args;
  const int64_t n = pixel->element_count();
  ffi::Error error = ReadSurface(verts, rest, matrix, coverage, faces, samples, n, &args.in);
  if (error.failure()) return error;
  error = Check({{"pixel", "[n]", pixel->dimensions(), {-1}},
                 {"image", "[n]", image->dimensions(), {n}},
                 {"point_rest", "[n,3]", point->dimensions(), {n, 3}},
                 {"normal_cam", "[n,3]", normal->dimensions(), {n, 3}},
                 {"count", "[]", count->dimensions(), {}},
                 {"shown samples", "[n]", shown->dimensions(), {n}},
                 {"kept vertices", "[b,v,8]", kept->dimensions(),
                  {args.in.images, args.in.vertices, kKept}}});
  if (error.failure()) return error;
  args.pixel = pixel->typed_data();
  args.image = image->typed_data();
  args.point = point->typed_data();
  args.normal = normal->typed_data();
  args.count = count->typed_data();
  args.shown = shown->typed_data();
  args.kept = kept->typed_data();
  return Run("surface", kForwardSurface, args, pool);
}

ffi::Error RunSurfaceGrad(ffi::ThreadPool pool, Floats verts, Floats rest, Floats matrix,
                          Floats coverage, Ints faces, Ints pixel, Ints shown, Floats kept,
                          Floats grad_point, Floats grad_normal, int64_t samples,
                          ffi::Result<Floats> grad_verts, ffi::Result<Floats> grad_rest,
                          ffi::Result<Floats> grad_matrix, ffi::Result<Floats> grad_coverage) {
  SurfaceBackward args;
  const int64_t n = pixel.element_count();
  ffi::Error error = ReadSurface(verts, rest, matrix, coverage, faces, samples, n, &args.in);
  if (error.failure()) return error;
  const Surface& in = args.in;
  error = Check({{"pixel", "[n]", pixel.dimensions(), {-1}},
                 {"shown samples", "[n]", shown.dimensions(), {n}},
                 {"kept vertices", "[b,v,8]", kept.dimensions(), {in.images, in.vertices, kKept}},
                 {"gradient of point_rest", "[n,3]", grad_point.dimensions(), {n, 3}},
                 {"gradient of normal_cam", "[n,3]", grad_normal.dimensions(), {n, 3}},
                 {"gradient of verts", "[b,v,3]", grad_verts->dimensions(),
                  {in.images, in.vertices, 3}},
                 {"gradient of verts_rest", "[v,3]", grad_rest->dimensions(), {in.vertices, 3}},
                 {"gradient of cam_from_world", "[b,4,4]", grad_matrix->dimensions(),
                  {in.images, 4, 4}},
                 {"gradient of coverage", "[b,hs,ws,4]", grad_coverage->dimensions(),
                  {in.images, in.height, in.width, 4}}});
  if (error.failure()) return error;
  args.pixel = pixel.typed_data();
  args.shown = shown.typed_data();
  args.kept = kept.typed_data();
  args.grad_point = grad_point.typed_data();
  args.grad_normal = grad_normal.typed_data();
  args.grad_vertex = grad_verts->typed_data();
  args.grad_rest = grad_rest->typed_data();
  args.grad_matrix = grad_matrix->typed_data();
  args.grad_coverage = grad_coverage->typed_data();
  return Run("gradient of surface", kBackwardSurface, args, pool);
}

ffi::Error ReadLitValues(const Floats& albedo, const Floats& feature, const Floats& normal,
                         const Floats& light, const Ints& image, const Ints& count, LitValues* in) {
  const int64_t n = albedo.dimensions().size() == 2 ? albedo.dimensions()[0] : 0;
  ffi::Error error = Check({{"albedo", "[n,3]", albedo.dimensions(), {n, 3}},
                            {"feature", "[n,c]", feature.dimensions(), {n, -1}},
                            {"normal_cam", "[n,3]", normal.dimensions(), {n, 3}},
                            {"light", "[b,5]", light.dimensions(), {-1, kLight}},
                            {"image", "[n]", image.dimensions(), {n}}});
  if (error.failure()) return error;
  if (light.dimensions()[0] < 1) {
    return BadShape("light", "[b,5] of an image or more", light.dimensions());
  }
  *in = {n, feature.dimensions()[1], n, light.dimensions()[0], albedo.typed_data(),
         feature.typed_data(), normal.typed_data(), light.typed_data(), image.typed_data()};
  return ReadCount(count, n, &in->used);
}

ffi::Error RunLitValues(ffi::ThreadPool pool, Floats albedo, Floats feature, Floats normal,
                        Floats light, Ints image, Ints count, ffi::Result<Floats> out) {
  LitValuesForward args;
  ffi::Error error = ReadLitValues(albedo, feature, normal, light, image, count, &args.in);
  if (error.failure()) return error;
  error = Check({{"result", "[n,4+c]", out->dimensions(),
                  {args.in.points, kFirstFeature + args.in.features}}});
  if (error.failure()) return error;
  args.out = out->typed_data();
  return Run("lit_values", kForwardLitValues, args, pool);
}

ffi::Error RunLitValuesGrad(ffi::ThreadPool pool, Floats albedo, Floats feature, Floats normal,
                            Floats light, Ints image, Ints count, Floats grad_out,
                            ffi::Result<Floats> grad_albedo, ffi::Result<Floats> grad_feature,
                            ffi::Result<Floats> grad_normal, ffi::Result<Floats> grad_light) {
  LitValuesBackward args;
  ffi::Error error = ReadLitValues(albedo, feature, normal, light, image, count, &args.in);
  if (error.failure()) return error;
  const int64_t n = args.in.points, c = args.in.features;
  error = Check({{"gradient of the result", "[n,4+c]", grad_out.dimensions(),
                  {n, kFirstFeature + c}},
                 {"gradient of albedo", "[n,3]", grad_albedo->dimensions(), {n, 3}},
                 {"gradient of feature", "[n,c]", grad_feature->dimensions(), {n, c}},
                 {"gradient of normal_cam", "[n,3]", grad_normal->dimensions(), {n, 3}},
                 {"gradient of light", "[b,5]", grad_light->dimensions(),
                  {args.in.images, kLight}}});
  if (error.failure()) return error;
  args.grad_out = grad_out.typed_data();
  args.grad_albedo = grad_albedo->typed_data();
  args.grad_feature = grad_feature->typed_data();
  args.grad_normal = grad_normal->typed_data();
  args.grad_light = grad_light->typed_data();
  return Run("gradient of lit_values", kBackwardLitValues, args, pool);
}

}  // namespace
}  // namespace pony

#pragma GCC visibility push(default)  // what Python looks up by name

XLA_FFI_DEFINE_HANDLER_SYMBOL(PonySurface, pony::RunSurface,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<pony::Floats>()  // verts
                                  .Arg<pony::Floats>()  // verts_rest
                                  .Arg<pony::Floats>()  // cam_from_world
                                  .Arg<pony::Floats>()  // coverage
                                  .Arg<pony::Ints>()    // faces
                                  .Attr<int64_t>("samples")
                                  .Ret<pony::Ints>()      // pixel
                                  .Ret<pony::Ints>()      // image
                                  .Ret<pony::Floats>()    // point_rest
                                  .Ret<pony::Floats>()    // normal_cam
                                  .Ret<pony::Ints>()      // count
                                  .Ret<pony::Ints>()      // shown samples
                                  .Ret<pony::Floats>());  // kept vertices

XLA_FFI_DEFINE_HANDLER_SYMBOL(PonySurfaceGrad, pony::RunSurfaceGrad,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<pony::Floats>()  // verts
                                  .Arg<pony::Floats>()  // verts_rest
                                  .Arg<pony::Floats>()  // cam_from_world
                                  .Arg<pony::Floats>()  // coverage
                                  .Arg<pony::Ints>()    // faces
                                  .Arg<pony::Ints>()    // pixel
                                  .Arg<pony::Ints>()    // shown samples
                                  .Arg<pony::Floats>()  // kept vertices
                                  .Arg<pony::Floats>()  // gradient of point_rest
                                  .Arg<pony::Floats>()  // gradient of normal_cam
                                  .Attr<int64_t>("samples")
                                  .Ret<pony::Floats>()    // gradient of verts
                                  .Ret<pony::Floats>()    // gradient of verts_rest
                                  .Ret<pony::Floats>()    // gradient of cam_from_world
                                  .Ret<pony::Floats>());  // gradient of coverage

XLA_FFI_DEFINE_HANDLER_SYMBOL(PonyLitValues, pony::RunLitValues,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<pony::Floats>()    // albedo
                                  .Arg<pony::Floats>()    // feature
                                  .Arg<pony::Floats>()    // normal_cam
                                  .Arg<pony::Floats>()    // light
                                  .Arg<pony::Ints>()      // image
                                  .Arg<pony::Ints>()      // count
                                  .Ret<pony::Floats>());  // result

XLA_FFI_DEFINE_HANDLER_SYMBOL(PonyLitValuesGrad, pony::RunLitValuesGrad,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<pony::Floats>()    // albedo
                                  .Arg<pony::Floats>()    // feature
                                  .Arg<pony::Floats>()    // normal_cam
                                  .Arg<pony::Floats>()    // light
                                  .Arg<pony::Ints>()      // image
                                  .Arg<pony::Ints>()      // count
                                  .Arg<pony::Floats>()    // gradient of the result
                                  .Ret<pony::Floats>()    // gradient of albedo
                                  .Ret<pony::Floats>()    // gradient of feature
                                  .Ret<pony::Floats>()    // gradient of normal_cam
                                  .Ret<pony::Floats>());  // gradient of light

#pragma GCC visibility pop
