// Inputs and outputs of the operations: plain structs of pointers, no framework. Every backend
// takes them; the pointers are to its own memory.
//
// Letters in shapes: B images, V vertices, F triangles, H W rows and columns, C channels,
// D attributes with pixel derivatives.
// Conventions: row 0 has y/w near -1; pixel (row j, column i) is sampled at x/w = (2i+1)/W - 1,
// y/w = (2j+1)/H - 1. A triangle with a vertex index outside [0, V) is not there.

#ifndef RASTERIZER_FFI_SHARED_ARGUMENTS_H_
#define RASTERIZER_FFI_SHARED_ARGUMENTS_H_

#include <cstdint>

// Marks what CUDA also compiles for the device.
#ifdef __CUDACC__
#define RASTERIZER_HD __host__ __device__
#else
#define RASTERIZER_HD
#endif

namespace rasterizer {

// Geometry that rasterize, its gradient and antialias share.
struct Geometry {
  const float* pos;        // [B,V,4] clip space (x, y, z, w); [V,4] if shared_pos
  const int32_t* tri;      // [F,3] vertex indices
  const int32_t* ranges;   // [B,2] (first triangle, count) of each image; null: all triangles
  int64_t num_images;      // B
  int64_t num_vertices;    // V
  int64_t num_triangles;   // F
  int64_t height;          // H
  int64_t width;           // W
  bool shared_pos;         // range mode: one pos for all images

  RASTERIZER_HD const float* ImagePos(int64_t image) const {
    return shared_pos ? pos : pos + image * num_vertices * 4;
  }
};

struct RasterizeForward {
  Geometry geometry;
  float* rast;     // out [B,H,W,4]: u, v, z/w, triangle index + 1 (all 0 where no triangle is)
  float* rast_db;  // out [B,H,W,4]: du/dX, du/dY, dv/dX, dv/dY per pixel
  // Depth peeling: layer i shows what is nearest strictly behind layer i - 1. The results are then
  // [L,B,H,W,4].
  int64_t num_layers = 1;
};

struct RasterizeBackward {
  Geometry geometry;
  const float* rast;     // [B,H,W,4]; only the triangle index is read
  const float* dy;       // [B,H,W,4]; only the first two channels are used
  const float* ddb;      // [B,H,W,4], or null: no gradient through rast_db
  float* grad_pos;       // out, like pos; the z components are 0
};

struct InterpolateForward {
  const float* attr;         // [B,V,C], or [V,C] if shared_attr
  const float* rast;         // [B,H,W,4]
  const int32_t* tri;        // [F,3] indices into attr
  const float* rast_db;      // [B,H,W,4]; may be null if D = 0
  const int32_t* diff_attrs; // [D] channels in [0, C)
  int64_t num_images;
  int64_t num_vertices;
  int64_t num_triangles;
  int64_t num_pixels;        // H * W
  int64_t num_channels;
  int64_t num_diff;          // D
  bool shared_attr;
  float* out;                // out [B,H,W,C]
  float* out_da;             // out [B,H,W,2D]: (d/dX, d/dY) of each channel of diff_attrs
};

struct InterpolateBackward {
  InterpolateForward forward;  // its inputs; out and out_da are not touched
  const float* dy;             // [B,H,W,C]
  const float* dda;            // [B,H,W,2D]; may be null if D = 0
  float* grad_attr;            // out, like attr
  float* grad_rast;            // out [B,H,W,4]; channels 2, 3 are 0
  float* grad_rast_db;         // out [B,H,W,4]; may be null if D = 0
};

struct AntialiasForward {
  Geometry geometry;       // without ranges: the triangle indices in rast say what is drawn
  const float* color;      // [B,H,W,C]
  const float* rast;       // [B,H,W,4]
  const int32_t* opposite; // [F,3]: see Topology
  int64_t num_channels;
  float* out;              // out [B,H,W,C]
  // out [B,H,W], for the gradient: which pairs a silhouette crosses, of the pixel and its right
  // neighbour (bit 0) and of the pixel and the one in the next row (bit 1).
  uint8_t* crossings;
};

struct AntialiasBackward {
  AntialiasForward forward;  // its inputs; its results are not touched
  const uint8_t* crossings;  // [B,H,W] as the forward pass wrote them
  const float* dy;           // [B,H,W,C]
  float pos_gradient_boost;  // factor on grad_pos
  float* grad_color;         // out [B,H,W,C]
  float* grad_pos;           // out, like pos; the z components are 0
};

enum TextureFilter { kNearest = 0, kLinear = 1, kLinearMipmapNearest = 2, kLinearMipmapLinear = 3 };
enum TextureBoundary { kCube = 0, kWrap = 1, kClamp = 2, kZero = 3 };

struct TextureForward {
  const float* stack;    // [N,T,C]: all levels of each texture, from the finest; a level is rows of
                         // texels, for cube maps six times
  const float* uv;       // [B,H,W,2], cube maps [B,H,W,3]
  const float* uv_da;    // [B,H,W,4], cube maps [B,H,W,6]: (d/dX, d/dY) of each; or null
  const float* bias;     // [B,H,W] added to the level; or null
  int64_t num_textures;  // N: 1 or B
  int64_t num_images;
  int64_t num_pixels;    // H * W
  int64_t num_channels;
  int64_t height, width; // of the finest level
  int64_t max_level;     // the coarsest level; 0 without mipmaps
  int filter;            // a TextureFilter
  int boundary;          // a TextureBoundary
  float* out;            // out [B,H,W,C]
};

struct TextureBackward {
  TextureForward forward;  // its inputs; out is not touched
  const float* dy;         // [B,H,W,C]
  float* grad_stack;       // out, like stack
  float* grad_uv;          // out, like uv
  float* grad_uv_da;       // out, like uv_da; null without
  float* grad_bias;        // out, like bias; null without
};

// Across edge i of a triangle (the edge that faces its vertex i) lies another triangle; its far
// vertex is opposite[i], or -1 on an open boundary.
struct Topology {
  const int32_t* tri;      // [F,3]
  int64_t num_triangles;
  int32_t* opposite;       // out [F,3]
};

}  // namespace rasterizer

#endif  // RASTERIZER_FFI_SHARED_ARGUMENTS_H_
