// The XLA FFI targets of a backend: shapes are checked, then the backend computes.
//
// Under vmap every array has further leading dimensions, of size 1 where the array is not mapped
// (vmap_method="expand_dims"). The backend is called once for each index over them, or once in all
// where that is the same as a larger batch of images.
//
// The one source file of a library that includes this has defined, in namespace rasterizer, a
//   class Backend {
//    public:
//     using Context = ...;  // what XLA hands to a handler: Ctx<Context>()
//     explicit Backend(Context context);
//     static float* Fresh(ffi::Result<Floats>& result);  // called before a result is first written
//     ffi::Error Run(const char* op, const A& args);  // for each struct A of arguments.h
//   };

#ifndef RASTERIZER_FFI_SHARED_HANDLERS_H_
#define RASTERIZER_FFI_SHARED_HANDLERS_H_

#include <cstdint>
#include <exception>
#include <initializer_list>
#include <new>
#include <string>
#include <utility>

#include "arguments.h"
#include "xla_types.h"

namespace rasterizer {
namespace {

// The last `rank` dimensions, which are the op's own, and the product of those before them.
struct Shape {
  Shape(Dims dims, size_t rank) : dims(dims), rank(rank), ok(dims.size() >= rank) {
    for (size_t i = 0; ok && i + rank < dims.size(); ++i) outer *= dims[i];
    for (size_t i = 0; ok && i < rank; ++i) inner *= (*this)[i];
  }
  int64_t operator[](size_t i) const { return dims[dims.size() - rank + i]; }

  Dims dims;
  size_t rank;
  bool ok;
  int64_t outer = 1;
  int64_t inner = 1;
};

// Walks over the leading dimensions that vmap added; they are those of a result, which has them
// all.
class Outer {
 public:
  explicit Outer(const Shape& result) : result_(result) {}

  int64_t size() const { return result_.outer; }

  // Whether an argument has as many leading dimensions as the result, each of its size or 1.
  bool Matches(const Shape& argument) const {
    if (!argument.ok || Count(argument) != Count(result_)) return false;
    for (size_t i = 0; i < Count(result_); ++i) {
      if (argument.dims[i] != 1 && argument.dims[i] != result_.dims[i]) return false;
    }
    return true;
  }

  // Checks a further result: the leading dimensions of the first, then `sizes`. A kernel writes all
  // of it, so that a smaller one would be written over its end.
  ffi::Error Check(const char* name, const char* expected, const Shape& result,
                   std::initializer_list<int64_t> sizes) const {
    bool same = result.ok && Count(result) == Count(result_) && sizes.size() == result.rank;
    for (size_t i = 0; same && i < Count(result_); ++i) same = result.dims[i] == result_.dims[i];
    for (size_t i = 0; same && i < result.rank; ++i) same = result[i] == sizes.begin()[i];
    return same ? ffi::Error::Success() : BadShape(name, expected, result.dims);
  }
  ffi::Error CheckLike(const char* name, const char* expected, const Shape& result,
                       const Shape& like) const {
    switch (like.rank) {
      case 2: return Check(name, expected, result, {like[0], like[1]});
      case 3: return Check(name, expected, result, {like[0], like[1], like[2]});
      default: return Check(name, expected, result, {like[0], like[1], like[2], like[3]});
    }
  }

  // Elements to skip in an argument to reach its part for an index over the leading dimensions.
  int64_t Offset(const Shape& argument, int64_t index) const {
    int64_t offset = 0, stride = argument.inner;
    for (size_t i = Count(result_); i-- > 0;) {
      const int64_t along = index % result_.dims[i];
      index /= result_.dims[i];
      if (argument.dims[i] != 1) offset += along * stride;
      stride *= argument.dims[i];
    }
    return offset;
  }

 private:
  static size_t Count(const Shape& shape) { return shape.dims.size() - shape.rank; }
  const Shape& result_;
};

// Runs a handler's body; exceptions (of std::string, of the thread pool) do not cross the FFI
// border.
template <class Body>
ffi::Error Guarded(const char* op, Body body) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return OutOfMemory(op);
  } catch (const std::exception& e) {
    return ffi::Error::Internal(std::string(op) + ": " + e.what());
  }
}

// The arrays that say where triangles are, for one index over the leading dimensions.
struct GeometryArgs {
  Shape pos, tri, ranges;
  const float* pos_data;
  const int32_t* tri_data;
  const int32_t* ranges_data;
  bool range_mode;

  GeometryArgs(const Floats& pos_in, const Ints& tri_in, const Ints& ranges_in, bool range_mode)
      : pos(pos_in.dimensions(), range_mode ? 2 : 3), tri(tri_in.dimensions(), 2),
        ranges(ranges_in.dimensions(), 2), pos_data(pos_in.typed_data()),
        tri_data(tri_in.typed_data()), ranges_data(ranges_in.typed_data()),
        range_mode(range_mode) {}

  // `image`: any array [B,H,W,?] of the op.
  ffi::Error Check(const Outer& outer, const Shape& image) const {
    if (!outer.Matches(pos) || pos[pos.rank - 1] != 4 || (!range_mode && pos[0] != image[0])) {
      return BadShape("pos", range_mode ? "[V,4]" : "[B,V,4] with B that of rast", pos.dims);
    }
    if (!outer.Matches(tri) || tri[1] != 3) return BadShape("tri", "[F,3]", tri.dims);
    if (tri[0] > (1 << 24)) {
      return ffi::Error::InvalidArgument(
          "tri: expected at most 2^24 triangles, which float ids can tell apart, got " +
          std::to_string(tri[0]));
    }
    if (!outer.Matches(ranges) || ranges[1] != 2 || (range_mode && ranges[0] != image[0])) {
      return BadShape("ranges", "[B,2]", ranges.dims);
    }
    return ffi::Error::Success();
  }

  ffi::Error CheckGradient(const Outer& outer, const Shape& grad) const {
    return outer.CheckLike("gradient of pos", "that of pos", grad, pos);
  }

  // Whether the leading dimensions are no more than a larger batch.
  bool Folds(const Outer& outer) const {
    return !range_mode && tri.outer == 1 && pos.outer == outer.size();
  }

  Geometry At(const Outer& outer, int64_t index, const Shape& image, int64_t folded) const {
    Geometry g;
    g.pos = pos_data + outer.Offset(pos, index);
    g.tri = tri_data + outer.Offset(tri, index);
    g.ranges = range_mode ? ranges_data + outer.Offset(ranges, index) : nullptr;
    g.num_images = image[0] * folded;
    g.num_vertices = pos[pos.rank - 2];
    g.num_triangles = tri[0];
    g.height = image[1];
    g.width = image[2];
    g.shared_pos = range_mode;
    return g;
  }
};

// An image-like argument or result: [B,H,W,channels] with the B, H, W of another.
bool SameImage(const Shape& a, const Shape& b) {
  return a.ok && a[0] == b[0] && a[1] == b[1] && a[2] == b[2];
}

ffi::Error Rasterize(Backend::Context context, Floats pos, Ints tri, Ints ranges, bool range_mode,
                     ffi::Result<Floats> rast, ffi::Result<Floats> rast_db) {
  return Guarded("rasterize", [&] {
    const Shape image(rast->dimensions(), 4);
    const Outer outer(image);
    const GeometryArgs geometry(pos, tri, ranges, range_mode);
    if (!image.ok || image[3] != 4) return BadShape("rast", "[B,H,W,4]", rast->dimensions());
    if (ffi::Error error = geometry.Check(outer, image); error.failure()) return error;
    const Shape db(rast_db->dimensions(), 4);
    if (ffi::Error error = outer.CheckLike("rast_db", "that of rast", db, image); error.failure()) {
      return error;
    }
    const int64_t folded = geometry.Folds(outer) ? outer.size() : 1;
    float *rast_data = Backend::Fresh(rast), *rast_db_data = Backend::Fresh(rast_db);
    Backend backend(std::move(context));
    for (int64_t i = 0; i < outer.size() / folded; ++i) {
      RasterizeForward args;
      args.geometry = geometry.At(outer, i, image, folded);
      args.rast = rast_data + i * image.inner;
      args.rast_db = rast_db_data + i * image.inner;
      if (ffi::Error error = backend.Run("rasterize", args); error.failure()) return error;
    }
    return ffi::Error::Success();
  });
}

ffi::Error RasterizeLayers(Backend::Context context, Floats pos, Ints tri, Ints ranges,
                           bool range_mode, ffi::Result<Floats> rast, ffi::Result<Floats> rast_db) {
  return Guarded("rasterize_layers", [&] {
    const Shape layers(rast->dimensions(), 5), image(rast->dimensions(), 4);
    const Outer outer(layers);
    const GeometryArgs geometry(pos, tri, ranges, range_mode);
    if (!layers.ok || image[3] != 4) return BadShape("rast", "[L,B,H,W,4]", rast->dimensions());
    if (ffi::Error error = geometry.Check(outer, image); error.failure()) return error;
    const Shape db(rast_db->dimensions(), 5);
    if (ffi::Error error = outer.Check("rast_db", "that of rast", db,
                                       {layers[0], layers[1], layers[2], layers[3], layers[4]});
        error.failure()) {
      return error;
    }
    float *rast_data = Backend::Fresh(rast), *rast_db_data = Backend::Fresh(rast_db);
    Backend backend(std::move(context));
    for (int64_t i = 0; i < outer.size(); ++i) {
      RasterizeForward args;
      args.geometry = geometry.At(outer, i, image, 1);
      args.num_layers = layers[0];
      args.rast = rast_data + i * layers.inner;
      args.rast_db = rast_db_data + i * layers.inner;
      if (ffi::Error error = backend.Run("rasterize_layers", args); error.failure()) return error;
    }
    return ffi::Error::Success();
  });
}

ffi::Error RasterizeGrad(Backend::Context context, Floats pos, Ints tri, Ints ranges, Floats rast,
                         Floats dy, Floats ddb, bool range_mode, bool with_db,
                         ffi::Result<Floats> grad_pos) {
  return Guarded("rasterize gradient", [&] {
    const Shape image(rast.dimensions(), 4), dy_shape(dy.dimensions(), 4);
    const Shape ddb_shape(ddb.dimensions(), 4);
    const Shape grad(grad_pos->dimensions(), range_mode ? 2 : 3);
    const Outer outer(grad);
    const GeometryArgs geometry(pos, tri, ranges, range_mode);
    if (!outer.Matches(image) || image[3] != 4) {
      return BadShape("rast", "[B,H,W,4]", image.dims);
    }
    if (ffi::Error error = geometry.Check(outer, image); error.failure()) return error;
    if (!outer.Matches(dy_shape) || !SameImage(dy_shape, image) || dy_shape[3] != 4) {
      return BadShape("gradient of rast", "that of rast", dy_shape.dims);
    }
    if (with_db &&
        (!outer.Matches(ddb_shape) || !SameImage(ddb_shape, image) || ddb_shape[3] != 4)) {
      return BadShape("gradient of rast_db", "that of rast", ddb_shape.dims);
    }
    if (ffi::Error error = geometry.CheckGradient(outer, grad); error.failure()) return error;
    const bool folds = geometry.Folds(outer) && image.outer == outer.size() &&
                       dy_shape.outer == outer.size() &&
                       (!with_db || ddb_shape.outer == outer.size());
    const int64_t folded = folds ? outer.size() : 1;
    Backend backend(std::move(context));
    for (int64_t i = 0; i < outer.size() / folded; ++i) {
      RasterizeBackward args;
      args.geometry = geometry.At(outer, i, image, folded);
      args.rast = rast.typed_data() + outer.Offset(image, i);
      args.dy = dy.typed_data() + outer.Offset(dy_shape, i);
      args.ddb = with_db ? ddb.typed_data() + outer.Offset(ddb_shape, i) : nullptr;
      args.grad_pos = grad_pos->typed_data() + i * grad.inner;
      if (ffi::Error error = backend.Run("rasterize gradient", args); error.failure()) return error;
    }
    return ffi::Error::Success();
  });
}

// The inputs of interpolate for one index over the leading dimensions.
struct InterpolateArgs {
  Shape attr, rast, tri, rast_db;
  const float *attr_data, *rast_data, *rast_db_data;
  const int32_t* tri_data;
  ffi::Span<const int32_t> diff_attrs;

  InterpolateArgs(const Floats& attr_in, const Floats& rast_in, const Ints& tri_in,
                  const Floats& rast_db_in, ffi::Span<const int32_t> diff_attrs)
      : attr(attr_in.dimensions(), 3), rast(rast_in.dimensions(), 4), tri(tri_in.dimensions(), 2),
        rast_db(rast_db_in.dimensions(), 4), attr_data(attr_in.typed_data()),
        rast_data(rast_in.typed_data()), rast_db_data(rast_db_in.typed_data()),
        tri_data(tri_in.typed_data()), diff_attrs(diff_attrs) {}

  int64_t num_diff() const { return static_cast<int64_t>(diff_attrs.size()); }

  ffi::Error Check(const Outer& outer) const {
    if (!outer.Matches(rast) || rast[3] != 4) return BadShape("rast", "[B,H,W,4]", rast.dims);
    if (!outer.Matches(attr) || (attr[0] != rast[0] && attr[0] != 1)) {
      return BadShape("attr", "[B,V,C] or [1,V,C] with B that of rast", attr.dims);
    }
    if (!outer.Matches(tri) || tri[1] != 3) return BadShape("tri", "[F,3]", tri.dims);
    if (num_diff() > 0 &&
        (!outer.Matches(rast_db) || !SameImage(rast_db, rast) || rast_db[3] != 4)) {
      return BadShape("rast_db", "that of rast", rast_db.dims);
    }
    for (int32_t c : diff_attrs) {
      if (c < 0 || c >= attr[2]) {
        return ffi::Error::InvalidArgument("diff_attrs: expected channels in [0, " +
                                           std::to_string(attr[2]) + "), got " + std::to_string(c));
      }
    }
    return ffi::Error::Success();
  }

  bool Folds(const Outer& outer) const {
    return attr[0] == rast[0] && tri.outer == 1 && attr.outer == outer.size() &&
           rast.outer == outer.size() && (num_diff() == 0 || rast_db.outer == outer.size());
  }

  InterpolateForward At(const Outer& outer, int64_t index, int64_t folded) const {
    InterpolateForward args = {};
    args.attr = attr_data + outer.Offset(attr, index);
    args.rast = rast_data + outer.Offset(rast, index);
    args.tri = tri_data + outer.Offset(tri, index);
    args.rast_db = num_diff() > 0 ? rast_db_data + outer.Offset(rast_db, index) : nullptr;
    args.diff_attrs = diff_attrs.begin();
    args.num_images = rast[0] * folded;
    args.num_vertices = attr[1];
    args.num_triangles = tri[0];
    args.num_pixels = rast[1] * rast[2];
    args.num_channels = attr[2];
    args.num_diff = num_diff();
    args.shared_attr = attr[0] == 1 && args.num_images > 1 && folded == 1;
    return args;
  }
};

ffi::Error Interpolate(Backend::Context context, Floats attr, Floats rast, Ints tri, Floats rast_db,
                       ffi::Span<const int32_t> diff_attrs, ffi::Result<Floats> out,
                       ffi::Result<Floats> out_da) {
  return Guarded("interpolate", [&] {
    const Shape result(out->dimensions(), 4), result_da(out_da->dimensions(), 4);
    const Outer outer(result);
    const InterpolateArgs inputs(attr, rast, tri, rast_db, diff_attrs);
    if (ffi::Error error = inputs.Check(outer); error.failure()) return error;
    const int64_t b = inputs.rast[0], h = inputs.rast[1], w = inputs.rast[2];
    ffi::Error error = outer.Check("out", "[B,H,W,C]", result, {b, h, w, inputs.attr[2]});
    if (error.failure()) return error;
    error = outer.Check("out_da", "[B,H,W,2D]", result_da, {b, h, w, 2 * inputs.num_diff()});
    if (error.failure()) return error;
    const int64_t folded = inputs.Folds(outer) ? outer.size() : 1;
    float *out_data = Backend::Fresh(out), *out_da_data = Backend::Fresh(out_da);
    Backend backend(std::move(context));
    for (int64_t i = 0; i < outer.size() / folded; ++i) {
      InterpolateForward args = inputs.At(outer, i, folded);
      args.out = out_data + i * result.inner;
      args.out_da = out_da_data + i * result_da.inner;
      if (ffi::Error error = backend.Run("interpolate", args); error.failure()) return error;
    }
    return ffi::Error::Success();
  });
}

ffi::Error InterpolateGrad(Backend::Context context, Floats attr, Floats rast, Ints tri,
                           Floats rast_db, Floats dy, Floats dda,
                           ffi::Span<const int32_t> diff_attrs, ffi::Result<Floats> grad_attr,
                           ffi::Result<Floats> grad_rast, ffi::Result<Floats> grad_rast_db) {
  return Guarded("interpolate gradient", [&] {
    const Shape grad(grad_rast->dimensions(), 4), grad_attr_shape(grad_attr->dimensions(), 3);
    const Shape dy_shape(dy.dimensions(), 4), dda_shape(dda.dimensions(), 4);
    const Outer outer(grad);
    const InterpolateArgs inputs(attr, rast, tri, rast_db, diff_attrs);
    if (ffi::Error error = inputs.Check(outer); error.failure()) return error;
    if (!outer.Matches(dy_shape) || !SameImage(dy_shape, inputs.rast) ||
        dy_shape[3] != inputs.attr[2]) {
      return BadShape("gradient of out", "[B,H,W,C]", dy_shape.dims);
    }
    if (inputs.num_diff() > 0 && (!outer.Matches(dda_shape) || !SameImage(dda_shape, inputs.rast) ||
                                  dda_shape[3] != 2 * inputs.num_diff())) {
      return BadShape("gradient of out_da", "[B,H,W,2D]", dda_shape.dims);
    }
    const Shape grad_db(grad_rast_db->dimensions(), 4);
    ffi::Error error = outer.CheckLike("gradient of attr", "that of attr", grad_attr_shape,
                                       inputs.attr);
    if (error.failure()) return error;
    error = outer.CheckLike("gradient of rast", "that of rast", grad, inputs.rast);
    if (error.failure()) return error;
    if (inputs.num_diff() > 0) {
      error = outer.CheckLike("gradient of rast_db", "that of rast", grad_db, inputs.rast);
      if (error.failure()) return error;
    }
    const bool folds = inputs.Folds(outer) && dy_shape.outer == outer.size() &&
                       (inputs.num_diff() == 0 || dda_shape.outer == outer.size());
    const int64_t folded = folds ? outer.size() : 1;
    float* grad_rast_data = Backend::Fresh(grad_rast);
    float* grad_rast_db_data = Backend::Fresh(grad_rast_db);
    Backend backend(std::move(context));
    for (int64_t i = 0; i < outer.size() / folded; ++i) {
      InterpolateBackward args;
      args.forward = inputs.At(outer, i, folded);
      args.dy = dy.typed_data() + outer.Offset(dy_shape, i);
      const bool derivatives = inputs.num_diff() > 0;
      args.dda = derivatives ? dda.typed_data() + outer.Offset(dda_shape, i) : nullptr;
      args.grad_attr = grad_attr->typed_data() + i * grad_attr_shape.inner;
      args.grad_rast = grad_rast_data + i * grad.inner;
      args.grad_rast_db = derivatives ? grad_rast_db_data + i * grad.inner : nullptr;
      error = backend.Run("interpolate gradient", args);
      if (error.failure()) return error;
    }
    return ffi::Error::Success();
  });
}

// The inputs of antialias for one index over the leading dimensions. A pixel of color has `samples`
// rows and columns of rast. `packed`: color is [1,1,N,C], of some pixels.
struct AntialiasArgs {
  Shape color, rast, opposite;
  GeometryArgs geometry;
  const float *color_data, *rast_data;
  const int32_t* opposite_data;
  int64_t samples;
  bool packed;

  AntialiasArgs(const Floats& color_in, const Floats& rast_in, const Floats& pos, const Ints& tri,
                const Ints& ranges, const Ints& opposite_in, bool range_mode, int64_t samples = 1,
                bool packed = false)
      : color(color_in.dimensions(), 4), rast(rast_in.dimensions(), 4),
        opposite(opposite_in.dimensions(), 2), geometry(pos, tri, ranges, range_mode),
        color_data(color_in.typed_data()), rast_data(rast_in.typed_data()),
        opposite_data(opposite_in.typed_data()), samples(samples), packed(packed) {}

  // Whether an array has the images, rows and columns of the result.
  bool IsImage(const Shape& array) const {
    return array.ok && array[0] == rast[0] && array[1] == rast[1] / samples &&
           array[2] == rast[2] / samples;
  }

  ffi::Error Check(const Outer& outer) const {
    if (!outer.Matches(rast) || rast[3] != 4) return BadShape("rast", "[B,H,W,4]", rast.dims);
    if (samples < 1) {
      return ffi::Error::InvalidArgument("samples: expected at least 1, got " +
                                         std::to_string(samples));
    }
    if (!outer.Matches(color) || !(packed ? color[0] == 1 && color[1] == 1 : IsImage(color)) ||
        rast[1] % samples != 0 || rast[2] % samples != 0) {
      return BadShape("color",
                      samples == 1 ? "[B,H,W,C] with B, H, W those of rast"
                                   : "[B,H,W,C] with rast of `samples` times the height and width",
                      color.dims);
    }
    if (ffi::Error error = geometry.Check(outer, rast); error.failure()) return error;
    if (!outer.Matches(opposite) || opposite[0] != geometry.tri[0] || opposite[1] != 3) {
      return BadShape("topology_hash", "[F,3] with F that of tri", opposite.dims);
    }
    return ffi::Error::Success();
  }

  ffi::Error CheckCrossings(const Outer& outer, const Shape& crossings) const {
    return outer.Check("crossings", "[B,H,W] with B, H, W those of rast", crossings,
                       {rast[0], rast[1], rast[2]});
  }

  ffi::Error CheckGradients(const Outer& outer, const Shape& grad_color,
                            const Shape& grad_pos) const {
    ffi::Error error = outer.CheckLike("gradient of color", "that of color", grad_color, color);
    return error.failure() ? error : geometry.CheckGradient(outer, grad_pos);
  }

  bool Folds(const Outer& outer) const {
    return geometry.Folds(outer) && opposite.outer == 1 && color.outer == outer.size() &&
           rast.outer == outer.size();
  }

  AntialiasForward At(const Outer& outer, int64_t index, int64_t folded) const {
    AntialiasForward args = {};
    args.geometry = geometry.At(outer, index, rast, folded);
    args.geometry.ranges = nullptr;
    args.color = color_data + outer.Offset(color, index);
    args.rast = rast_data + outer.Offset(rast, index);
    args.opposite = opposite_data + outer.Offset(opposite, index);
    args.num_channels = color[3];
    return args;
  }
};

ffi::Error Antialias(Backend::Context context, Floats color, Floats rast, Floats pos, Ints tri,
                     Ints ranges, Ints opposite, bool range_mode, ffi::Result<Floats> out,
                     ffi::Result<Bytes> crossings) {
  return Guarded("antialias", [&] {
    const Shape result(out->dimensions(), 4), crossings_shape(crossings->dimensions(), 3);
    const Outer outer(result);
    const AntialiasArgs inputs(color, rast, pos, tri, ranges, opposite, range_mode);
    if (ffi::Error error = inputs.Check(outer); error.failure()) return error;
    ffi::Error error = outer.CheckLike("out", "that of color", result, inputs.color);
    if (error.failure()) return error;
    error = inputs.CheckCrossings(outer, crossings_shape);
    if (error.failure()) return error;
    const int64_t folded = inputs.Folds(outer) ? outer.size() : 1;
    float* out_data = Backend::Fresh(out);
    Backend backend(std::move(context));
    for (int64_t i = 0; i < outer.size() / folded; ++i) {
      AntialiasForward args = inputs.At(outer, i, folded);
      args.out = out_data + i * result.inner;
      args.crossings = crossings->typed_data() + i * crossings_shape.inner;
      if (ffi::Error error = backend.Run("antialias", args); error.failure()) return error;
    }
    return ffi::Error::Success();
  });
}

ffi::Error AntialiasGrad(Backend::Context context, Floats color, Floats rast, Floats pos, Ints tri,
                         Ints ranges, Ints opposite, Bytes crossings, Floats dy, bool range_mode,
                         float pos_gradient_boost, ffi::Result<Floats> grad_color,
                         ffi::Result<Floats> grad_pos) {
  return Guarded("antialias gradient", [&] {
    const Shape grad(grad_color->dimensions(), 4), dy_shape(dy.dimensions(), 4);
    const Shape grad_pos_shape(grad_pos->dimensions(), range_mode ? 2 : 3);
    const Shape crossings_shape(crossings.dimensions(), 3);
    const Outer outer(grad);
    const AntialiasArgs inputs(color, rast, pos, tri, ranges, opposite, range_mode);
    if (ffi::Error error = inputs.Check(outer); error.failure()) return error;
    if (!outer.Matches(dy_shape) || !SameImage(dy_shape, inputs.rast) ||
        dy_shape[3] != inputs.color[3]) {
      return BadShape("gradient of the result", "that of color", dy_shape.dims);
    }
    if (!outer.Matches(crossings_shape) || !SameImage(crossings_shape, inputs.rast)) {
      return BadShape("crossings", "[B,H,W] with B, H, W those of rast", crossings_shape.dims);
    }
    ffi::Error error = inputs.CheckGradients(outer, grad, grad_pos_shape);
    if (error.failure()) return error;
    const bool folds = inputs.Folds(outer) && dy_shape.outer == outer.size() &&
                       crossings_shape.outer == outer.size();
    const int64_t folded = folds ? outer.size() : 1;
    float* grad_color_data = Backend::Fresh(grad_color);
    Backend backend(std::move(context));
    for (int64_t i = 0; i < outer.size() / folded; ++i) {
      AntialiasBackward args;
      args.forward = inputs.At(outer, i, folded);
      args.crossings = crossings.typed_data() + outer.Offset(crossings_shape, i);
      args.dy = dy.typed_data() + outer.Offset(dy_shape, i);
      args.pos_gradient_boost = pos_gradient_boost;
      args.grad_color = grad_color_data + i * grad.inner;
      args.grad_pos = grad_pos->typed_data() + i * grad_pos_shape.inner;
      if (ffi::Error error = backend.Run("antialias gradient", args); error.failure()) return error;
    }
    return ffi::Error::Success();
  });
}

// The inputs of texture for one index over the leading dimensions. uv_da and bias have no channels,
// or no pixels, where they are not given.
struct TextureArgs {
  Shape stack, uv, uv_da, bias;
  const float *stack_data, *uv_data, *uv_da_data, *bias_data;
  int64_t height, width, max_level;
  int filter, boundary;
  bool with_da, with_bias;

  ffi::Error Check(const Outer& outer) const {
    const int64_t coordinates = boundary == kCube ? 3 : 2;
    if (filter < kNearest || filter > kLinearMipmapLinear || boundary < kCube || boundary > kZero ||
        max_level < 0 || max_level > 30 || height < 1 || width < 1) {
      return ffi::Error::InvalidArgument("texture: an attribute is out of range");
    }
    if (!outer.Matches(uv) || uv[3] != coordinates) {
      return BadShape("uv", boundary == kCube ? "[B,H,W,3]" : "[B,H,W,2]", uv.dims);
    }
    int64_t texels = 0, h = height, w = width;
    for (int64_t i = 0; i <= max_level; ++i) {
      texels += (boundary == kCube ? 6 : 1) * h * w;
      h = h > 1 ? h / 2 : 1;
      w = w > 1 ? w / 2 : 1;
    }
    if (!outer.Matches(stack) || (stack[0] != 1 && stack[0] != uv[0]) || stack[1] != texels) {
      return BadShape("texture levels", "[1 or B, texels of all levels, C]", stack.dims);
    }
    if (with_da &&
        (!outer.Matches(uv_da) || !SameImage(uv_da, uv) || uv_da[3] != 2 * coordinates)) {
      return BadShape("uv_da", "[B,H,W,4], cube maps [B,H,W,6]", uv_da.dims);
    }
    if (with_bias && (!outer.Matches(bias) || !SameImage(bias, uv) || bias[3] != 1)) {
      return BadShape("mip_level_bias", "[B,H,W]", bias.dims);
    }
    return ffi::Error::Success();
  }

  TextureForward At(const Outer& outer, int64_t index) const {
    TextureForward args = {};
    args.stack = stack_data + outer.Offset(stack, index);
    args.uv = uv_data + outer.Offset(uv, index);
    args.uv_da = with_da ? uv_da_data + outer.Offset(uv_da, index) : nullptr;
    args.bias = with_bias ? bias_data + outer.Offset(bias, index) : nullptr;
    args.num_textures = stack[0];
    args.num_images = uv[0];
    args.num_pixels = uv[1] * uv[2];
    args.num_channels = stack[2];
    args.height = height;
    args.width = width;
    args.max_level = max_level;
    args.filter = filter;
    args.boundary = boundary;
    return args;
  }
};

TextureArgs MakeTextureArgs(const Floats& stack, const Floats& uv, const Floats& uv_da,
                            const Floats& bias, int64_t height, int64_t width, int64_t max_level,
                            int64_t filter, int64_t boundary, bool with_da, bool with_bias) {
  return {Shape(stack.dimensions(), 3), Shape(uv.dimensions(), 4), Shape(uv_da.dimensions(), 4),
          Shape(bias.dimensions(), 4), stack.typed_data(), uv.typed_data(), uv_da.typed_data(),
          bias.typed_data(), height, width, max_level, static_cast<int>(filter),
          static_cast<int>(boundary), with_da, with_bias};
}

ffi::Error Texture(Backend::Context context, Floats stack, Floats uv, Floats uv_da, Floats bias,
                   int64_t height, int64_t width, int64_t max_level, int64_t filter,
                   int64_t boundary, bool with_da, bool with_bias, ffi::Result<Floats> out) {
  return Guarded("texture", [&] {
    const Shape result(out->dimensions(), 4);
    const Outer outer(result);
    const TextureArgs inputs = MakeTextureArgs(stack, uv, uv_da, bias, height, width, max_level,
                                               filter, boundary, with_da, with_bias);
    if (ffi::Error error = inputs.Check(outer); error.failure()) return error;
    ffi::Error error = outer.Check("out", "[B,H,W,C]", result,
                                   {inputs.uv[0], inputs.uv[1], inputs.uv[2], inputs.stack[2]});
    if (error.failure()) return error;
    float* out_data = Backend::Fresh(out);
    Backend backend(std::move(context));
    for (int64_t i = 0; i < outer.size(); ++i) {
      TextureForward args = inputs.At(outer, i);
      args.out = out_data + i * result.inner;
      if (ffi::Error error = backend.Run("texture", args); error.failure()) return error;
    }
    return ffi::Error::Success();
  });
}

ffi::Error TextureGrad(Backend::Context context, Floats stack, Floats uv, Floats uv_da, Floats bias,
                       Floats dy, int64_t height, int64_t width, int64_t max_level, int64_t filter,
                       int64_t boundary, bool with_da, bool with_bias,
                       ffi::Result<Floats> grad_stack, ffi::Result<Floats> grad_uv,
                       ffi::Result<Floats> grad_uv_da, ffi::Result<Floats> grad_bias) {
  return Guarded("texture gradient", [&] {
    const Shape grad(grad_uv->dimensions(), 4), dy_shape(dy.dimensions(), 4);
    const Shape grad_stack_shape(grad_stack->dimensions(), 3);
    const Shape grad_da_shape(grad_uv_da->dimensions(), 4);
    const Shape grad_bias_shape(grad_bias->dimensions(), 4);
    const Outer outer(grad);
    const TextureArgs inputs = MakeTextureArgs(stack, uv, uv_da, bias, height, width, max_level,
                                               filter, boundary, with_da, with_bias);
    if (ffi::Error error = inputs.Check(outer); error.failure()) return error;
    if (!outer.Matches(dy_shape) || !SameImage(dy_shape, inputs.uv) ||
        dy_shape[3] != inputs.stack[2]) {
      return BadShape("gradient of the result", "[B,H,W,C]", dy_shape.dims);
    }
    ffi::Error error = outer.CheckLike("gradient of the levels", "that of the levels",
                                       grad_stack_shape, inputs.stack);
    if (error.failure()) return error;
    error = outer.CheckLike("gradient of uv", "that of uv", grad, inputs.uv);
    if (error.failure()) return error;
    if (with_da) {
      error = outer.CheckLike("gradient of uv_da", "that of uv_da", grad_da_shape, inputs.uv_da);
      if (error.failure()) return error;
    }
    if (with_bias) {
      error = outer.CheckLike("gradient of mip_level_bias", "that of mip_level_bias",
                              grad_bias_shape, inputs.bias);
      if (error.failure()) return error;
    }
    Backend backend(std::move(context));
    for (int64_t i = 0; i < outer.size(); ++i) {
      TextureBackward args;
      args.forward = inputs.At(outer, i);
      args.dy = dy.typed_data() + outer.Offset(dy_shape, i);
      args.grad_stack = grad_stack->typed_data() + i * grad_stack_shape.inner;
      args.grad_uv = grad_uv->typed_data() + i * grad.inner;
      args.grad_uv_da = with_da ? grad_uv_da->typed_data() + i * grad_da_shape.inner : nullptr;
      args.grad_bias = with_bias ? grad_bias->typed_data() + i * grad_bias_shape.inner : nullptr;
      if (ffi::Error error = backend.Run("texture gradient", args); error.failure()) return error;
    }
    return ffi::Error::Success();
  });
}

ffi::Error TopologyHash(Backend::Context context, Ints tri, ffi::Result<Ints> opposite) {
  const char* op = "antialias_construct_topology_hash";
  return Guarded(op, [&] {
    const Shape result(opposite->dimensions(), 2), tri_shape(tri.dimensions(), 2);
    const Outer outer(result);
    if (!outer.Matches(tri_shape) || tri_shape[1] != 3) {
      return BadShape("tri", "[F,3]", tri_shape.dims);
    }
    ffi::Error error = outer.CheckLike("opposite vertices", "that of tri", result, tri_shape);
    if (error.failure()) return error;
    Backend backend(std::move(context));
    for (int64_t i = 0; i < result.outer; ++i) {
      const Topology topology = {tri.typed_data() + outer.Offset(tri_shape, i), tri_shape[0],
                                 opposite->typed_data() + i * result.inner};
      if (ffi::Error error = backend.Run(op, topology); error.failure()) return error;
    }
    return ffi::Error::Success();
  });
}

}  // namespace
}  // namespace rasterizer

#pragma GCC visibility push(default)  // what Python looks up by name

XLA_FFI_DEFINE_HANDLER_SYMBOL(RasterizerRasterize, rasterizer::Rasterize,
                              ffi::Ffi::Bind()
                                  .Ctx<rasterizer::Backend::Context>()
                                  .Arg<rasterizer::Floats>()  // pos
                                  .Arg<rasterizer::Ints>()    // tri
                                  .Arg<rasterizer::Ints>()    // ranges
                                  .Attr<bool>("range_mode")
                                  .Ret<rasterizer::Floats>()    // rast
                                  .Ret<rasterizer::Floats>());  // rast_db

XLA_FFI_DEFINE_HANDLER_SYMBOL(RasterizerRasterizeLayers, rasterizer::RasterizeLayers,
                              ffi::Ffi::Bind()
                                  .Ctx<rasterizer::Backend::Context>()
                                  .Arg<rasterizer::Floats>()  // pos
                                  .Arg<rasterizer::Ints>()    // tri
                                  .Arg<rasterizer::Ints>()    // ranges
                                  .Attr<bool>("range_mode")
                                  .Ret<rasterizer::Floats>()    // rast
                                  .Ret<rasterizer::Floats>());  // rast_db

XLA_FFI_DEFINE_HANDLER_SYMBOL(RasterizerRasterizeGrad, rasterizer::RasterizeGrad,
                              ffi::Ffi::Bind()
                                  .Ctx<rasterizer::Backend::Context>()
                                  .Arg<rasterizer::Floats>()  // pos
                                  .Arg<rasterizer::Ints>()    // tri
                                  .Arg<rasterizer::Ints>()    // ranges
                                  .Arg<rasterizer::Floats>()  // rast
                                  .Arg<rasterizer::Floats>()  // gradient of rast
                                  .Arg<rasterizer::Floats>()  // gradient of rast_db
                                  .Attr<bool>("range_mode")
                                  .Attr<bool>("with_db")
                                  .Ret<rasterizer::Floats>());  // gradient of pos

XLA_FFI_DEFINE_HANDLER_SYMBOL(RasterizerInterpolate, rasterizer::Interpolate,
                              ffi::Ffi::Bind()
                                  .Ctx<rasterizer::Backend::Context>()
                                  .Arg<rasterizer::Floats>()  // attr
                                  .Arg<rasterizer::Floats>()  // rast
                                  .Arg<rasterizer::Ints>()    // tri
                                  .Arg<rasterizer::Floats>()  // rast_db
                                  .Attr<ffi::Span<const int32_t>>("diff_attrs")
                                  .Ret<rasterizer::Floats>()    // out
                                  .Ret<rasterizer::Floats>());  // out_da

XLA_FFI_DEFINE_HANDLER_SYMBOL(RasterizerInterpolateGrad, rasterizer::InterpolateGrad,
                              ffi::Ffi::Bind()
                                  .Ctx<rasterizer::Backend::Context>()
                                  .Arg<rasterizer::Floats>()  // attr
                                  .Arg<rasterizer::Floats>()  // rast
                                  .Arg<rasterizer::Ints>()    // tri
                                  .Arg<rasterizer::Floats>()  // rast_db
                                  .Arg<rasterizer::Floats>()  // gradient of out
                                  .Arg<rasterizer::Floats>()  // gradient of out_da
                                  .Attr<ffi::Span<const int32_t>>("diff_attrs")
                                  .Ret<rasterizer::Floats>()    // gradient of attr
                                  .Ret<rasterizer::Floats>()    // gradient of rast
                                  .Ret<rasterizer::Floats>());  // gradient of rast_db

XLA_FFI_DEFINE_HANDLER_SYMBOL(RasterizerAntialias, rasterizer::Antialias,
                              ffi::Ffi::Bind()
                                  .Ctx<rasterizer::Backend::Context>()
                                  .Arg<rasterizer::Floats>()  // color
                                  .Arg<rasterizer::Floats>()  // rast
                                  .Arg<rasterizer::Floats>()  // pos
                                  .Arg<rasterizer::Ints>()    // tri
                                  .Arg<rasterizer::Ints>()    // ranges
                                  .Arg<rasterizer::Ints>()    // topology
                                  .Attr<bool>("range_mode")
                                  .Ret<rasterizer::Floats>()   // out
                                  .Ret<rasterizer::Bytes>());  // crossings

XLA_FFI_DEFINE_HANDLER_SYMBOL(RasterizerAntialiasGrad, rasterizer::AntialiasGrad,
                              ffi::Ffi::Bind()
                                  .Ctx<rasterizer::Backend::Context>()
                                  .Arg<rasterizer::Floats>()  // color
                                  .Arg<rasterizer::Floats>()  // rast
                                  .Arg<rasterizer::Floats>()  // pos
                                  .Arg<rasterizer::Ints>()    // tri
                                  .Arg<rasterizer::Ints>()    // ranges
                                  .Arg<rasterizer::Ints>()    // topology
                                  .Arg<rasterizer::Bytes>()   // crossings
                                  .Arg<rasterizer::Floats>()  // gradient of out
                                  .Attr<bool>("range_mode")
                                  .Attr<float>("pos_gradient_boost")
                                  .Ret<rasterizer::Floats>()    // gradient of color
                                  .Ret<rasterizer::Floats>());  // gradient of pos

XLA_FFI_DEFINE_HANDLER_SYMBOL(RasterizerTexture, rasterizer::Texture,
                              ffi::Ffi::Bind()
                                  .Ctx<rasterizer::Backend::Context>()
                                  .Arg<rasterizer::Floats>()  // levels
                                  .Arg<rasterizer::Floats>()  // uv
                                  .Arg<rasterizer::Floats>()  // uv_da
                                  .Arg<rasterizer::Floats>()  // mip_level_bias
                                  .Attr<int64_t>("height")
                                  .Attr<int64_t>("width")
                                  .Attr<int64_t>("max_level")
                                  .Attr<int64_t>("filter")
                                  .Attr<int64_t>("boundary")
                                  .Attr<bool>("with_da")
                                  .Attr<bool>("with_bias")
                                  .Ret<rasterizer::Floats>());  // out

XLA_FFI_DEFINE_HANDLER_SYMBOL(RasterizerTextureGrad, rasterizer::TextureGrad,
                              ffi::Ffi::Bind()
                                  .Ctx<rasterizer::Backend::Context>()
                                  .Arg<rasterizer::Floats>()  // levels
                                  .Arg<rasterizer::Floats>()  // uv
                                  .Arg<rasterizer::Floats>()  // uv_da
                                  .Arg<rasterizer::Floats>()  // mip_level_bias
                                  .Arg<rasterizer::Floats>()  // gradient of out
                                  .Attr<int64_t>("height")
                                  .Attr<int64_t>("width")
                                  .Attr<int64_t>("max_level")
                                  .Attr<int64_t>("filter")
                                  .Attr<int64_t>("boundary")
                                  .Attr<bool>("with_da")
                                  .Attr<bool>("with_bias")
                                  .Ret<rasterizer::Floats>()    // gradient of levels
                                  .Ret<rasterizer::Floats>()    // gradient of uv
                                  .Ret<rasterizer::Floats>()    // gradient of uv_da
                                  .Ret<rasterizer::Floats>());  // gradient of mip_level_bias

XLA_FFI_DEFINE_HANDLER_SYMBOL(RasterizerTopology, rasterizer::TopologyHash,
                              ffi::Ffi::Bind()
                                  .Ctx<rasterizer::Backend::Context>()
                                  .Arg<rasterizer::Ints>()     // tri
                                  .Ret<rasterizer::Ints>());   // opposite vertices

#pragma GCC visibility pop

#endif  // RASTERIZER_FFI_SHARED_HANDLERS_H_
