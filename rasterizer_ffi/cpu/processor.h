// Which build of kernels this processor can run.

#ifndef RASTERIZER_FFI_CPU_PROCESSOR_H_
#define RASTERIZER_FFI_CPU_PROCESSOR_H_

#include <cstdlib>
#include <cstring>

namespace rasterizer {

enum class Isa { kBaseline, kV3, kV4 };

// The widest instruction set that this processor has, or the one that an environment variable names
// (baseline, v3, v4) or the next narrower one that the processor has.
inline Isa ChooseIsa(const char* variable) {
#ifdef RASTERIZER_X86_64
  const char* wanted = std::getenv(variable);
  if (wanted != nullptr && *wanted == '\0') wanted = nullptr;
  const auto allowed = [&](const char* name) {
    return wanted == nullptr || std::strcmp(wanted, name) == 0;
  };
  __builtin_cpu_init();
  const bool has_v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                      __builtin_cpu_supports("bmi2");
  const bool has_v4 = has_v3 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (has_v4 && allowed("v4")) return Isa::kV4;
  if (has_v3 && (allowed("v3") || (wanted != nullptr && std::strcmp(wanted, "v4") == 0))) {
    return Isa::kV3;
  }
#else
  (void)variable;
#endif
  return Isa::kBaseline;
}

}  // namespace rasterizer

#endif  // RASTERIZER_FFI_CPU_PROCESSOR_H_
