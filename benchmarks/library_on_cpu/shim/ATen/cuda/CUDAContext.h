#pragma once
#include <cuda_fp16.h>
// The one stream and the one handle there are.
namespace at::cuda {
struct CurrentStream {
    cudaStream_t stream() const { return nullptr; }
};
inline CurrentStream getCurrentCUDAStream(int = 0) { return {}; }
inline CurrentStream getStreamFromExternal(cudaStream_t, int) { return {}; }
inline void setCurrentCUDAStream(CurrentStream) {}
inline cublasHandle_t getCurrentCUDABlasHandle() { return nullptr; }
}
