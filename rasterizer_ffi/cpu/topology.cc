// Which triangles share an edge, by a counting sort of the edges: no hashing, no atomics, the order of
// the triangles decides.
//
// An undirected edge remembers at most the first two different vertices that face it, as nvdiffrast's
// hash does; that only matters for edges with three or more triangles.

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "kernels.h"

namespace rasterizer {
namespace {

struct Edge {
  int32_t high;   // the larger of the two vertex indices
  int32_t low;    // the smaller; buckets hold edges with equal hashes of it
  int32_t slot;   // 3 * triangle + edge
};

struct Free {
  void operator()(void* p) const { std::free(p); }
};

template <class T>
std::unique_ptr<T, Free> Allocate(int64_t size) {
  return std::unique_ptr<T, Free>(
      static_cast<T*>(std::malloc(sizeof(T) * static_cast<size_t>(size > 0 ? size : 1))));
}

// Edge k of a triangle faces its vertex k. False if the triangle takes no part.
bool TriangleUsed(const int32_t* tri) {
  return tri[0] >= 0 && tri[1] >= 0 && tri[2] >= 0 && tri[0] != tri[1] && tri[1] != tri[2] &&
         tri[2] != tri[0];
}

}  // namespace

bool BuildTopology(const Topology& topology) {
  const int64_t num_slots = 3 * topology.num_triangles;
  int64_t buckets = 1;
  while (buckets < topology.num_triangles) buckets *= 2;
  auto begin = Allocate<int32_t>(buckets + 1);
  auto edges = Allocate<Edge>(num_slots);
  if (!begin || !edges) return false;
  for (int64_t i = 0; i <= buckets; ++i) begin.get()[i] = 0;

  const auto bucket_of = [&](int32_t low) { return static_cast<int64_t>(low) & (buckets - 1); };
  const auto for_each_edge = [&](auto&& visit) {
    for (int64_t t = 0; t < topology.num_triangles; ++t) {
      const int32_t* tri = topology.tri + 3 * t;
      if (!TriangleUsed(tri)) continue;
      for (int k = 0; k < 3; ++k) {
        const int32_t a = tri[(k + 1) % 3], b = tri[(k + 2) % 3];
        visit(a < b ? a : b, a < b ? b : a, static_cast<int32_t>(3 * t + k));
      }
    }
  };
  for_each_edge([&](int32_t low, int32_t, int32_t) { ++begin.get()[bucket_of(low) + 1]; });
  for (int64_t i = 0; i < buckets; ++i) begin.get()[i + 1] += begin.get()[i];
  for_each_edge([&](int32_t low, int32_t high, int32_t slot) {
    edges.get()[begin.get()[bucket_of(low)]++] = {high, low, slot};
  });
  // Filling moved every beginning to its end; bucket i now begins where bucket i - 1 ends.

  for (int64_t i = 0; i < num_slots; ++i) topology.opposite[i] = -1;
  const auto facing = [&](int32_t slot) { return topology.tri[slot]; };
  for (int64_t bucket = 0; bucket < buckets; ++bucket) {
    Edge* first = edges.get() + (bucket == 0 ? 0 : begin.get()[bucket - 1]);
    Edge* const end = edges.get() + begin.get()[bucket];
    std::sort(first, end, [](const Edge& a, const Edge& b) {
      return a.low != b.low ? a.low < b.low : a.high != b.high ? a.high < b.high : a.slot < b.slot;
    });
    while (first < end) {  // one undirected edge at a time
      const int32_t known0 = facing(first->slot);
      int32_t known1 = -1;
      Edge* last = first + 1;
      for (; last < end && last->low == first->low && last->high == first->high; ++last) {
        if (known1 < 0 && facing(last->slot) != known0) known1 = facing(last->slot);
      }
      for (; first < last; ++first) {
        const int32_t own = facing(first->slot);
        topology.opposite[first->slot] = own == known0 ? known1 : own == known1 ? known0 : -1;
      }
    }
  }
  return true;
}

}  // namespace rasterizer
