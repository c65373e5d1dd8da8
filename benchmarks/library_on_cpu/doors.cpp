// The library's own sources behind three functions that Python can call.
#include "cuda_fp16.h"

#include "threads.cpp"
#include "q_matrix.cpp"
#include "cache.cpp"

extern "C" void reconstruct_exl2(
    int height, int width, int groups, uint32_t* q_weight, uint16_t* q_perm, uint16_t* q_invperm, uint32_t* q_scale,
    uint16_t* q_scale_max, uint16_t* q_groups, uint16_t* q_group_map, uint16_t* out)
{
    QMatrix matrix(
        nullptr, 0, height, width, groups, q_weight, q_perm, q_invperm, q_scale, (half*) q_scale_max, q_groups,
        q_group_map, nullptr, nullptr, nullptr, nullptr, nullptr, 0);
    matrix.reconstruct(nullptr, (half*) out);
}

extern "C" void reconstruct_gptq(
    int height, int width, int groups, uint32_t* qweight, uint16_t* q_perm, uint16_t* q_invperm, uint32_t* qzeros,
    uint16_t* scales, uint32_t* g_idx, uint16_t* out)
{
    QMatrix matrix(
        nullptr, 0, height, width, groups, qweight, q_perm, q_invperm, nullptr, nullptr, nullptr, nullptr, qzeros,
        (half*) scales, g_idx, nullptr, nullptr, 0);
    matrix.reconstruct(nullptr, (half*) out);
}

extern "C" void cache_round_trip(
    int dim, int tokens, int bits, uint16_t* keys, uint16_t* values, uint16_t* keys_back, uint16_t* values_back)
{
    int numbers = dim * tokens;
    std::vector<unsigned char> k(numbers), v(numbers);
    std::vector<half> k_scales(numbers / 32), v_scales(numbers / 32);
    array_fp16_to_q_kv_cuda(
        nullptr, (half*) keys, k.data(), k_scales.data(), (half*) values, v.data(), v_scales.data(), dim, numbers, 1, 0,
        numbers, bits);
    array_q_to_fp16_kv_cuda(
        nullptr, k.data(), k_scales.data(), (half*) keys_back, v.data(), v_scales.data(), (half*) values_back, dim,
        numbers, 1, 0, numbers, bits);
}
