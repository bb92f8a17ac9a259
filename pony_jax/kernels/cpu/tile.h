// Matrix products in tiles that stay in registers; all layers are made of these.

#ifndef PONY_JAX_KERNELS_CPU_TILE_H_
#define PONY_JAX_KERNELS_CPU_TILE_H_

#include <cstdint>
#include <cstring>

#include "rasterizer_ffi/cpu/work.h"
#include "networks.h"

namespace pony {
namespace RASTERIZER_ISA {
namespace {

using rasterizer::RASTERIZER_ISA::ParallelFor;
using rasterizer::RASTERIZER_ISA::PartBegin;
using rasterizer::RASTERIZER_ISA::Scratch;

inline int64_t Min(int64_t a, int64_t b) { return a < b ? a : b; }

// A tile is kRows rows of up to kVectors vectors of sums: as many as the registers hold beside a
// row of the other factor.
#if defined(__AVX512F__)
constexpr int kLanes = 16, kRows = 6, kVectors = 4;
#elif defined(__AVX2__)
constexpr int kLanes = 8, kRows = 6, kVectors = 2;
#else
constexpr int kLanes = 4, kRows = 4, kVectors = 2;
#endif
constexpr int64_t kPanel = kLanes * kVectors;
static_assert(kBlock % kRows == 0 && kWidthMultiple % kLanes == 0, "blocks are whole tiles");

template <int lanes>
struct Floats {
  typedef float Vector __attribute__((vector_size(lanes * sizeof(float))));
};
typedef Floats<kLanes>::Vector Vec;
typedef int32_t IntVec __attribute__((vector_size(kLanes * sizeof(float))));

inline Vec LoadVec(const float* from) {
  Vec v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

inline void StoreVec(float* to, Vec v) { std::memcpy(to, &v, sizeof v); }

// NaN stays NaN.
inline Vec Rectified(Vec v) { return v < 0.0f ? Vec{} : v; }

// By halves: one after the other, each addition would wait for the one before.
template <int lanes = kLanes>
inline float Sum(typename Floats<lanes>::Vector v) {
  if constexpr (lanes == 2) {
    return v[0] + v[1];
  } else {
    typename Floats<lanes / 2>::Vector half[2];
    std::memcpy(half, &v, sizeof v);
    return Sum<lanes / 2>(half[0] + half[1]);
  }
}

// Stores the first `count` elements.
inline void StoreSome(float* to, Vec v, int64_t count) {
  if (count >= kLanes) {
    StoreVec(to, v);
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = v[i];
  }
}

// Loops over a tile are unrolled in full: a sum whose place is known stays in its register.
template <int R, int V>
struct Tile {
  static constexpr int kTileRows = R, kTileVectors = V;
  Vec sum[R][V];

  // Calls use(row, vector, sum) for each vector.
  template <class Use>
  void ForEach(Use use) {
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) use(r, v, sum[r][v]);
    }
  }

  void Clear() {
    ForEach([](int, int, Vec& sums) { sums = Vec{}; });
  }
  // Rows lie `step` apart.
  void Load(const float* from, int64_t step) {
    ForEach([=](int r, int v, Vec& sums) { sums = LoadVec(from + r * step + v * kLanes); });
  }
  void AddStored(const float* from, int64_t step) {
    ForEach([=](int r, int v, Vec& sums) { sums += LoadVec(from + r * step + v * kLanes); });
  }
  void Store(float* to, int64_t step) {
    ForEach([=](int r, int v, Vec sums) { StoreVec(to + r * step + v * kLanes, sums); });
  }

  // sum(r, j) += sum over k < depth of factor(r, k) * b[k * b_step + j]
  template <class Factor>
  void AddProduct(Factor factor, const float* b, int64_t b_step, int64_t depth) {
    for (int64_t k = 0; k < depth; ++k) {
      Vec row[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) row[v] = LoadVec(b + v * kLanes);
#pragma GCC unroll 6
      for (int r = 0; r < R; ++r) {
        const float of_row = factor(r, k);
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sum[r][v] += of_row * row[v];
      }
      b += b_step;
    }
  }

  // Factors are a[r * a_row + k * a_step].
  void Add(const float* a, int64_t a_row, int64_t a_step, const float* b, int64_t b_step,
           int64_t depth) {
    AddProduct([=](int r, int64_t k) { return a[r * a_row + k * a_step]; }, b, b_step, depth);
  }

  // Rows of factors lie anywhere.
  void Add(const float* const* rows, const float* b, int64_t b_step, int64_t depth) {
    AddProduct([=](int r, int64_t k) { return rows[r][k]; }, b, b_step, depth);
  }
};

template <int R, int V, class Use>
inline void WithTile(int64_t row, Use& use) {
  Tile<R, V> tile;
  tile.Clear();
  use(row, tile);
}

// All that is called becomes part of this function: else tiles would go through the memory.
template <int V, class Use>
__attribute__((flatten, noinline)) void ForTilesOf(int64_t rows, Use use) {
  int64_t row = 0;
  for (; row + kRows <= rows; row += kRows) WithTile<kRows, V>(row, use);
  static_assert(kRows == 4 || kRows == 6, "the cases below");
  switch (rows - row) {
    case 1: return WithTile<1, V>(row, use);
    case 2: return WithTile<2, V>(row, use);
    case 3: return WithTile<3, V>(row, use);
#if defined(__AVX2__)
    case 4: return WithTile<4, V>(row, use);
    case 5: return WithTile<5, V>(row, use);
#endif
  }
}

// Calls use(first row, tile) for tiles of `vectors` that cover `rows`, each cleared. What `use` needs
// in its inner loops it should hold by value: memory that is written to might be what it refers to.
template <class Use>
inline void ForTiles(int64_t rows, int vectors, Use use) {
  static_assert(kVectors == 2 || kVectors == 4, "the cases below");
  switch (vectors) {
    case 1: return ForTilesOf<1>(rows, use);
    case 2: return ForTilesOf<2>(rows, use);
#if defined(__AVX512F__)
    case 3: return ForTilesOf<3>(rows, use);
    case 4: return ForTilesOf<4>(rows, use);
#endif
  }
}

// Calls use(first column, number of vectors) for each panel of a matrix of this width.
template <class Use>
inline void ForPanels(int64_t width, Use use) {
  for (int64_t column = 0; column < width; column += kPanel) {
    const int64_t left = (width - column + kLanes - 1) / kLanes;
    use(column, static_cast<int>(Min(left, kVectors)));
  }
}

// The right factor of a product, copied to `data` so that a panel of columns is one run of memory:
// depth * width floats, where `width` is a multiple of kLanes.
struct Panels {
  int64_t depth, width;
  float* data;

  int64_t size() const { return depth * width; }
  const float* panel(int64_t column) const { return data + column * depth; }

  // Copies rows from `first_row` on: row k, column j is from[k * row_step + j * column_step], and 0
  // from column `columns` on.
  void Pack(int64_t first_row, int64_t rows, int64_t columns, const float* from, int64_t row_step,
            int64_t column_step) const {
    ForPanels(width, [&](int64_t column, int vectors) {
      const int64_t lanes = vectors * kLanes;
      float* to = data + column * depth + first_row * lanes;
      for (int64_t k = 0; k < rows; ++k, to += lanes) {
        if (column_step == 1 && column + lanes <= columns) {
          std::memcpy(to, from + k * row_step + column, static_cast<size_t>(lanes) * sizeof(float));
          continue;
        }
        for (int64_t j = 0; j < lanes; ++j) {
          to[j] = column + j < columns ? from[k * row_step + (column + j) * column_step] : 0.0f;
        }
      }
    });
  }
};

// a @ b. Calls use(row, column, sums) for each vector of the result.
template <class Use>
inline void Multiply(const float* a, int64_t a_row, int64_t rows, const Panels& b, Use use) {
  ForPanels(b.width, [&](int64_t column, int vectors) {
    const float* const panel = b.panel(column);
    const int64_t depth = b.depth;
    ForTiles(rows, vectors, [=](int64_t first, auto& tile) {
      tile.Add(a + first * a_row, a_row, 1, panel, tile.kTileVectors * kLanes, depth);
      tile.ForEach([=](int r, int v, Vec sums) { use(first + r, column + v * kLanes, sums); });
    });
  });
}

// Memory that is needed after some work, asked for in step with the work: a processor that is asked
// for much at once waits for most of it.
class Ahead {
 public:
  Ahead(const float* data, int64_t size, int64_t work) : data_(data), size_(size), work_(work) {}

  void During(int64_t work) {
    constexpr int64_t kLine = 64 / sizeof(float);
    done_ += work;
    const int64_t end = done_ < work_ ? size_ * done_ / work_ : size_;
    for (; asked_ < end; asked_ += kLine) __builtin_prefetch(data_ + asked_, 0, 2);
  }

 private:
  const float* data_;
  int64_t size_, work_, done_ = 0, asked_ = 0;
};

// sums += a^T @ g, or = if they are `fresh`, over `depth` rows of both. `width`, of g and of sums, is
// a multiple of kLanes. What lies `ahead` is asked for meanwhile; its work is a number of sums.
inline void AddTransposed(const float* a, int64_t a_step, int64_t a_width, const float* g,
                          int64_t g_step, int64_t width, int64_t depth, bool fresh, float* sums,
                          Ahead* ahead = nullptr) {
  ForPanels(width, [=](int64_t column, int vectors) {
    ForTiles(a_width, vectors, [=](int64_t row, auto& tile) {
      if (ahead != nullptr) ahead->During(tile.kTileRows * tile.kTileVectors * kLanes);
      float* const to = sums + row * width + column;
      if (!fresh) tile.Load(to, width);
      tile.Add(a + row, 1, a_step, g + column, g_step, depth);
      tile.Store(to, width);
    });
  });
}

// sums += the sum of `count` rows of `width`, a multiple of kLanes.
inline void AddRows(const float* rows, int64_t count, int64_t width, float* sums) {
  ForPanels(width, [=](int64_t column, int vectors) {
    ForTiles(1, vectors, [=](int64_t, auto& tile) {
      tile.Load(sums + column, 0);
      for (int64_t i = 0; i < count; ++i) {
        const float* const row = rows + i * width + column;
        tile.ForEach([=](int, int v, Vec& sum) { sum += LoadVec(row + v * kLanes); });
      }
      tile.Store(sums + column, 0);
    });
  });
}

// The first `columns` of rows that lie `from_row` apart.
inline void CopyRows(const float* from, int64_t from_row, int64_t rows, int64_t columns,
                     float* to) {
  for (int64_t i = 0; i < rows; ++i) {
    std::memcpy(to + i * columns, from + i * from_row,
                static_cast<size_t>(columns) * sizeof(float));
  }
}

// Runs task(i, scratch) for i in [0, num_tasks), with `size` floats for each thread: what a task
// leaves in the cache serves the next. Returns false when there is no memory.
template <class Task>
inline bool ParallelWithScratch(const Parallel& parallel, int64_t num_tasks, int64_t size,
                                Task task) {
  const int64_t threads = Min(num_tasks, parallel.num_threads());
  const Scratch<float> scratch(threads * size);
  if (!scratch.ok()) return false;
  int64_t next = 0;
  ParallelFor(parallel, threads, [&](int64_t thread) {
    for (int64_t i; (i = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)) < num_tasks;) {
      task(i, scratch.get() + thread * size);
    }
  });
  return true;
}

// Into how many parts, each with sums of its own, `size` pieces of work are cut: by the shape alone,
// so that sums do not depend on the threads. Parts of few pieces are of one each: with one more in
// the last part, all other threads would wait for it.
inline int64_t CountParts(int64_t size) { return size < 1 ? 1 : size < 16 ? size : 16; }

// Adds `parts` arrays of `size` floats, one after the other, into the first.
inline void AddParts(float* sums, int64_t parts, int64_t size, const Parallel& parallel) {
  constexpr int64_t kChunk = 4096;
  ParallelFor(parallel, (size + kChunk - 1) / kChunk, [&](int64_t chunk) {
    const int64_t begin = chunk * kChunk, end = Min(begin + kChunk, size);
    for (int64_t part = 1; part < parts; ++part) {
      for (int64_t i = begin; i < end; ++i) sums[i] += sums[part * size + i];
    }
  });
}

}  // namespace
}  // namespace RASTERIZER_ISA
}  // namespace pony

#endif  // PONY_JAX_KERNELS_CPU_TILE_H_
