// Runs CUDA kernels on a CPU, so that a machine without a GPU can test them: every thread of a
// block is a fiber, blocks run one after the other. Barriers and warp exchanges wait for all
// fibers concerned, as on the device. Slow, and no proof of the absence of races.
#pragma once
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(...)

using std::isfinite;
using std::max;
using std::min;

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace host {

struct Barrier {
  unsigned arrived = 0, generation = 0;
};

struct Warp {
  Barrier barrier;
  uint64_t slot[32];
};

// Runs one block's thread after the other: made once, then switched to without the kernel of the
// operating system, which swapcontext calls each time.
struct Fiber {
  ucontext_t start;
  jmp_buf state;
  dim3 thread;
  unsigned number;
  bool started = false, done;
  std::unique_ptr<char[]> stack{new char[1 << 15]};
};

struct Block {
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Warp> warps;
  Barrier barrier;
  unsigned threads = 0;
  jmp_buf scheduler;
  Fiber* running = nullptr;
  std::function<void()> kernel;
};

inline Block block;

inline void yield() {
  if (_setjmp(block.running->state) == 0) _longjmp(block.scheduler, 1);
}

inline void wait(Barrier& barrier, unsigned count) {
  const unsigned generation = barrier.generation;
  if (++barrier.arrived == count) {
    barrier.arrived = 0;
    ++barrier.generation;
    return;
  }
  while (barrier.generation == generation) yield();
}

inline void trampoline() {
  for (;;) {
    block.kernel();
    block.running->done = true;
    yield();
  }
}

__attribute__((noinline)) inline void resume(Fiber& fiber) {
  block.running = &fiber;
  threadIdx = fiber.thread;
  if (_setjmp(block.scheduler) != 0) return;
  if (fiber.started) _longjmp(fiber.state, 1);
  fiber.started = true;
  getcontext(&fiber.start);
  fiber.start.uc_stack.ss_sp = fiber.stack.get();
  fiber.start.uc_stack.ss_size = 1 << 15;
  makecontext(&fiber.start, trampoline, 0);
  setcontext(&fiber.start);
}

inline void run_block() {
  for (unsigned i = 0; i < block.threads; ++i) {
    Fiber& fiber = *block.fibers[i];
    fiber.done = false;
    fiber.number = i;
    fiber.thread = {i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y};
  }
  block.barrier = {};
  block.warps.assign((block.threads + 31) / 32, {});
  for (bool left = true; left;) {
    left = false;
    for (unsigned i = 0; i < block.threads; ++i) {
      Fiber& fiber = *block.fibers[i];
      if (fiber.done) continue;
      resume(fiber);
      left |= !fiber.done;
    }
  }
}

// `fibers` is false for kernels without barriers: their threads run one after the other.
inline void launch(const unsigned grid[3], const unsigned shape[3], bool fibers,
                   std::function<void()> kernel) {
  blockDim = {shape[0], shape[1], shape[2]};
  gridDim = {grid[0], grid[1], grid[2]};
  block.threads = shape[0] * shape[1] * shape[2];
  block.kernel = kernel;
  while (fibers && block.fibers.size() < block.threads) {
    block.fibers.push_back(std::make_unique<Fiber>());
  }
  for (unsigned z = 0; z < grid[2]; ++z) {
    for (unsigned y = 0; y < grid[1]; ++y) {
      for (unsigned x = 0; x < grid[0]; ++x) {
        blockIdx = {x, y, z};
        if (fibers) {
          run_block();
          continue;
        }
        for (unsigned i = 0; i < block.threads; ++i) {
          threadIdx = {i % shape[0], i / shape[0] % shape[1], i / shape[0] / shape[1]};
          kernel();
        }
      }
    }
  }
}

// Hands every lane's value to `read`, after all lanes of the warp have given theirs.
template <class R> auto exchange(unsigned mask, uint64_t value, R read) {
  if (mask != 0xffffffffu) abort();
  const unsigned number = block.running->number, lane = number % 32;
  Warp& warp = block.warps[number / 32];
  const unsigned lanes = std::min(32u, block.threads - number / 32 * 32);
  warp.slot[lane] = value;
  wait(warp.barrier, lanes);
  const auto result = read(warp.slot, lane, lanes);
  wait(warp.barrier, lanes);
  return result;
}

inline float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

inline uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  return bits;
}

inline float half_value(unsigned short half) {
  const uint32_t sign = (half & 0x8000u) << 16, magnitude = half & 0x7fff;
  if (magnitude >= 0x7c00) return float_of(sign | 0x7f800000 | (magnitude & 0x3ff) << 13);
  if (magnitude >= 0x400) return float_of(sign | (magnitude + (112 << 10)) << 13);
  return float_of(sign | bits_of(static_cast<float>(magnitude) * 0x1p-24f));
}

inline unsigned long long clock_ns() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

// Rounds to nearest even.
inline unsigned short half_bits(float value) {
  const uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return static_cast<unsigned short>(sign | 0x7e00);
  if (magnitude >= 0x477ff000) return static_cast<unsigned short>(sign | 0x7c00);
  if (magnitude < 0x38800000) {  // subnormal or zero
    const float scaled = float_of(magnitude) * 0x1p24f;
    return static_cast<unsigned short>(sign | static_cast<uint32_t>(std::nearbyint(scaled)));
  }
  const uint32_t rounded = magnitude - (112u << 23) + 0xfff + (magnitude >> 13 & 1);
  return static_cast<unsigned short>(sign | rounded >> 13);
}

}  // namespace host

inline void __syncthreads() { host::wait(host::block.barrier, host::block.threads); }

inline void __syncwarp() {
  host::exchange(0xffffffffu, 0, [](const uint64_t*, unsigned, unsigned) { return 0; });
}

inline unsigned __ballot_sync(unsigned mask, bool predicate) {
  return host::exchange(mask, predicate, [](const uint64_t* slot, unsigned, unsigned lanes) {
    unsigned ballot = 0;
    for (unsigned i = 0; i < lanes; ++i) ballot |= static_cast<unsigned>(slot[i]) << i;
    return ballot;
  });
}

inline unsigned __match_any_sync(unsigned mask, int value) {
  const auto wanted = static_cast<uint64_t>(value);
  return host::exchange(mask, wanted, [=](const uint64_t* slot, unsigned, unsigned lanes) {
    unsigned same = 0;
    for (unsigned i = 0; i < lanes; ++i) same |= static_cast<unsigned>(slot[i] == wanted) << i;
    return same;
  });
}

template <class T> T __shfl_sync(unsigned mask, T value, int from) {
  return host::exchange(mask, static_cast<uint64_t>(value),
                        [=](const uint64_t* s, unsigned, unsigned) { return static_cast<T>(s[from]); });
}

template <class T> T __shfl_xor_sync(unsigned mask, T value, int with) {
  return host::exchange(mask, static_cast<uint64_t>(value), [=](const uint64_t* s, unsigned lane, unsigned) {
    return static_cast<T>(s[lane ^ with]);
  });
}

template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned by) {
  return host::exchange(mask, static_cast<uint64_t>(value), [=](const uint64_t* s, unsigned lane, unsigned) {
    return static_cast<T>(lane >= by ? s[lane - by] : s[lane]);
  });
}

template <class T> T atomicAdd(T* address, T value) {
  const T old = *address;
  *address += value;
  return old;
}
inline unsigned atomicAdd(unsigned* address, int value) {
  return atomicAdd(address, static_cast<unsigned>(value));
}

template <class T> T __ldg(const T* address) { return *address; }
inline int __popc(unsigned word) { return __builtin_popcount(word); }
inline int __ffs(unsigned word) { return __builtin_ffs(static_cast<int>(word)); }
inline unsigned __float_as_uint(float value) { return host::bits_of(value); }
inline float __uint_as_float(unsigned bits) { return host::float_of(bits); }
inline int __float2int_rn(float value) { return static_cast<int>(std::nearbyint(value)); }

inline unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned shift) {
  return static_cast<unsigned>(((static_cast<uint64_t>(hi) << 32) | lo) >> (shift & 31));
}

inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
  const uint64_t both = (static_cast<uint64_t>(b) << 32) | a;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    result |= static_cast<unsigned>(both >> 8 * (selector >> 4 * i & 7) & 255) << 8 * i;
  }
  return result;
}

inline unsigned __dp2a_lo(unsigned a, unsigned b, unsigned c) {
  return c + (a & 0xffff) * (b & 255) + (a >> 16) * (b >> 8 & 255);
}
