// What the kernels ask of their compiler: NVRTC, nvcc, or a host compiler with host_cuda.h in its
// path, which runs the same code on a CPU for tests. No header of CUDA is needed.
#pragma once

#ifdef __CUDACC__
#define DEVICE __device__ __forceinline__
#else
#include "host_cuda.h"
#define DEVICE inline
#endif

// An IEEE binary16 value.
struct Half {
  unsigned short bits;
};

#ifdef __CUDACC__
DEVICE Half to_half(float value) {
  Half half;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half.bits) : "f"(value));
  return half;
}

DEVICE float to_float(Half half) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(half.bits));
  return value;
}

DEVICE unsigned long long clock_ns() {
  unsigned long long time;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(time));
  return time;
}
#else
DEVICE Half to_half(float value) { return Half{host::half_bits(value)}; }
DEVICE float to_float(Half half) { return host::half_value(half.bits); }
DEVICE unsigned long long clock_ns() { return host::clock_ns(); }
#endif

DEVICE float to_float(float value) { return value; }

// Rounds and saturates where the type needs it.
template <class T> DEVICE T convert(float value);
template <> DEVICE float convert<float>(float value) { return value; }
template <> DEVICE Half convert<Half>(float value) { return to_half(value); }
template <> DEVICE signed char convert<signed char>(float value) {
  return static_cast<signed char>(__float2int_rn(fminf(fmaxf(value, -128.0f), 127.0f)));
}
