// Homogeneous images of points, and their gradients. An image is one task.

#include "vectors.h"

namespace geometry {
namespace RASTERIZER_ISA {

bool ForwardTransform(const TransformForward& args, const Parallel& parallel);
bool BackwardTransform(const TransformBackward& args, const Parallel& parallel);

bool ForwardTransform(const TransformForward& args, const Parallel& parallel) {
  const Transform& in = args.in;
  ParallelFor(parallel, in.images, [&](int64_t image) {
    const Columns matrix(in.matrix + 16 * image);
    const int64_t end = (image + 1) * in.points;
    for (int64_t i = image * in.points; i < end; ++i) {
      Store4(args.out + 4 * i, matrix.Apply(in.point + 3 * i));
    }
  });
  return true;
}

bool BackwardTransform(const TransformBackward& args, const Parallel& parallel) {
  const Transform& in = args.in;
  ParallelFor(parallel, in.images, [&](int64_t image) {
    Vec4 row[4], by_row[4] = {};
    for (int r = 0; r < 4; ++r) row[r] = Load4(in.matrix + 16 * image + 4 * r);
    const int64_t end = (image + 1) * in.points;
    for (int64_t i = image * in.points; i < end; ++i) {
      const Vec4 grad = Load4(args.grad_out + 4 * i), point = Load3(in.point + 3 * i, 1.0f);
      Vec4 by_point = {};
      for (int r = 0; r < 4; ++r) {
        by_point += grad[r] * row[r];
        by_row[r] += grad[r] * point;
      }
      Store3(args.grad_point + 3 * i, by_point);
    }
    for (int r = 0; r < 4; ++r) Store4(args.grad_matrix + 16 * image + 4 * r, by_row[r]);
  });
  return true;
}

}  // namespace RASTERIZER_ISA
}  // namespace geometry
