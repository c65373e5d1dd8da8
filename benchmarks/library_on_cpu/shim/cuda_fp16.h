// What the library's kernels ask of CUDA, on the CPU: fp16 numbers, the threads of a block, and memory.
// fp16 operations compute in float and round once to the nearest even: for a sum, a product or a quotient of two fp16
// numbers that equals rounding the exact result (float has more than twice the digits and two more).
#pragma once
#define CUDART_VERSION 13000
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <algorithm>
#include <functional>
#include <map>
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
    dim3() = default;
    dim3(unsigned x, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct int2 { int x, y; };
struct int4 { int x, y, z, w; };
struct uint2 { unsigned x, y; };
struct uint4 { unsigned x, y, z, w; };
struct float2 { float x, y; };
struct float4 { float x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
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
inline half __hneg(half a) { a.x ^= 0x8000; return a; }
inline bool __hgt(half a, half b) { return __half2float(a) > __half2float(b); }
inline half hrcp(half a) { return __float2half_rn(1.0f / __half2float(a)); }
inline half hexp(half a) { return __float2half_rn(std::exp(__half2float(a))); }
inline half hsqrt(half a) { return __float2half_rn(std::sqrt(__half2float(a))); }
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
inline half __float2half(float a) { return __float2half_rn(a); }
inline half2 __floats2half2_rn(float a, float b) { return {__float2half_rn(a), __float2half_rn(b)}; }
inline float __low2float(half2 a) { return __half2float(a.x); }
inline float __high2float(half2 a) { return __half2float(a.y); }
inline half2 __lowhigh2highlow(half2 a) { return {a.y, a.x}; }
inline half2 __hneg2(half2 a) { return {__hneg(a.x), __hneg(a.y)}; }
inline half2 __hmax2(half2 a, half2 b) { return {__hmax(a.x, b.x), __hmax(a.y, b.y)}; }
inline half2 h2rcp(half2 a) { return {hrcp(a.x), hrcp(a.y)}; }
inline half2 h2exp(half2 a) { return {hexp(a.x), hexp(a.y)}; }
inline float __expf(float a) { return std::exp(a); }
inline float __powf(float a, float b) { return std::pow(a, b); }
inline float __int2float_rn(int a) { return (float) a; }
inline float rsqrtf(float a) { return 1.0f / std::sqrt(a); }
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
inline void atomicAdd(half* at, half value) { *at = __hadd(*at, value); }
inline void atomicAdd(half2* at, half2 value) { *at = __hadd2(*at, value); }
inline void atomicAdd(float* at, float value) { *at += value; }
template <class T> T __ldg(const T* from) { return *from; }
template <class T> void __stcg(T* to, T value) { *to = value; }
template <class T> void __stwb(T* to, T value) { *to = value; }

// ---- the threads of a block: each a stack of its own; one runs until it waits for the others

extern dim3 threadIdx, blockIdx, blockDim, gridDim;
void wait_for_block();
#define __syncthreads() wait_for_block()

constexpr int MOST_THREADS = 1024, WARP = 32, warpSize = WARP;
extern uint64_t lanes[MOST_THREADS];

inline int thread_number() { return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z); }

template <class T> T from_lane(T value, int thread)
{
    static_assert(sizeof(T) <= sizeof(uint64_t), "one slot a lane");
    std::memcpy(&lanes[thread_number()], &value, sizeof(T));
    wait_for_block();
    T found;
    std::memcpy(&found, &lanes[thread], sizeof(T));
    wait_for_block();
    return found;
}
template <class T> T __shfl_xor_sync(unsigned, T value, int mask) { return from_lane(value, thread_number() ^ mask); }
template <class T> T __shfl_down_sync(unsigned, T value, int by)
{
    int thread = thread_number();
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

// ---- memory, streams, events: the device is the host, and everything is done when it is asked for

enum cudaError_t { cudaSuccess, cudaErrorUnknown };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum { cudaEventDisableTiming = 2, cudaHostAllocMapped = 2 };
typedef struct Event* cudaEvent_t;
typedef struct GraphOfCuda* cudaGraph_t;
typedef struct GraphExec* cudaGraphExec_t;
typedef struct GraphNode* cudaGraphNode_t;
struct cudaKernelNodeParams { void** kernelParams; };
inline const char* cudaGetErrorString(cudaError_t) { return ""; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaPeekAtLastError() { return cudaSuccess; }
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned = 0) { return cudaSuccess; }
inline cudaError_t cudaEventCreate(cudaEvent_t* e) { *e = nullptr; return cudaSuccess; }
inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* e, unsigned) { return cudaEventCreate(e); }
inline cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t = nullptr) { return cudaSuccess; }
inline cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
inline cudaError_t cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }
inline cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t, cudaEvent_t) { *ms = 1.0f; return cudaSuccess; }
template <class T> cudaError_t cudaMalloc(T** to, size_t bytes) { *to = (T*) std::malloc(bytes); return cudaSuccess; }
template <class T> cudaError_t cudaHostAlloc(T** to, size_t bytes, unsigned) { return cudaMalloc(to, bytes); }
inline cudaError_t cudaFree(void* at) { std::free(at); return cudaSuccess; }
inline cudaError_t cudaFreeHost(void* at) { return cudaFree(at); }
inline cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind)
{
    std::memcpy(to, from, bytes);
    return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t = nullptr)
{
    return cudaMemcpy(to, from, bytes, kind);
}
inline cudaError_t cudaMemcpy2DAsync(
    void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width, size_t height, cudaMemcpyKind,
    cudaStream_t = nullptr)
{
    for (size_t row = 0; row < height; row++)
        std::memcpy((char*) to + row * to_pitch, (const char*) from + row * from_pitch, width);
    return cudaSuccess;
}

// ---- cuBLAS: the one product that is asked for, column-major; sums in float, rounded once

typedef struct Blas* cublasHandle_t;
enum cublasOperation_t { CUBLAS_OP_N, CUBLAS_OP_T };
inline int cublasSetStream(cublasHandle_t, cudaStream_t) { return 0; }
int cublasHgemm(
    cublasHandle_t, cublasOperation_t, cublasOperation_t, int m, int n, int k, const half* alpha, const half* a, int lda,
    const half* b, int ldb, const half* beta, half* c, int ldc);
