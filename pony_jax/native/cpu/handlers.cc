// The XLA FFI targets: shapes are checked, then the kernels compute on XLA's threads.

#include <algorithm>
#include <cstdint>
#include <string>

#include "rasterizer_ffi/cpu/processor.h"
#include "rasterizer_ffi/cpu/xla_parallel.h"
#include "rasterizer_ffi/shared/xla_types.h"
#include "kernels.h"

namespace geometry {

#define GEOMETRY_DECLARE(isa)                                                    \
  namespace isa {                                                                \
  bool FindLandmarks(const Landmarks&, const Parallel&);                         \
  bool ComputeSkinningWeights(const SkinningWeights&, const Parallel&);          \
  bool ForwardSkin(const SkinForward&, const Parallel&);                         \
  bool BackwardSkin(const SkinBackward&, const Parallel&);                       \
  bool ForwardSurface(const SurfaceForward&, const Parallel&);                   \
  bool BackwardSurface(const SurfaceBackward&, const Parallel&);                 \
  bool ForwardLitValues(const LitValuesForward&, const Parallel&);               \
  bool BackwardLitValues(const LitValuesBackward&, const Parallel&);             \
  bool FindLatticeCells(const LatticeCells&, const Parallel&);                   \
  bool MarchLatticeCells(const LatticeMarch&, const Parallel&);                  \
  const Kernels kernels = {FindLandmarks,   \
                           ComputeSkinningWeights, ForwardSkin, BackwardSkin,    \
                           ForwardSurface, BackwardSurface, ForwardLitValues,    \
                           BackwardLitValues, \
                           FindLatticeCells, MarchLatticeCells};   \
  }

GEOMETRY_DECLARE(baseline)
#ifdef RASTERIZER_X86_64
GEOMETRY_DECLARE(v3)
GEOMETRY_DECLARE(v4)
#endif

namespace {

using Flags = ffi::Buffer<ffi::PRED>;
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

// Expected sizes; -1 takes any.
bool Is(Dims dims, std::initializer_list<int64_t> expected) {
  return std::equal(dims.begin(), dims.end(), expected.begin(), expected.end(),
                    [](int64_t got, int64_t wanted) { return wanted < 0 || got == wanted; });
}

struct Expected {
  const char* name;
  const char* text;
  Dims got;
  std::initializer_list<int64_t> sizes;
};

// The first that has not the expected shape makes an error.
ffi::Error Check(std::initializer_list<Expected> arrays) {
  for (const Expected& array : arrays) {
    if (!Is(array.got, array.sizes)) return BadShape(array.name, array.text, array.got);
  }
  return ffi::Error::Success();
}

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
  const Landmarks args = {dims[0],
                          dims[1],
                          margin,
                          above_feet,
                          verts.typed_data(),
                          valid.typed_data(),
                          mean->typed_data(),
                          tips->typed_data(),
                          feet->typed_data(),
                          found->typed_data()};
  return Run("landmarks", BestKernels().landmarks, args, pool);
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
  error = rasterizer::ReadCount(count, dims[1], &used);
  if (error.failure()) return error;
  const SkinningWeights args = {dims[0],
                                dims[1],
                                of_bones[1],
                                used,
                                temperature,
                                verts.typed_data(),
                                bones.typed_data(),
                                weights->typed_data()};
  return Run("skinning weights", BestKernels().skinning_weights, args, pool);
}

ffi::Error ReadSkin(const Floats& verts, const Floats& weights, const Floats& transforms,
                    const Ints& count, Skin* in) {
  const Dims dims = weights.dimensions();
  ffi::Error error = Check({{"weights", "[b,v,k]", dims, {-1, -1, -1}}});
  if (error.failure()) return error;
  int64_t used = 0;
  error = rasterizer::ReadCount(count, dims[1], &used);
  if (error.failure()) return error;
  *in = {dims[0],
         dims[1],
         dims[2],
         used,
         verts.typed_data(),
         weights.typed_data(),
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
  return Run("skin", BestKernels().skin_forward, args, pool);
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
  return Run("gradient of skin", BestKernels().skin_backward, args, pool);
}

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
  *in = {dims[0],
         dims[1],
         faces.dimensions()[0],
         image[1],
         image[2],
         samples,
         capacity,
         verts.typed_data(),
         rest.typed_data(),
         matrix.typed_data(),
         coverage.typed_data(),
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
  ffi::Error error =
      ReadSurface(verts, rest, matrix, coverage, faces, samples, n, &args.in);
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
  return Run("surface", BestKernels().surface_forward, args, pool);
}

ffi::Error RunSurfaceGrad(ffi::ThreadPool pool, Floats verts, Floats rest, Floats matrix,
                          Floats coverage, Ints faces, Ints pixel, Ints shown, Floats kept,
                          Floats grad_point, Floats grad_normal, int64_t samples,
                          ffi::Result<Floats> grad_verts, ffi::Result<Floats> grad_rest,
                          ffi::Result<Floats> grad_matrix, ffi::Result<Floats> grad_coverage) {
  SurfaceBackward args;
  const int64_t n = pixel.element_count();
  ffi::Error error =
      ReadSurface(verts, rest, matrix, coverage, faces, samples, n, &args.in);
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
  return Run("gradient of surface", BestKernels().surface_backward, args, pool);
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
  *in = {n,
         feature.dimensions()[1],
         n,
         light.dimensions()[0],
         albedo.typed_data(),
         feature.typed_data(),
         normal.typed_data(),
         light.typed_data(),
         image.typed_data()};
  return rasterizer::ReadCount(count, n, &in->used);
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
  return Run("lit_values", BestKernels().lit_values_forward, args, pool);
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
  return Run("gradient of lit_values", BestKernels().lit_values_backward, args, pool);
}

ffi::Error RunLatticeCells(ffi::ThreadPool pool, Flags inside, Ints points, Ints groups,
                           ffi::Result<Ints> index, ffi::Result<Ints> code, ffi::Result<Ints> row,
                           ffi::Result<Ints> count, ffi::Result<Flags> touched) {
  const Dims dims = inside.dimensions();
  if (dims.size() != 4 || dims[0] != 2 || dims[1] < 2 || dims[2] < 2 || dims[3] < 2) {
    return BadShape("inside", "[2,x+1,y+1,z+1] with a cell", dims);
  }
  const int64_t x = dims[1] - 1, y = dims[2] - 1, z = dims[3] - 1, n = index->element_count();
  ffi::Error error = Check(
      {{"points", "[12,4]", points.dimensions(), {kCellPoints, 4}},
       {"groups", "[2,x+1,y+1,z+1]", groups.dimensions(), {2, x + 1, y + 1, z + 1}},
       {"index", "[n]", index->dimensions(), {-1}},
       {"code", "[n]", code->dimensions(), {n}},
       {"row", "[c]", row->dimensions(), {x * y * z}},
       {"count", "[]", count->dimensions(), {}},
       {"touched", "[g] with a group", touched->dimensions(), {-1}}});
  if (error.failure()) return error;
  const int64_t num_groups = touched->dimensions()[0];
  if (num_groups < 1) return BadShape("touched", "[g] with a group", touched->dimensions());
  const LatticeCells args = {x,
                             y,
                             z,
                             n,
                             num_groups,
                             static_cast<const uint8_t*>(inside.untyped_data()),
                             groups.typed_data(),
                             points.typed_data(),
                             index->typed_data(),
                             code->typed_data(),
                             row->typed_data(),
                             count->typed_data(),
                             touched->typed_data()};
  return Run("cells of a lattice", BestKernels().lattice_cells, args, pool);
}

ffi::Error RunLatticeMarch(ffi::ThreadPool pool, Ints index, Ints code, Ints row, Ints edges,
                           Ints tets, Ints owners, Ints triangles, ffi::Result<Ints> vert_edge,
                           ffi::Result<Ints> vert_count, ffi::Result<Ints> faces,
                           ffi::Result<Ints> face_count) {
  const int64_t n = index.element_count(), size = row.element_count();
  if (n < 1) return BadShape("index", "[n] with room for a cell", index.dimensions());
  if (size < 1) return BadShape("row", "[c] with a cell", row.dimensions());
  ffi::Error error = Check({{"index", "[n]", index.dimensions(), {n}},
                            {"code", "[n]", code.dimensions(), {n}},
                            {"row", "[c]", row.dimensions(), {size}},
                            {"edges", "[14,2]", edges.dimensions(), {kCellEdges, 2}},
                            {"tets", "[12,4]", tets.dimensions(), {kCellTets, 4}},
                            {"owners", "[12,6,2]", owners.dimensions(), {kCellTets, 6, 2}},
                            {"triangles", "[16,2,3]", triangles.dimensions(), {16, 2, 3}},
                            {"edge of vertices", "[v]", vert_edge->dimensions(), {-1}},
                            {"vertex count", "[]", vert_count->dimensions(), {}},
                            {"faces", "[f,3]", faces->dimensions(), {-1, 3}},
                            {"face count", "[]", face_count->dimensions(), {}}});
  if (error.failure()) return error;
  const LatticeMarch args = {n,
                             size,
                             vert_edge->dimensions()[0],
                             faces->dimensions()[0],
                             index.typed_data(),
                             code.typed_data(),
                             row.typed_data(),
                             edges.typed_data(),
                             tets.typed_data(),
                             owners.typed_data(),
                             triangles.typed_data(),
                             vert_edge->typed_data(),
                             vert_count->typed_data(),
                             faces->typed_data(),
                             face_count->typed_data()};
  return Run("marching through cells", BestKernels().lattice_march, args, pool);
}

}  // namespace
}  // namespace geometry

#pragma GCC visibility push(default)  // what Python looks up by name

XLA_FFI_DEFINE_HANDLER_SYMBOL(GeometryLandmarks, geometry::RunLandmarks,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<rasterizer::Floats>()  // verts
                                  .Arg<rasterizer::Ints>()    // valid
                                  .Attr<double>("margin")
                                  .Attr<bool>("above_feet")
                                  .Ret<rasterizer::Floats>()  // mean
                                  .Ret<rasterizer::Floats>()  // tips
                                  .Ret<rasterizer::Floats>()  // feet
                                  .Ret<rasterizer::Ints>());  // found

XLA_FFI_DEFINE_HANDLER_SYMBOL(GeometrySkinningWeights, geometry::RunSkinningWeights,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<rasterizer::Floats>()  // verts
                                  .Arg<rasterizer::Floats>()  // bones
                                  .Arg<rasterizer::Ints>()    // count
                                  .Attr<double>("temperature")
                                  .Ret<rasterizer::Floats>());  // weights

XLA_FFI_DEFINE_HANDLER_SYMBOL(GeometrySkin, geometry::RunSkin,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<rasterizer::Floats>()    // verts
                                  .Arg<rasterizer::Floats>()    // weights
                                  .Arg<rasterizer::Floats>()    // transforms
                                  .Arg<rasterizer::Ints>()      // count
                                  .Ret<rasterizer::Floats>());  // result

XLA_FFI_DEFINE_HANDLER_SYMBOL(GeometrySkinGrad, geometry::RunSkinGrad,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<rasterizer::Floats>()    // verts
                                  .Arg<rasterizer::Floats>()    // weights
                                  .Arg<rasterizer::Floats>()    // transforms
                                  .Arg<rasterizer::Ints>()      // count
                                  .Arg<rasterizer::Floats>()    // gradient of the result
                                  .Ret<rasterizer::Floats>()    // gradient of verts
                                  .Ret<rasterizer::Floats>());  // gradient of transforms

XLA_FFI_DEFINE_HANDLER_SYMBOL(GeometrySurface, geometry::RunSurface,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<rasterizer::Floats>()  // verts
                                  .Arg<rasterizer::Floats>()  // verts_rest
                                  .Arg<rasterizer::Floats>()  // cam_from_world
                                  .Arg<rasterizer::Floats>()  // coverage
                                  .Arg<rasterizer::Ints>()    // faces
                                  .Attr<int64_t>("samples")
                                  .Ret<rasterizer::Ints>()      // pixel
                                  .Ret<rasterizer::Ints>()      // image
                                  .Ret<rasterizer::Floats>()    // point_rest
                                  .Ret<rasterizer::Floats>()    // normal_cam
                                  .Ret<rasterizer::Ints>()      // count
                                  .Ret<rasterizer::Ints>()      // shown samples
                                  .Ret<rasterizer::Floats>());  // kept vertices

XLA_FFI_DEFINE_HANDLER_SYMBOL(GeometrySurfaceGrad, geometry::RunSurfaceGrad,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<rasterizer::Floats>()  // verts
                                  .Arg<rasterizer::Floats>()  // verts_rest
                                  .Arg<rasterizer::Floats>()  // cam_from_world
                                  .Arg<rasterizer::Floats>()  // coverage
                                  .Arg<rasterizer::Ints>()    // faces
                                  .Arg<rasterizer::Ints>()    // pixel
                                  .Arg<rasterizer::Ints>()    // shown samples
                                  .Arg<rasterizer::Floats>()  // kept vertices
                                  .Arg<rasterizer::Floats>()  // gradient of point_rest
                                  .Arg<rasterizer::Floats>()  // gradient of normal_cam
                                  .Attr<int64_t>("samples")
                                  .Ret<rasterizer::Floats>()    // gradient of verts
                                  .Ret<rasterizer::Floats>()    // gradient of verts_rest
                                  .Ret<rasterizer::Floats>()    // gradient of cam_from_world
                                  .Ret<rasterizer::Floats>());  // gradient of coverage

XLA_FFI_DEFINE_HANDLER_SYMBOL(GeometryLitValues, geometry::RunLitValues,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<rasterizer::Floats>()    // albedo
                                  .Arg<rasterizer::Floats>()    // feature
                                  .Arg<rasterizer::Floats>()    // normal_cam
                                  .Arg<rasterizer::Floats>()    // light
                                  .Arg<rasterizer::Ints>()      // image
                                  .Arg<rasterizer::Ints>()      // count
                                  .Ret<rasterizer::Floats>());  // result

XLA_FFI_DEFINE_HANDLER_SYMBOL(GeometryLitValuesGrad, geometry::RunLitValuesGrad,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<rasterizer::Floats>()    // albedo
                                  .Arg<rasterizer::Floats>()    // feature
                                  .Arg<rasterizer::Floats>()    // normal_cam
                                  .Arg<rasterizer::Floats>()    // light
                                  .Arg<rasterizer::Ints>()      // image
                                  .Arg<rasterizer::Ints>()      // count
                                  .Arg<rasterizer::Floats>()    // gradient of the result
                                  .Ret<rasterizer::Floats>()    // gradient of albedo
                                  .Ret<rasterizer::Floats>()    // gradient of feature
                                  .Ret<rasterizer::Floats>()    // gradient of normal_cam
                                  .Ret<rasterizer::Floats>());  // gradient of light

XLA_FFI_DEFINE_HANDLER_SYMBOL(GeometryLatticeCells, geometry::RunLatticeCells,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<geometry::Flags>()    // inside
                                  .Arg<rasterizer::Ints>()   // points
                                  .Arg<rasterizer::Ints>()   // groups
                                  .Ret<rasterizer::Ints>()   // index
                                  .Ret<rasterizer::Ints>()   // code
                                  .Ret<rasterizer::Ints>()   // row
                                  .Ret<rasterizer::Ints>()   // count
                                  .Ret<geometry::Flags>());  // touched

XLA_FFI_DEFINE_HANDLER_SYMBOL(GeometryLatticeMarch, geometry::RunLatticeMarch,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<rasterizer::Ints>()    // index
                                  .Arg<rasterizer::Ints>()    // code
                                  .Arg<rasterizer::Ints>()    // row
                                  .Arg<rasterizer::Ints>()    // edges
                                  .Arg<rasterizer::Ints>()    // tets
                                  .Arg<rasterizer::Ints>()    // owners
                                  .Arg<rasterizer::Ints>()    // triangles
                                  .Ret<rasterizer::Ints>()    // edge of vertices
                                  .Ret<rasterizer::Ints>()    // vertex count
                                  .Ret<rasterizer::Ints>()    // faces
                                  .Ret<rasterizer::Ints>());  // face count

// Limits the threads of every op from now on; 0 takes the limit away.
extern "C" void GeometrySetMaxThreads(int threads) { geometry::max_threads = threads; }

#pragma GCC visibility pop
