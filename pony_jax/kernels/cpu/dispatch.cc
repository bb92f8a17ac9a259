// The instruction set and the number of threads that kernels run with.

#include "dispatch.h"

#include <atomic>

#include "rasterizer_ffi/cpu/processor.h"

namespace pony {
namespace {

int WidestInstructionSet() {
  static const int widest = static_cast<int>(rasterizer::ChooseIsa("PONY_JAX_ISA"));
  return widest;
}

std::atomic<int> narrowed{2};
std::atomic<int> max_threads{0};

}  // namespace

int InstructionSet() { return std::min(narrowed.load(), WidestInstructionSet()); }
int MaxThreads() { return max_threads.load(); }

}  // namespace pony

#pragma GCC visibility push(default)  // what Python looks up by name

// Limits the threads of every kernel from now on; 0 takes the limit away.
extern "C" void PonySetMaxThreads(int threads) { pony::max_threads = threads; }

// Lets kernels run with an instruction set up to 0 baseline, 1 v3, 2 v4 from now on, within what the
// processor has and PONY_JAX_ISA allows. Returns the one that they run with.
extern "C" int PonySetInstructionSet(int isa) {
  pony::narrowed = isa;
  return pony::InstructionSet();
}

#pragma GCC visibility pop
