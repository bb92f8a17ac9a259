// Which triangles share an edge, by a hash table of the undirected edges. Where an edge lands in
// the table depends on the order of the threads, what is said of it does not: it remembers the
// first two different vertices that face it, in the order of the triangles.

#ifndef RASTERIZER_FFI_CUDA_TOPOLOGY_H_
#define RASTERIZER_FFI_CUDA_TOPOLOGY_H_

#include "device.h"

namespace rasterizer {
namespace RASTERIZER_ISA {
namespace {

struct EdgeEntry {
  uint64_t vertices;       // the two vertex indices, the smaller in the upper half; all ones: free
  uint32_t first, second;  // slots (3 * triangle + edge) with different vertices; all ones: none
};

struct EdgeTable {
  const int32_t* tri;  // [F,3]
  EdgeEntry* entries;
  int64_t mask;        // entries less one, a power of two less one

  // The vertices of the edge that faces vertex slot % 3, or all ones if the triangle takes no part.
  RASTERIZER_HD uint64_t Edge(int64_t slot) const {
    const int32_t* t = tri + slot / 3 * 3;
    if (t[0] < 0 || t[1] < 0 || t[2] < 0 || t[0] == t[1] || t[1] == t[2] || t[2] == t[0]) {
      return ~uint64_t{0};
    }
    const uint64_t a = static_cast<uint32_t>(t[(slot + 1) % 3]);
    const uint64_t b = static_cast<uint32_t>(t[(slot + 2) % 3]);
    return Min(a, b) << 32 | Max(a, b);
  }

  RASTERIZER_HD int64_t Home(uint64_t vertices) const {
    return static_cast<int64_t>((vertices * 0x9e3779b97f4a7c15u) >> 32) & mask;
  }

  // The entry of an edge that is in the table.
  RASTERIZER_HD EdgeEntry* Find(uint64_t vertices) const {
    int64_t i = Home(vertices);
    while (entries[i].vertices != vertices) i = (i + 1) & mask;
    return &entries[i];
  }
};

// Enters the edge of each slot, and which slot is the first to have it.
struct EnterEdge {
  EdgeTable table;

  RASTERIZER_HD void operator()(int64_t slot) const {
    const uint64_t vertices = table.Edge(slot);
    if (vertices == ~uint64_t{0}) return;
    int64_t i = table.Home(vertices);
    for (;;) {
      const uint64_t before = AtomicClaim(&table.entries[i].vertices, vertices);
      if (before == ~uint64_t{0} || before == vertices) break;
      i = (i + 1) & table.mask;
    }
    AtomicMin(&table.entries[i].first, static_cast<uint32_t>(slot));
  }
};

// Finds the first slot whose vertex differs from that of the first slot of its edge.
struct FindSecond {
  EdgeTable table;

  RASTERIZER_HD void operator()(int64_t slot) const {
    const uint64_t vertices = table.Edge(slot);
    if (vertices == ~uint64_t{0}) return;
    EdgeEntry* entry = table.Find(vertices);
    if (table.tri[slot] == table.tri[entry->first]) return;
    AtomicMin(&entry->second, static_cast<uint32_t>(slot));
  }
};

struct FindOpposite {
  EdgeTable table;
  int32_t* opposite;  // out [F,3]

  RASTERIZER_HD void operator()(int64_t slot) const {
    opposite[slot] = -1;
    const uint64_t vertices = table.Edge(slot);
    if (vertices == ~uint64_t{0}) return;
    const EdgeEntry* entry = table.Find(vertices);
    if (entry->second == ~uint32_t{0}) return;
    const int32_t own = table.tri[slot];
    const int32_t known0 = table.tri[entry->first], known1 = table.tri[entry->second];
    opposite[slot] = own == known0 ? known1 : own == known1 ? known0 : -1;
  }
};

template <class Device>
bool BuildTopology(const Topology& topology, Device& device) {
  const int64_t slots = 3 * topology.num_triangles;
  int64_t size = 4;
  while (size < 4 * topology.num_triangles) size *= 2;  // never full: there are at most 3 F edges
  EdgeEntry* entries = device.template Allocate<EdgeEntry>(size);
  if (entries == nullptr) return false;
  const EdgeTable table = {topology.tri, entries, size - 1};
  device.Fill(entries, 0xff, size * static_cast<int64_t>(sizeof(EdgeEntry)));
  device.ForEach(slots, EnterEdge{table});
  device.ForEach(slots, FindSecond{table});
  device.ForEach(slots, FindOpposite{table, topology.opposite});
  return true;
}

}  // namespace
}  // namespace RASTERIZER_ISA
}  // namespace rasterizer

#endif  // RASTERIZER_FFI_CUDA_TOPOLOGY_H_
