// Linear blend skinning: weights of bones, and vertices moved by them (ops/skinning.py).

#include "vectors.h"

#ifdef __AVX2__
// GCC 12 takes its own undefined vectors for mistakes.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif

namespace pony {
namespace RASTERIZER_ISA {

bool ComputeSkinningWeights(const SkinningWeights& args, const Parallel& parallel);
bool ForwardSkin(const SkinForward& args, const Parallel& parallel);
bool BackwardSkin(const SkinBackward& args, const Parallel& parallel);

namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Vec __attribute__((vector_size(kLanes * sizeof(float))));
typedef int32_t IntVec __attribute__((vector_size(kLanes * sizeof(float))));

inline Vec Least(Vec a, Vec b) { return a < b ? a : b; }
inline Vec Largest(Vec a, Vec b) { return a > b ? a : b; }

inline Vec SquareRoot(Vec v) {
  float part[kLanes];
  std::memcpy(part, &v, sizeof v);
  for (int i = 0; i < kLanes; ++i) part[i] = __builtin_sqrtf(part[i]);
  std::memcpy(&v, part, sizeof v);
  return v;
}

// e^x of x <= 0, to the last bit or two; 0 from 2^-126 down.
inline Vec Exponential(Vec x) {
  const Vec clamped = Largest(x, Vec{} - 87.3f);
  const Vec shifted = clamped * 1.44269504f + 12582912.0f;  // rounds to whole numbers
  const Vec whole = shifted - 12582912.0f;
  const Vec rest = clamped - whole * 0.693359375f + whole * 2.12194440e-4f;
  Vec series = Vec{} + 1.0f / 5040;
  constexpr float kCoefficients[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
  for (float coefficient : kCoefficients) series = series * rest + coefficient;
  const IntVec exponent = __builtin_convertvector(whole, IntVec) << 23;
  return x < -87.3f ? Vec{} : (Vec)((IntVec)series + exponent);
}

// A bone as the distance to it needs it.
struct Segment {
  float near[3], along[3], per_square_length;
};

// Weights of kLanes vertices, [k][kLanes], into `weight`.
void WeighLanes(const Segment* segments, int64_t bones, float scale, const Vec position[3],
                Vec* weight) {
  Vec best = {};
  for (int64_t j = 0; j < bones; ++j) {
    const Segment& s = segments[j];
    Vec offset[3];
    for (int i = 0; i < 3; ++i) offset[i] = position[i] - s.near[i];
    const Vec dot = offset[0] * s.along[0] + offset[1] * s.along[1] + offset[2] * s.along[2];
    const Vec share = Least(Largest(dot * s.per_square_length, Vec{}), Vec{} + 1.0f);
    Vec square = Vec{} + 1e-6f;
    for (int i = 0; i < 3; ++i) {
      const Vec gap = offset[i] - share * s.along[i];
      square += gap * gap;
    }
    weight[j] = SquareRoot(square) * scale;
    best = j == 0 ? weight[0] : Largest(best, weight[j]);
  }
  Vec sum = {};
  for (int64_t j = 0; j < bones; ++j) {
    weight[j] = Exponential(weight[j] - best);
    sum += weight[j];
  }
  const Vec share = 1.0f / sum;
  for (int64_t j = 0; j < bones; ++j) weight[j] *= share;
}

// A 3 x 4 matrix in rows and four elements of 0, as vectors that registers hold: the compiler goes
// through memory for wider ones.
struct Matrix {
  static constexpr int kParts = 16 / kLanes;
  Vec part[kParts];

  static Matrix Load(const float* from) {
    float elements[16] = {};
    std::memcpy(elements, from, 12 * sizeof(float));
    Matrix matrix;
    std::memcpy(matrix.part, elements, sizeof elements);
    return matrix;
  }
  Vec4 Row(int i) const {
    Vec4 row;
    std::memcpy(&row, reinterpret_cast<const char*>(part) + 16 * i, sizeof row);
    return row;
  }
  void operator+=(const Matrix& other) {
    for (int i = 0; i < kParts; ++i) part[i] += other.part[i];
  }
  void AddScaled(float scale, const Matrix& other) {
    for (int i = 0; i < kParts; ++i) part[i] += scale * other.part[i];
  }
  // Element by element.
  Matrix operator*(const Matrix& other) const {
    Matrix product;
    for (int i = 0; i < kParts; ++i) product.part[i] = part[i] * other.part[i];
    return product;
  }
};

constexpr int kGroup = 4;  // vertices that are moved together

// All rows are (x, y, z, w). By itself the compiler goes through memory.
inline Matrix Repeated(Vec4 v) {
  Matrix matrix;
#if defined(__AVX512F__)
  matrix.part[0] = (Vec)_mm512_broadcast_f32x4((__m128)v);
#elif defined(__AVX2__)
  matrix.part[0] = matrix.part[1] = (Vec)_mm256_set_m128((__m128)v, (__m128)v);
#else
  for (Vec& part : matrix.part) part = v;
#endif
  return matrix;
}

// Each element four times: a row.
inline Matrix Spread(Vec4 v) {
  Matrix matrix;
#if defined(__AVX512F__)
  const __m512i fours = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
  matrix.part[0] = (Vec)_mm512_permutexvar_ps(fours, _mm512_castps128_ps512((__m128)v));
#else
  constexpr int kRows = kLanes / 4;  // of a part
  for (int i = 0; i < Matrix::kParts; ++i) {
    for (int j = 0; j < kLanes; ++j) matrix.part[i][j] = v[i * kRows + j / 4];
  }
#endif
  return matrix;
}

// Of all bones of all images.
inline void LoadMatrices(const Skin& in, Matrix* matrices) {
  for (int64_t j = 0; j < in.images * in.bones; ++j) {
    matrices[j] = Matrix::Load(in.transform + 16 * j);
  }
}

}  // namespace

bool ComputeSkinningWeights(const SkinningWeights& args, const Parallel& parallel) {
  const int64_t parts = PartsOf(args.used), bones = args.bones;
  const Scratch<Segment> segments(args.images * bones);
  const Scratch<Vec> scratch(args.images * parts * bones);
  if (!segments.ok() || !scratch.ok()) return false;
  for (int64_t j = 0; j < args.images * bones; ++j) {
    const float* ends = args.bone + 6 * j;
    Segment& s = segments[j];
    float square = 0.0f;
    for (int i = 0; i < 3; ++i) {
      s.near[i] = ends[i];
      s.along[i] = ends[3 + i] - ends[i];
      square += s.along[i] * s.along[i];
    }
    s.per_square_length = 1.0f / (square > 1e-12f ? square : 1e-12f);
  }
  const float scale = static_cast<float>(-1.0 / args.temperature);
  ClearPadding(args.images, args.vertices, args.used, bones, args.weight);
  ParallelFor(parallel, args.images * parts, [&](int64_t task) {
    const int64_t image = task / parts, part = task % parts;
    const int64_t end = PartBegin(args.used, parts, part + 1);
    Vec* weight = scratch.get() + task * bones;
    for (int64_t v = PartBegin(args.used, parts, part); v < end; v += kLanes) {
      const int64_t count = Min(kLanes, end - v);
      const float* vertex = args.vertex + 3 * (image * args.vertices + v);
      Vec position[3] = {};
      for (int64_t i = 0; i < count; ++i) {
        for (int k = 0; k < 3; ++k) position[k][i] = vertex[3 * i + k];
      }
      WeighLanes(segments.get() + image * bones, bones, scale, position, weight);
      const float* lanes = reinterpret_cast<const float*>(weight);
      float* out = args.weight + bones * (image * args.vertices + v);
      for (int64_t i = 0; i < count; ++i, out += bones) {
        for (int64_t j = 0; j < bones; ++j) out[j] = lanes[kLanes * j + i];
      }
    }
  });
  return true;
}

bool ForwardSkin(const SkinForward& args, const Parallel& parallel) {
  const Skin& in = args.in;
  const int64_t parts = PartsOf(in.used);
  const Scratch<Matrix> matrices(in.images * in.bones);
  if (!matrices.ok()) return false;
  LoadMatrices(in, matrices.get());
  ClearPadding(in.images, in.vertices, in.used, 3, args.out);
  ParallelFor(parallel, in.images * parts, [&](int64_t task) {
    const int64_t image = task / parts, part = task % parts;
    const int64_t end = image * in.vertices + PartBegin(in.used, parts, part + 1);
    const Matrix* matrix = matrices.get() + image * in.bones;
    for (int64_t v = image * in.vertices + PartBegin(in.used, parts, part); v < end;) {
      // A group of vertices at once; at the end, single ones in the place of all of a group.
      const bool whole = end - v >= kGroup;
      const int64_t stride = whole ? in.bones : 0, count = whole ? kGroup : 1;
      const float* weight = in.weight + in.bones * v;
      Matrix mean[kGroup] = {};
      for (int64_t j = 0; j < in.bones; ++j) {
        for (int g = 0; g < kGroup; ++g) mean[g].AddScaled(weight[g * stride + j], matrix[j]);
      }
      for (int64_t i = 0; i < count; ++i) {
        const Matrix terms = mean[i] * Repeated(Load3(in.vertex + 3 * (v + i), 1.0f));
        float* out = args.out + 3 * (v + i);
        for (int r = 0; r < 3; ++r) out[r] = Sum(terms.Row(r))[0];
      }
      v += count;
    }
  });
  return true;
}

bool BackwardSkin(const SkinBackward& args, const Parallel& parallel) {
  const Skin& in = args.in;
  const int64_t parts = PartsOf(in.used), bones = in.bones;
  const Scratch<Matrix> matrices(in.images * bones);
  const Scratch<Matrix> sums(in.images * parts * bones);
  if (!matrices.ok() || !sums.ok()) return false;
  LoadMatrices(in, matrices.get());
  ClearPadding(in.images, in.vertices, in.used, 3, args.grad_vertex);
  ParallelFor(parallel, in.images * parts, [&](int64_t task) {
    const int64_t image = task / parts, part = task % parts;
    const int64_t end = image * in.vertices + PartBegin(in.used, parts, part + 1);
    const Matrix* matrix = matrices.get() + image * in.bones;
    Matrix* sum = sums.get() + task * bones;
    for (int64_t j = 0; j < bones; ++j) sum[j] = Matrix{};
    for (int64_t v = image * in.vertices + PartBegin(in.used, parts, part); v < end;) {
      const bool whole = end - v >= kGroup;
      const int64_t stride = whole ? bones : 0, count = whole ? kGroup : 1;
      const float* weight = in.weight + bones * v;
      Matrix grad[kGroup] = {}, by_matrix[kGroup] = {}, mean[kGroup] = {};
      for (int64_t i = 0; i < count; ++i) {
        grad[i] = Spread(Load3(args.grad_out + 3 * (v + i), 0.0f));
        by_matrix[i] = grad[i] * Repeated(Load3(in.vertex + 3 * (v + i), 1.0f));
      }
      for (int64_t j = 0; j < bones; ++j) {
        Matrix add = {};
        for (int g = 0; g < kGroup; ++g) {
          const float share = weight[g * stride + j];
          mean[g].AddScaled(share, matrix[j]);
          add.AddScaled(share, by_matrix[g]);
        }
        sum[j] += add;
      }
      for (int64_t i = 0; i < count; ++i) {
        const Matrix terms = mean[i] * grad[i];
        Store3(args.grad_vertex + 3 * (v + i),
               terms.Row(0) + terms.Row(1) + terms.Row(2));
      }
      v += count;
    }
  });
  for (int64_t i = 0; i < in.images * bones; ++i) {
    Matrix total = {};
    for (int64_t part = 0; part < parts; ++part) {
      total += sums[(i / bones * parts + part) * bones + i % bones];
    }
    std::memcpy(args.grad_transform + 16 * i, &total, sizeof total);
  }
  return true;
}

}  // namespace RASTERIZER_ISA
}  // namespace pony
