// Prints the FLOP/s of fused multiply-adds on float32 vectors that stay in registers, on one core.
// Compile for the processor: cc -O2 -march=native.

#include <stdio.h>
#include <time.h>

#if defined(__AVX512F__)
enum { kLanes = 16, kSums = 24 };
#elif defined(__AVX2__)
enum { kLanes = 8, kSums = 12 };
#else
enum { kLanes = 4, kSums = 8 };
#endif
typedef float Vec __attribute__((vector_size(4 * kLanes)));

static double Seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec + 1e-9 * now.tv_nsec;
}

int main(void) {
  const long kRounds = 1000000;
  Vec sums[kSums], factor = {}, start = {};
  for (int j = 0; j < kLanes; ++j) {
    factor[j] = 0.5f;
    start[j] = 1 + j;
  }
  for (int i = 0; i < kSums; ++i) sums[i] = start * (float)i;
  double best = 0;
  for (int repeat = 0; repeat < 60; ++repeat) {
    const double begin = Seconds();
    for (long k = 0; k < kRounds; ++k) {
#pragma GCC unroll 24
      for (int i = 0; i < kSums; ++i) sums[i] = sums[i] * factor + start;
    }
    const double rate = 2.0 * kLanes * kSums * kRounds / (Seconds() - begin);
    if (rate > best) best = rate;
  }
  float all = 0;
  for (int i = 0; i < kSums; ++i) all += sums[i][0];
  printf("%.6e\n", all != 0 ? best : 0);  // uses the sums, so that they are computed
  return 0;
}
