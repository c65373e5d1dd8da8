#pragma once
#include <ATen/cuda/CUDAContext.h>
// There is no other device to go to.
namespace at::cuda {
struct OptionalCUDAGuard {
    template <class T> explicit OptionalCUDAGuard(const T&) {}
};
}
