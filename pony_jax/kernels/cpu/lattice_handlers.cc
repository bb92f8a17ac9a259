// The XLA FFI targets of marching through a lattice: they check shapes, then call.

#include "dispatch.h"
#include "geometry.h"

namespace pony {

PONY_KERNEL(FindLatticeCells, LatticeCells)
PONY_KERNEL(MarchLatticeCells, LatticeMarch)

namespace {

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
  const LatticeCells args = {x, y, z, n, num_groups, static_cast<const
                             uint8_t*>(inside.untyped_data()), groups.typed_data(),
                             points.typed_data(), index->typed_data(), code->typed_data(),
                             row->typed_data(), count->typed_data(), touched->typed_data()};
  return Run("cells of a lattice", kFindLatticeCells, args, pool);
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
  const LatticeMarch args = {n, size, vert_edge->dimensions()[0], faces->dimensions()[0],
                             index.typed_data(), code.typed_data(), row.typed_data(),
                             edges.typed_data(), tets.typed_data(), owners.typed_data(),
                             triangles.typed_data(), vert_edge->typed_data(),
                             vert_count->typed_data(), faces->typed_data(),
                             face_count->typed_data()};
  return Run("marching through cells", kMarchLatticeCells, args, pool);
}

}  // namespace
}  // namespace pony

#pragma GCC visibility push(default)  // what Python looks up by name

XLA_FFI_DEFINE_HANDLER_SYMBOL(PonyLatticeCells, pony::RunLatticeCells,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<pony::Flags>()    // inside
                                  .Arg<pony::Ints>()   // points
                                  .Arg<pony::Ints>()   // groups
                                  .Ret<pony::Ints>()   // index
                                  .Ret<pony::Ints>()   // code
                                  .Ret<pony::Ints>()   // row
                                  .Ret<pony::Ints>()   // count
                                  .Ret<pony::Flags>());  // touched

XLA_FFI_DEFINE_HANDLER_SYMBOL(PonyLatticeMarch, pony::RunLatticeMarch,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<pony::Ints>()    // index
                                  .Arg<pony::Ints>()    // code
                                  .Arg<pony::Ints>()    // row
                                  .Arg<pony::Ints>()    // edges
                                  .Arg<pony::Ints>()    // tets
                                  .Arg<pony::Ints>()    // owners
                                  .Arg<pony::Ints>()    // triangles
                                  .Ret<pony::Ints>()    // edge of vertices
                                  .Ret<pony::Ints>()    // vertex count
                                  .Ret<pony::Ints>()    // faces
                                  .Ret<pony::Ints>());  // face count

#pragma GCC visibility pop
