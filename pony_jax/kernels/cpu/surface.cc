// What the pixels of rasterised meshes show, packed: points of the rest shape, and shading normals.
//
// An image is one task, so that vertices receive sums in an order that the shapes alone decide.

#include "vectors.h"

namespace pony {
namespace RASTERIZER_ISA {

bool ForwardSurface(const SurfaceForward& args, const Parallel& parallel);
bool BackwardSurface(const SurfaceBackward& args, const Parallel& parallel);

namespace {

// The corners of a face, or null for padding.
inline const int32_t* CornersOf(const Surface& in, int64_t face) {
  if (face < 0 || face >= in.faces) return nullptr;
  const int32_t* corner = in.face + 3 * face;
  for (int i = 0; i < 3; ++i) {
    if (corner[i] < 0 || corner[i] >= in.vertices) return nullptr;
  }
  return corner;
}

// Positions in the camera frame and sums of face normals of all vertices of an image.
void VertexNormals(const Surface& in, int64_t image, float* kept) {
  Columns cam(in.matrix + 16 * image);
  for (Vec4& column : cam.column) column[3] = 0.0f;
  const float* vertex = in.vertex + 3 * image * in.vertices;
  for (int64_t v = 0; v < in.vertices; ++v) {
    Store4(kept + kKept * v, cam.Apply(vertex + 3 * v));
    Store4(kept + kKept * v + 4, Vec4{});
  }
  for (int64_t f = 0; f < in.faces; ++f) {
    const int32_t* corner = CornersOf(in, f);
    if (corner == nullptr) continue;
    float* const at[3] = {kept + kKept * corner[0], kept + kKept * corner[1],
                          kept + kKept * corner[2]};
    const Vec4 a = Load4(at[0]);
    const Vec4 normal = Cross(Load4(at[1]) - a, Load4(at[2]) - a);
    for (float* sum : at) Add4(sum + 4, normal);
  }
}

// The first sample of every pixel that shows something, in scan order, or -1 for none. Returns how
// many pixels do.
int32_t ShownSamples(const Surface& in, int64_t image, int32_t* shown) {
  const float* id = in.coverage + 4 * image * in.height * in.width + 3;
  int32_t count = 0;
  for (int64_t y = 0; y < in.Rows(); ++y) {
    for (int64_t x = 0; x < in.Columns(); ++x, ++shown) {
      const int64_t first = (y * in.width + x) * in.samples;
      *shown = -1;
      for (int64_t i = 0; i < in.samples * in.samples; ++i) {
        const int64_t sample = first + i / in.samples * in.width + i % in.samples;
        if (id[4 * sample] > 0.0f) {
          *shown = static_cast<int32_t>(sample);
          ++count;
          break;
        }
      }
    }
  }
  return count;
}

// A vertex normal, with (0, 0, 1) where there is none.
struct VertexNormal {
  Vec4 value;
  float scale;  // as in Unit

  explicit VertexNormal(const float* kept) {
    const Unit unit = Normalized(Load4(kept + 4));
    scale = unit.scale;
    value = scale > 0.0f ? unit.value : Vec4{0.0f, 0.0f, 1.0f, 0.0f};
  }
};

// What one sample shows.
struct Sample {
  const int32_t* corner;
  float share[3];  // of the corners
  Vec4 cam[3];     // corners
  Vec4 normal[3];
  Vec4 edge[2];  // from corner 0 to 1 and to 2
  // The shading normal and what leads to it; see ops/shading.py.
  Unit smooth, to_camera, face;
  float side;  // -1 where the camera sees the back
  float slope;  // by the cosine, of the share of the smooth normal
  float smooth_share;
  Vec4 apart;  // smooth minus face normal, both turned to the camera
  Unit shading;

  Sample(const Surface& in, const float* rast, const float* kept, const float* normals) {
    corner = CornersOf(in, static_cast<int64_t>(rast[3]) - 1);
    if (corner == nullptr) return;
    share[0] = rast[0], share[1] = rast[1], share[2] = 1.0f - rast[0] - rast[1];
    Vec4 position = {}, sum = {};
    for (int i = 0; i < 3; ++i) {
      cam[i] = Load4(kept + kKept * corner[i]);
      normal[i] = Load4(normals + 4 * corner[i]);
      position += share[i] * cam[i];
      sum += share[i] * normal[i];
    }
    edge[0] = cam[1] - cam[0], edge[1] = cam[2] - cam[0];
    smooth = Normalized(sum);
    to_camera = Normalized(-position);
    face = Normalized(Cross(edge[0], edge[1]));
    side = Dot(face.value, to_camera.value)[0] > 0.0f ? 1.0f : -1.0f;
    apart = side * (smooth.value - face.value);
    const float scaled = side * Dot(to_camera.value, smooth.value)[0] / 0.1f;
    smooth_share = scaled < 0.0f ? 0.0f : scaled > 1.0f ? 1.0f : scaled;
    // Half of it at the ends, as XLA's derivatives of minima and maxima have it.
    slope = scaled == 0.0f || scaled == 1.0f ? 5.0f : scaled > 0.0f && scaled < 1.0f ? 10.0f : 0.0f;
    shading = Normalized(side * face.value + smooth_share * apart);
  }
};

// Unit normals of all vertices.
void UnitNormals(int64_t vertices, const float* kept, float* normals) {
  for (int64_t v = 0; v < vertices; ++v) {
    Store4(normals + 4 * v, VertexNormal(kept + kKept * v).value);
  }
}

// The first row of `pixel` that is not before an image.
int64_t RowOf(const Surface& in, const int32_t* pixel, int64_t image) {
  int64_t low = 0, high = in.capacity;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (pixel[middle] < image * in.Pixels()) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// Floats of the sums of gradients at a vertex: by its rest position, its position in the camera
// frame and its normal, a 0 after each.
constexpr int64_t kSums = 12;

// Adds the gradients of what a pixel shows to its vertices, and writes that of its sample.
inline void AddGradients(const Surface& in, const Sample& sample, Vec4 grad_point, Vec4 grad_normal,
                         float* sums, float* grad_rast) {
  const Vec4 grad_mixed = sample.shading.Gradient(grad_normal);
  const float grad_cosine = sample.slope * Dot(grad_mixed, sample.apart)[0] * sample.side;
  const Vec4 grad_unit = sample.side * sample.smooth_share * grad_mixed +
                         grad_cosine * sample.to_camera.value;
  const Vec4 grad_smooth = sample.smooth.Gradient(grad_unit);
  const Vec4 grad_position = -sample.to_camera.Gradient(grad_cosine * sample.smooth.value);
  const Vec4 grad_cross =
      sample.face.Gradient(sample.side * (1.0f - sample.smooth_share) * grad_mixed);
  const Vec4 grad_edge[2] = {Cross(sample.edge[1], grad_cross), Cross(grad_cross, sample.edge[0])};
  Vec4 by_share[3];
  for (int i = 0; i < 3; ++i) {
    float* sum = sums + kSums * sample.corner[i];
    const Vec4 by_edges = i == 0 ? -grad_edge[0] - grad_edge[1] : grad_edge[i - 1];
    Add4(sum, sample.share[i] * grad_point);
    Add4(sum + 4, sample.share[i] * grad_position + by_edges);
    Add4(sum + 8, sample.share[i] * grad_smooth);
    by_share[i] = grad_point * Load3(in.rest + 3 * sample.corner[i], 0.0f) +
                  grad_position * sample.cam[i] + grad_smooth * sample.normal[i];
  }
  grad_rast[0] = Sum(by_share[0] - by_share[2])[0];
  grad_rast[1] = Sum(by_share[1] - by_share[2])[0];
}

// From the sums at the vertices of an image to the gradients of its vertices and its matrix.
void AddThroughNormals(const SurfaceBackward& args, int64_t image, const float* kept, float* sums) {
  const Surface& in = args.in;
  for (int64_t v = 0; v < in.vertices; ++v) {
    const VertexNormal normal(kept + kKept * v);
    float* grad = sums + kSums * v + 8;
    Store4(grad, Unit{normal.value, normal.scale}.Gradient(Load4(grad)));
  }
  for (int64_t f = 0; f < in.faces; ++f) {
    const int32_t* corner = CornersOf(in, f);
    if (corner == nullptr) continue;
    float* const sum[3] = {sums + kSums * corner[0], sums + kSums * corner[1],
                           sums + kSums * corner[2]};
    const Vec4 grad = Load4(sum[0] + 8) + Load4(sum[1] + 8) + Load4(sum[2] + 8);
    const Vec4 a = Load4(kept + kKept * corner[0]);
    const Vec4 by_first = Cross(Load4(kept + kKept * corner[2]) - a, grad);
    const Vec4 by_second = Cross(grad, Load4(kept + kKept * corner[1]) - a);
    Add4(sum[0] + 4, -by_first - by_second);
    Add4(sum[1] + 4, by_first);
    Add4(sum[2] + 4, by_second);
  }
  const float* matrix = in.matrix + 16 * image;
  const Vec4 row[3] = {Load4(matrix), Load4(matrix + 4), Load4(matrix + 8)};
  Vec4 by_row[3] = {};
  for (int64_t v = 0; v < in.vertices; ++v) {
    const Vec4 grad = Load4(sums + kSums * v + 4);
    const int64_t at = 3 * (image * in.vertices + v);
    const Vec4 point = Load3(in.vertex + at, 1.0f);
    Store3(args.grad_vertex + at, grad[0] * row[0] + grad[1] * row[1] + grad[2] * row[2]);
    for (int i = 0; i < 3; ++i) by_row[i] += grad[i] * point;
  }
  float* grad_matrix = args.grad_matrix + 16 * image;
  for (int i = 0; i < 3; ++i) Store4(grad_matrix + 4 * i, by_row[i]);
  Store4(grad_matrix + 12, Vec4{});
}

}  // namespace

bool ForwardSurface(const SurfaceForward& args, const Parallel& parallel) {
  const Surface& in = args.in;
  const int64_t pixels = in.Pixels();
  const Scratch<int32_t> shown(in.images * pixels);
  const Scratch<int64_t> begin(in.images + 1);  // the first row of each image
  const Scratch<float> normals(in.images * in.vertices * 4);
  if (!shown.ok() || !begin.ok() || !normals.ok()) return false;
  ParallelFor(parallel, in.images, [&](int64_t image) {
    begin[image + 1] = ShownSamples(in, image, shown.get() + image * pixels);
  });
  begin[0] = 0;
  for (int64_t image = 0; image < in.images; ++image) begin[image + 1] += begin[image];
  *args.count = static_cast<int32_t>(begin[in.images]);
  ParallelFor(parallel, in.images, [&](int64_t image) {
    float* kept = args.kept + kKept * image * in.vertices;
    VertexNormals(in, image, kept);
    float* unit = normals.get() + 4 * image * in.vertices;
    UnitNormals(in.vertices, kept, unit);
    int64_t row = begin[image];
    for (int64_t i = 0; i < pixels && row < in.capacity; ++i) {
      const int32_t sample = shown[image * pixels + i];
      if (sample < 0) continue;
      const float* rast = in.coverage + 4 * (image * in.height * in.width + sample);
      const Sample seen(in, rast, kept, unit);
      Vec4 point = {}, normal = {};
      if (seen.corner != nullptr) {
        for (int k = 0; k < 3; ++k) {
          point += seen.share[k] * Load3(in.rest + 3 * seen.corner[k], 0.0f);
        }
        normal = seen.shading.value;
      }
      args.pixel[row] = static_cast<int32_t>(image * pixels + i);
      args.image[row] = static_cast<int32_t>(image);
      args.shown[row] = sample;
      Store3(args.point + 3 * row, point);
      Store3(args.normal + 3 * row, normal);
      ++row;
    }
  });
  for (int64_t row = begin[in.images]; row < in.capacity; ++row) {
    args.pixel[row] = static_cast<int32_t>(in.images * pixels);
    args.image[row] = static_cast<int32_t>(in.images - 1);
    args.shown[row] = -1;
    Store3(args.point + 3 * row, Vec4{});
    Store3(args.normal + 3 * row, Vec4{});
  }
  return true;
}

bool BackwardSurface(const SurfaceBackward& args, const Parallel& parallel) {
  const Surface& in = args.in;
  const int64_t size = kSums * in.vertices;
  const Scratch<float> all_sums(in.images * size);
  const Scratch<float> normals(in.images * in.vertices * 4);
  if (!all_sums.ok() || !normals.ok()) return false;
  ParallelFor(parallel, in.images, [&](int64_t image) {
    const float* kept = args.kept + kKept * image * in.vertices;
    float* unit = normals.get() + 4 * image * in.vertices;
    UnitNormals(in.vertices, kept, unit);
    float* sums = all_sums.get() + image * size;
    std::memset(sums, 0, sizeof(float) * static_cast<size_t>(size));
    const int64_t samples = in.height * in.width;
    const float* coverage = in.coverage + 4 * image * samples;
    float* grad_coverage = args.grad_coverage + 4 * image * samples;
    std::memset(grad_coverage, 0, sizeof(float) * static_cast<size_t>(4 * samples));
    const int64_t end = RowOf(in, args.pixel, image + 1);
    for (int64_t row = RowOf(in, args.pixel, image); row < end; ++row) {
      const int64_t at = 4 * static_cast<int64_t>(args.shown[row]);
      const Sample seen(in, coverage + at, kept, unit);
      if (seen.corner == nullptr) continue;
      AddGradients(in, seen, Load3(args.grad_point + 3 * row, 0.0f),
                   Load3(args.grad_normal + 3 * row, 0.0f), sums, grad_coverage + at);
    }
    AddThroughNormals(args, image, kept, sums);
  });
  const int64_t chunk = 1024;
  ParallelFor(parallel, (in.vertices + chunk - 1) / chunk, [&](int64_t task) {
    const int64_t end = Min(in.vertices, (task + 1) * chunk);
    for (int64_t v = task * chunk; v < end; ++v) {
      Vec4 sum = {};
      for (int64_t image = 0; image < in.images; ++image) {
        sum += Load4(all_sums.get() + image * size + kSums * v);
      }
      Store3(args.grad_rest + 3 * v, sum);
    }
  });
  return true;
}

}  // namespace RASTERIZER_ISA
}  // namespace pony
