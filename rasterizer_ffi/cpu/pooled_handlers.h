// The XLA FFI targets of antialiasing with samples, which only the CPU backend has. To be included
// after shared/handlers.h, whose checks and leading dimensions they share.

#ifndef RASTERIZER_FFI_CPU_POOLED_HANDLERS_H_
#define RASTERIZER_FFI_CPU_POOLED_HANDLERS_H_

namespace rasterizer {
namespace {

// The inputs of antialias_pooled for one index over the leading dimensions.
struct AntialiasPooledArgs {
  AntialiasArgs fine;
  Shape background, pixel;
  const float* background_data;
  const int32_t* pixel_data;

  AntialiasPooledArgs(AntialiasArgs fine, const Floats& background_in, const Ints& pixel_in)
      : fine(fine), background(background_in.dimensions(), 4), pixel(pixel_in.dimensions(), 1),
        background_data(background_in.typed_data()), pixel_data(pixel_in.typed_data()) {}

  ffi::Error Check(const Outer& outer) const {
    if (ffi::Error error = fine.Check(outer); error.failure()) return error;
    if (fine.packed && (!outer.Matches(pixel) || pixel[0] != fine.color[2])) {
      return BadShape("pixel", "[N] with N rows of color", pixel.dims);
    }
    const int64_t image[] = {fine.rast[0], fine.rast[1] / fine.samples,
                             fine.rast[2] / fine.samples};
    bool fits = outer.Matches(background) && background[3] == fine.color[3];
    for (size_t i = 0; fits && i < 3; ++i) {
      fits = background[i] == 1 || background[i] == image[i];
    }
    if (fits) return ffi::Error::Success();
    return BadShape("background", "[1 or B,1 or H,1 or W,C] with those of the result",
                    background.dims);
  }

  bool Folds(const Outer& outer) const {
    const bool shared = background.outer == 1 && background[0] == 1;
    const bool separate = background.outer == outer.size() && background[0] == fine.rast[0];
    return !fine.packed && fine.Folds(outer) && (shared || separate);
  }

  Pooling At(const Outer& outer, int64_t index, int64_t folded) const {
    Pooling pooling;
    pooling.samples = fine.samples;
    pooling.background = background_data + outer.Offset(background, index);
    const bool shared = folded > 1 ? background.outer == 1 : background[0] == 1;
    int64_t stride = background[3];
    pooling.background_strides[2] = background[2] == 1 ? 0 : stride;
    stride *= background[2];
    pooling.background_strides[1] = background[1] == 1 ? 0 : stride;
    stride *= background[1];
    pooling.background_strides[0] = shared ? 0 : stride;
    pooling.pixel = pixel_data + (fine.packed ? outer.Offset(pixel, index) : 0);
    pooling.num_rows = fine.packed ? pixel[0] : -1;
    return pooling;
  }
};

ffi::Error AntialiasPooled(Backend::Context context, Floats color, Floats rast, Floats pos,
                           Ints tri, Ints ranges, Ints opposite, Floats background, Ints pixel,
                           bool range_mode, int64_t samples, bool packed, ffi::Result<Floats> out,
                           ffi::Result<Bytes> crossings, ffi::Result<Ints> covered) {
  return Guarded("antialias_pooled", [&] {
    const Shape result(out->dimensions(), 4), crossings_shape(crossings->dimensions(), 3);
    const Shape covered_shape(covered->dimensions(), 3);
    const Outer outer(result);
    const AntialiasPooledArgs inputs(
        AntialiasArgs(color, rast, pos, tri, ranges, opposite, range_mode, samples, packed),
        background, pixel);
    if (ffi::Error error = inputs.Check(outer); error.failure()) return error;
    const int64_t b = inputs.fine.rast[0], h = inputs.fine.rast[1] / samples;
    const int64_t w = inputs.fine.rast[2] / samples;
    ffi::Error error = outer.Check("out", "[B,H,W,C]", result, {b, h, w, inputs.fine.color[3]});
    if (error.failure()) return error;
    error = inputs.fine.CheckCrossings(outer, crossings_shape);
    if (error.failure()) return error;
    error = outer.Check("covered", "[B,H,W] with B, H, W those of the result", covered_shape,
                        {b, h, w});
    if (error.failure()) return error;
    const int64_t folded = inputs.Folds(outer) ? outer.size() : 1;
    float* out_data = Backend::Fresh(out);
    Backend backend(std::move(context));
    for (int64_t i = 0; i < outer.size() / folded; ++i) {
      AntialiasPooledForward args;
      args.fine = inputs.fine.At(outer, i, folded);
      args.fine.out = out_data + i * result.inner;
      args.fine.crossings = crossings->typed_data() + i * crossings_shape.inner;
      args.pooling = inputs.At(outer, i, folded);
      args.pooling.covered = covered->typed_data() + i * covered_shape.inner;
      if (ffi::Error error = backend.Run("antialias_pooled", args); error.failure()) return error;
    }
    return ffi::Error::Success();
  });
}

ffi::Error AntialiasPooledGrad(Backend::Context context, Floats color, Floats rast, Floats pos,
                               Ints tri, Ints ranges, Ints opposite, Floats background, Ints pixel,
                               Bytes crossings, Ints covered, Floats dy, bool range_mode,
                               int64_t samples, bool packed, ffi::Result<Floats> grad_color,
                               ffi::Result<Floats> grad_pos) {
  const char* op = "antialias_pooled gradient";
  return Guarded(op, [&] {
    const Shape grad(grad_color->dimensions(), 4), dy_shape(dy.dimensions(), 4);
    const Shape grad_pos_shape(grad_pos->dimensions(), range_mode ? 2 : 3);
    const Shape crossings_shape(crossings.dimensions(), 3), covered_shape(covered.dimensions(), 3);
    const Outer outer(grad);
    const AntialiasPooledArgs inputs(
        AntialiasArgs(color, rast, pos, tri, ranges, opposite, range_mode, samples, packed),
        background, pixel);
    if (ffi::Error error = inputs.Check(outer); error.failure()) return error;
    if (!outer.Matches(dy_shape) || !inputs.fine.IsImage(dy_shape) ||
        dy_shape[3] != inputs.fine.color[3]) {
      return BadShape("gradient of the result", "that of the result", dy_shape.dims);
    }
    if (!outer.Matches(crossings_shape) || !SameImage(crossings_shape, inputs.fine.rast)) {
      return BadShape("crossings", "[B,H,W] with B, H, W those of rast", crossings_shape.dims);
    }
    if (!outer.Matches(covered_shape) || !inputs.fine.IsImage(covered_shape)) {
      return BadShape("covered", "[B,H,W] with B, H, W those of the result", covered_shape.dims);
    }
    ffi::Error error = inputs.fine.CheckGradients(outer, grad, grad_pos_shape);
    if (error.failure()) return error;
    const bool folds = inputs.Folds(outer) && dy_shape.outer == outer.size() &&
                       crossings_shape.outer == outer.size() &&
                       covered_shape.outer == outer.size();
    const int64_t folded = folds ? outer.size() : 1;
    float* grad_color_data = Backend::Fresh(grad_color);
    Backend backend(std::move(context));
    for (int64_t i = 0; i < outer.size() / folded; ++i) {
      AntialiasPooledBackward args;
      args.fine.forward = inputs.fine.At(outer, i, folded);
      args.fine.crossings = crossings.typed_data() + outer.Offset(crossings_shape, i);
      args.fine.dy = dy.typed_data() + outer.Offset(dy_shape, i);
      args.fine.pos_gradient_boost = 1.0f;
      args.fine.grad_color = grad_color_data + i * grad.inner;
      args.fine.grad_pos = grad_pos->typed_data() + i * grad_pos_shape.inner;
      args.pooling = inputs.At(outer, i, folded);
      args.pooling.covered = covered.typed_data() + outer.Offset(covered_shape, i);
      if (ffi::Error error = backend.Run(op, args); error.failure()) return error;
    }
    return ffi::Error::Success();
  });
}

}  // namespace
}  // namespace rasterizer

#pragma GCC visibility push(default)  // what Python looks up by name

XLA_FFI_DEFINE_HANDLER_SYMBOL(RasterizerAntialiasPooled, rasterizer::AntialiasPooled,
                              ffi::Ffi::Bind()
                                  .Ctx<rasterizer::Backend::Context>()
                                  .Arg<rasterizer::Floats>()  // color
                                  .Arg<rasterizer::Floats>()  // rast
                                  .Arg<rasterizer::Floats>()  // pos
                                  .Arg<rasterizer::Ints>()    // tri
                                  .Arg<rasterizer::Ints>()    // ranges
                                  .Arg<rasterizer::Ints>()    // topology
                                  .Arg<rasterizer::Floats>()  // background
                                  .Arg<rasterizer::Ints>()    // pixel
                                  .Attr<bool>("range_mode")
                                  .Attr<int64_t>("samples")
                                  .Attr<bool>("packed")
                                  .Ret<rasterizer::Floats>()  // out
                                  .Ret<rasterizer::Bytes>()   // crossings
                                  .Ret<rasterizer::Ints>());  // covered

XLA_FFI_DEFINE_HANDLER_SYMBOL(RasterizerAntialiasPooledGrad, rasterizer::AntialiasPooledGrad,
                              ffi::Ffi::Bind()
                                  .Ctx<rasterizer::Backend::Context>()
                                  .Arg<rasterizer::Floats>()  // color
                                  .Arg<rasterizer::Floats>()  // rast
                                  .Arg<rasterizer::Floats>()  // pos
                                  .Arg<rasterizer::Ints>()    // tri
                                  .Arg<rasterizer::Ints>()    // ranges
                                  .Arg<rasterizer::Ints>()    // topology
                                  .Arg<rasterizer::Floats>()  // background
                                  .Arg<rasterizer::Ints>()    // pixel
                                  .Arg<rasterizer::Bytes>()   // crossings
                                  .Arg<rasterizer::Ints>()    // covered
                                  .Arg<rasterizer::Floats>()  // gradient of out
                                  .Attr<bool>("range_mode")
                                  .Attr<int64_t>("samples")
                                  .Attr<bool>("packed")
                                  .Ret<rasterizer::Floats>()    // gradient of color
                                  .Ret<rasterizer::Floats>());  // gradient of pos

#pragma GCC visibility pop

#endif  // RASTERIZER_FFI_CPU_POOLED_HANDLERS_H_
