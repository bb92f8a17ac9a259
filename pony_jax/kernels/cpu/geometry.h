// The arguments of the geometry's kernels.
//
// Every kernel is compiled once per instruction set (see CMakeLists.txt) and chosen at run time. All
// arrays are dense and of float32 unless said. Products may be fused with sums, so the last bits
// depend on the instruction set, but never on the number of threads.

#ifndef PONY_JAX_KERNELS_CPU_GEOMETRY_H_
#define PONY_JAX_KERNELS_CPU_GEOMETRY_H_

#include <cstdint>

#include "rasterizer_ffi/cpu/parallel.h"

namespace pony {

using rasterizer::Parallel;

// Where the tips of the spine and the feet are.
struct Landmarks {
  int64_t images, vertices;  // at least one vertex
  double margin;        // around x = 0 there are no feet, as a share of the width of all meshes
  bool above_feet;      // tips are not looked for far below the mean
  const float* vertex;  // [b, v, 3]
  const int32_t* valid;  // [v], 0 for padding
  float* mean;           // [b, 3]
  float* tip;            // [b, 2, 3], foremost and hindmost
  float* foot;           // [b, 4, 3], lowest of each quadrant
  int32_t* found;        // [b, 4], whether the quadrant has vertices
};

// Shares of bones in vertices.
struct SkinningWeights {
  int64_t images, vertices, bones;
  int64_t used;  // of an image's vertices; the others are padding
  double temperature;
  const float* vertex;  // [b, v, 3]
  const float* bone;    // [b, k, 2, 3]
  float* weight;        // [b, v, k]
};

// Vertices moved by weighted means of transforms, whose last row is not looked at.
struct Skin {
  int64_t images, vertices, bones;
  int64_t used;            // of an image's vertices; the others are padding
  const float* vertex;     // [b, v, 3]
  const float* weight;     // [b, v, k]
  const float* transform;  // [b, k, 4, 4]
};

struct SkinForward {
  Skin in;
  float* out;  // [b, v, 3]
};

struct SkinBackward {
  Skin in;
  const float* grad_out;
  float* grad_vertex;
  float* grad_transform;
};

// The surface that the pixels of rasterised meshes show.
struct Surface {
  int64_t images, vertices, faces;
  int64_t height, width;  // in samples
  int64_t samples;        // along each side of a pixel; divides both
  int64_t capacity;       // n, pixels that there is room for
  const float* vertex;    // [b, v, 3], world
  const float* rest;      // [v, 3]
  const float* matrix;    // [b, 4, 4], camera from world
  const float* coverage;  // [b, height, width, 4]: u, v, depth, face + 1 or 0
  const int32_t* face;    // [f, 3]

  int64_t Rows() const { return height / samples; }
  int64_t Columns() const { return width / samples; }
  int64_t Pixels() const { return Rows() * Columns(); }  // of an image
};

// Floats kept of a vertex: its position in the camera frame, a 0, the sum of its faces' normals, a 0.
constexpr int64_t kKept = 8;

struct SurfaceForward {
  Surface in;
  int32_t* pixel;  // [n], in all images; padding is of the pixel after the last
  int32_t* image;  // [n]; padding is of the last
  float* point;    // [n, 3], rest frame
  float* normal;   // [n, 3], camera frame
  int32_t* count;  // pixels that show something, more than `capacity` too
  int32_t* shown;  // [n], the sample that a pixel shows, in its image
  float* kept;     // [b, v, kKept]
};

struct SurfaceBackward {
  Surface in;
  // From the forward pass.
  const int32_t* pixel;
  const int32_t* shown;
  const float* kept;
  const float* grad_point;
  const float* grad_normal;
  // Gradients of the arrays of `in`, of their shapes.
  float* grad_vertex;
  float* grad_rest;
  float* grad_matrix;
  float* grad_coverage;
};

// Channels of a render: colours before the coverage, features from there on.
constexpr int64_t kCoverage = 3, kFirstFeature = 4;

// Numbers of a directional light: its direction, then ambient and diffuse.
constexpr int64_t kAmbient = 3, kDiffuse = 4, kLight = 5;

// The surface at some pixels, and the light that falls on it.
struct LitValues {
  int64_t points, features;
  int64_t used;          // of the points; the others are padding
  int64_t images;        // at least one
  const float* albedo;   // [n, 3]
  const float* feature;  // [n, features]
  const float* normal;   // [n, 3], camera frame
  const float* light;    // [b, kLight], camera frame
  const int32_t* image;  // [n], clamped to those that there are
};

struct LitValuesForward {
  LitValues in;
  float* out;  // [n, kFirstFeature + features]
};

struct LitValuesBackward {
  LitValues in;
  const float* grad_out;
  float* grad_albedo;
  float* grad_feature;
  float* grad_normal;
  float* grad_light;
};

// A cell of a lattice: vertices that it touches, the edges that it owns, and its tetrahedra.
constexpr int kCellPoints = 12, kCellEdges = 14, kCellTets = 12;

// The cells of a lattice that a surface passes: those that touch both signs.
struct LatticeCells {
  int64_t x, y, z;        // cells along each axis
  int64_t capacity;       // n, cells that there is room for
  int64_t groups;         // g, of vertices; at least one
  const uint8_t* inside;  // [2, x + 1, y + 1, z + 1], 0 or 1, of corners and centres
  const int32_t* group;   // as `inside`, the group that a vertex belongs to
  const int32_t* point;   // [kCellPoints, 4]: steps of 0 or 1 along x, y, z; 1 for centres
  int32_t* index;         // [n], number of each such cell; padding is the lattice's last
  int32_t* code;          // [n], a bit for the sign of each point; padding is 0
  int32_t* row;           // [x y z], how many there are up to a cell, inclusive, less 1
  int32_t* count;         // of such cells, more than `capacity` too
  bool* touched;          // [g], whether such a cell touches a vertex of the group
};

// The mesh that goes through cells.
struct LatticeMarch {
  int64_t cells, lattice_cells, max_verts, max_faces;
  // From LatticeCells.
  const int32_t* index;
  const int32_t* code;
  const int32_t* row;
  // Tables.
  const int32_t* edge;      // [kCellEdges, 2], ends: points of the cell
  const int32_t* tet;       // [kCellTets, 4], corners: points of the cell
  const int32_t* owner;     // [kCellTets, 6, 2], of an edge: step to its cell, place in that one
  const int32_t* triangle;  // [16, 2, 3], edges by which corners are inside; -1 for no triangle
  int32_t* vert_edge;       // [max_verts], the edge of each vertex; padding is after the last
  int32_t* vert_count;      // more than `max_verts` too
  int32_t* face;            // [max_faces, 3]; -1 for padding and where a vertex had no room
  int32_t* face_count;      // more than `max_faces` too
};

}  // namespace pony

#endif  // PONY_JAX_KERNELS_CPU_GEOMETRY_H_
