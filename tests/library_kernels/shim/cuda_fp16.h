// What the library's kernels ask of CUDA, on the CPU: fp16 numbers, the threads of a block, and memory.
// fp16 operations compute in float and round once to the nearest even: for a sum, a product or a quotient of two fp16
// numbers that equals rounding the exact result (float has more than twice the digits and two more).
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <algorithm>
#include <ucontext.h>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __inline__ inline
#define __launch_bounds__(...)
#define __restrict__
// Blocks run one after the other, so what the threads of a block share can be one for all.
#define __shared__ static
#define __align__(n)

using std::max;
using std::min;

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};
struct int2 { int x, y; };
struct int4 { int x, y, z, w; };
struct uint2 { unsigned x, y; };
struct uint4 { unsigned x, y, z, w; };
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }

// ---- fp16

struct __half_raw { uint16_t x; };
struct half {
    uint16_t x;
    half() = default;
    half(__half_raw raw) : x(raw.x) {}
    operator __half_raw() const { return {x}; }
};
struct half2 { half x, y; };

inline float __half2float(half h)
{
    _Float16 f;
    std::memcpy(&f, &h.x, 2);
    return (float) f;
}
inline half __float2half_rn(float value)
{
    _Float16 f = (_Float16) value;
    half h;
    std::memcpy(&h.x, &f, 2);
    return h;
}
inline half __double2half_once(double value)
{
    _Float16 f = (_Float16) value;
    half h;
    std::memcpy(&h.x, &f, 2);
    return h;
}
inline half __int2half_rn(int value) { return __double2half_once((double) value); }
inline half __hadd(half a, half b) { return __float2half_rn(__half2float(a) + __half2float(b)); }
inline half __hsub(half a, half b) { return __float2half_rn(__half2float(a) - __half2float(b)); }
inline half __hmul(half a, half b) { return __float2half_rn(__half2float(a) * __half2float(b)); }
inline half __hdiv(half a, half b) { return __float2half_rn(__half2float(a) / __half2float(b)); }
// A product of two fp16 numbers and a sum with a third are exact in double: one rounding, as in the fused operation.
inline half __hfma(half a, half b, half c)
{
    return __double2half_once((double) __half2float(a) * __half2float(b) + __half2float(c));
}
inline half __habs(half a) { a.x &= 0x7fff; return a; }
inline half __hmax(half a, half b)
{
    float fa = __half2float(a), fb = __half2float(b);
    if (std::isnan(fa)) return b;
    return std::isnan(fb) || fa > fb ? a : b;
}
inline int __half2int_rn(half h)
{
    float value = __half2float(h);
    return std::isnan(value) ? 0 : (int) std::nearbyint(value);
}
inline half2 __halves2half2(half a, half b) { return {a, b}; }
inline half2 __half2half2(half a) { return {a, a}; }
inline half2 __float2half2_rn(float a) { return __half2half2(__float2half_rn(a)); }
inline half __low2half(half2 a) { return a.x; }
inline half __high2half(half2 a) { return a.y; }
inline half2 __hadd2(half2 a, half2 b) { return {__hadd(a.x, b.x), __hadd(a.y, b.y)}; }
inline half2 __hsub2(half2 a, half2 b) { return {__hsub(a.x, b.x), __hsub(a.y, b.y)}; }
inline half2 __hmul2(half2 a, half2 b) { return {__hmul(a.x, b.x), __hmul(a.y, b.y)}; }
inline half2 __h2div(half2 a, half2 b) { return {__hdiv(a.x, b.x), __hdiv(a.y, b.y)}; }
inline half2 __hfma2(half2 a, half2 b, half2 c) { return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)}; }
inline half2 __habs2(half2 a) { return {__habs(a.x), __habs(a.y)}; }
inline uint32_t __funnelshift_rc(uint32_t low, uint32_t high, uint32_t shift)
{
    return shift >= 32 ? high : (uint32_t) ((((uint64_t) high << 32) | low) >> shift);
}
inline int __float_as_int(float f) { int i; std::memcpy(&i, &f, 4); return i; }
inline float __int_as_float(int i) { float f; std::memcpy(&f, &i, 4); return f; }
// Threads take turns, so nothing comes between.
inline unsigned atomicCAS(unsigned* at, unsigned expected, unsigned value)
{
    unsigned old = *at;
    if (old == expected) *at = value;
    return old;
}
template <class T> T __ldg(const T* from) { return *from; }
template <class T> void __stcg(T* to, T value) { *to = value; }
template <class T> void __stwb(T* to, T value) { *to = value; }

// ---- the threads of a block: each a stack of its own; one runs until it waits for the others

extern dim3 threadIdx, blockIdx, blockDim, gridDim;
void wait_for_block();
#define __syncthreads() wait_for_block()

constexpr int MOST_THREADS = 1024, WARP = 32;
extern uint64_t lanes[MOST_THREADS];

template <class T> T from_lane(T value, int thread)
{
    static_assert(sizeof(T) <= sizeof(uint64_t), "one slot a lane");
    std::memcpy(&lanes[threadIdx.x], &value, sizeof(T));
    wait_for_block();
    T found;
    std::memcpy(&found, &lanes[thread], sizeof(T));
    wait_for_block();
    return found;
}
template <class T> T __shfl_xor_sync(unsigned, T value, int mask) { return from_lane(value, threadIdx.x ^ mask); }
template <class T> T __shfl_down_sync(unsigned, T value, int by)
{
    int thread = threadIdx.x;
    return from_lane(value, thread % WARP + by < WARP ? thread + by : thread);
}

void run_blocks(dim3 grid, dim3 block, const std::function<void()>& kernel);

template <class... P> struct Launch {
    void (*kernel)(P...);
    dim3 grid, block;
    void operator()(P... arguments) const
    {
        run_blocks(grid, block, [&] { kernel(arguments...); });
    }
};
typedef struct Stream* cudaStream_t;
template <class... P> Launch<P...> launch(void (*kernel)(P...), dim3 grid, dim3 block, int = 0, cudaStream_t = nullptr)
{
    return {kernel, grid, block};
}

// ---- memory: the device is the host

enum cudaError_t { cudaSuccess };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
inline const char* cudaGetErrorString(cudaError_t) { return ""; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
template <class T> cudaError_t cudaMalloc(T** to, size_t bytes) { *to = (T*) std::malloc(bytes); return cudaSuccess; }
inline cudaError_t cudaFree(void* at) { std::free(at); return cudaSuccess; }
inline cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind)
{
    std::memcpy(to, from, bytes);
    return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t = nullptr)
{
    return cudaMemcpy(to, from, bytes, kind);
}
