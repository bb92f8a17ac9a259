// Marching tetrahedra on a lattice, from signs to faces (ops/sparse_marching_tets.py).
//
// It is little work, in one order. Numbers in tables are cut to what they can be, so that no table
// leads out of an array.

#include "vectors.h"

namespace pony {
namespace RASTERIZER_ISA {

bool FindLatticeCells(const LatticeCells& args, const Parallel& parallel);
bool MarchLatticeCells(const LatticeMarch& args, const Parallel& parallel);

namespace {

inline int64_t Clamp(int64_t x, int64_t size) { return Max(Min(x, size - 1), 0); }

// The edges that a cell owns: a bit for each that crosses the surface.
inline uint32_t CrossingOf(const LatticeMarch& args, int32_t code) {
  uint32_t crossing = 0;
  if (code == 0) return crossing;  // padding
  for (int e = 0; e < kCellEdges; ++e) {
    const int32_t change = code >> (args.edge[2 * e] & 15) ^ code >> (args.edge[2 * e + 1] & 15);
    crossing |= static_cast<uint32_t>(change & 1) << e;
  }
  return crossing;
}

// The triangles of a tetrahedron of a cell, [2, 3]; -1 where there is none.
inline const int32_t* TrianglesOf(const LatticeMarch& args, int32_t code, int tet) {
  int32_t occupied = 0;
  for (int i = 0; i < 4; ++i) occupied |= (code >> (args.tet[4 * tet + i] & 15) & 1) << i;
  return args.triangle + 6 * occupied;
}

// Where a cell's vertices are.
struct Vertices {
  int32_t first;
  uint32_t crossing;
};

// Calls use(cell, tetrahedron, its triangles) for those that have some.
template <class Use>
void ForTets(const LatticeMarch& args, const Vertices* verts, Use use) {
  for (int64_t cell = 0; cell < args.cells; ++cell) {
    if (verts[cell].crossing == 0) continue;
    for (int tet = 0; tet < kCellTets; ++tet) {
      const int32_t* triangles = TrianglesOf(args, args.code[cell], tet);
      if (triangles[0] >= 0) use(cell, tet, triangles);
    }
  }
}

}  // namespace

bool FindLatticeCells(const LatticeCells& args, const Parallel&) {
  const int64_t y = args.y + 1, z = args.z + 1, size = (args.x + 1) * y * z;
  const int64_t end = size - y * z - z - 1;  // of places that cells' own corners are at
  const Scratch<uint16_t> codes(end);
  if (!codes.ok()) return false;
  int64_t offset[kCellPoints];
  std::memset(codes.get(), 0, sizeof(uint16_t) * static_cast<size_t>(Max(end, 0)));
  for (int i = 0; i < kCellPoints; ++i) {
    const int32_t* point = args.point + 4 * i;
    offset[i] = (point[3] & 1) * size + ((point[0] & 1) * y + (point[1] & 1)) * z + (point[2] & 1);
    // Places between rows get codes as well, which nothing reads.
    const uint8_t* inside = args.inside + offset[i];
    uint16_t* code = codes.get();
    for (int64_t k = 0; k < end; ++k) code[k] = static_cast<uint16_t>(code[k] | inside[k] << i);
  }
  std::memset(args.touched, 0, static_cast<size_t>(args.groups));
  const uint16_t all = (1 << kCellPoints) - 1;
  int32_t count = 0, cell = 0;
  for (int64_t i = 0; i < args.x; ++i) {
    for (int64_t j = 0; j < args.y; ++j) {
      for (int64_t k = 0; k < args.z; ++k, ++cell) {
        const int64_t at = (i * y + j) * z + k;
        const uint16_t code = codes[at];
        if (code != 0 && code != all) {
          if (count < args.capacity) {
            args.index[count] = cell;
            args.code[count] = code;
          }
          for (int64_t step : offset) {
            args.touched[Clamp(args.group[at + step], args.groups)] = true;
          }
          ++count;
        }
        args.row[cell] = count - 1;
      }
    }
  }
  *args.count = count;
  for (int64_t i = count; i < args.capacity; ++i) {
    args.index[i] = cell - 1;
    args.code[i] = 0;
  }
  return true;
}

bool MarchLatticeCells(const LatticeMarch& args, const Parallel&) {
  const Scratch<Vertices> verts(args.cells);
  if (!verts.ok()) return false;
  int32_t vert_count = 0;
  for (int64_t cell = 0; cell < args.cells; ++cell) {
    const uint32_t crossing = CrossingOf(args, args.code[cell]);
    verts[cell] = {vert_count, crossing};
    for (uint32_t rest = crossing; rest != 0; rest &= rest - 1, ++vert_count) {
      if (vert_count >= args.max_verts) continue;
      args.vert_edge[vert_count] =
          static_cast<int32_t>(cell * kCellEdges + __builtin_ctz(rest));
    }
  }
  for (int64_t v = vert_count; v < args.max_verts; ++v) {
    args.vert_edge[v] = static_cast<int32_t>(args.cells * kCellEdges);
  }
  *args.vert_count = vert_count;

  int32_t ones = 0, twos = 0;
  ForTets(args, verts.get(), [&](int64_t, int, const int32_t* triangles) {
    ++(triangles[3] < 0 ? ones : twos);
  });
  *args.face_count = ones + 2 * twos;

  // First the tetrahedra with one triangle, then those with two.
  int64_t next_one = 0, next_two = ones;
  ForTets(args, verts.get(), [&](int64_t cell, int tet, const int32_t* triangles) {
    const int count = triangles[3] < 0 ? 1 : 2;
    int64_t& next = count == 1 ? next_one : next_two;
    for (int i = 0; i < count; ++i, ++next) {
      if (next >= args.max_faces) continue;
      int32_t* face = args.face + 3 * next;
      bool complete = true;
      for (int k = 0; k < 3; ++k) {
        const int32_t* owner = args.owner + 2 * (6 * tet + Clamp(triangles[3 * i + k], 6));
        const int64_t at = Clamp(int64_t{args.index[cell]} + owner[0], args.lattice_cells);
        const Vertices& of = verts[Clamp(args.row[at], args.cells)];
        const uint32_t before = of.crossing & ((1u << (owner[1] & 15)) - 1);
        face[k] = of.first + __builtin_popcount(before);
        complete = complete && face[k] < args.max_verts;
      }
      if (!complete) face[0] = face[1] = face[2] = -1;
    }
  });
  for (int64_t i = 3 * Min(ones + 2 * twos, args.max_faces); i < 3 * args.max_faces; ++i) {
    args.face[i] = -1;
  }
  return true;
}

}  // namespace RASTERIZER_ISA
}  // namespace pony
