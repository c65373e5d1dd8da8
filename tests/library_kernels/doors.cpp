// The library's own sources behind three functions that Python can call.
#include "cuda_fp16.h"

dim3 threadIdx, blockIdx, blockDim, gridDim;
uint64_t lanes[MOST_THREADS];

static ucontext_t scheduler;
static std::vector<ucontext_t> contexts;
static std::vector<char> ended;
static const std::function<void()>* running;
static int current;
constexpr size_t STACK = 64 * 1024;

static void thread_main()
{
    (*running)();
    ended[current] = 1;
    swapcontext(&contexts[current], &scheduler);
}

void wait_for_block()
{
    int thread = current;
    swapcontext(&contexts[thread], &scheduler);
}

static void run_block(int count)
{
    static std::vector<char> stacks(STACK * MOST_THREADS);
    contexts.assign(count, {});
    ended.assign(count, 0);
    for (int t = 0; t < count; t++)
    {
        getcontext(&contexts[t]);
        contexts[t].uc_stack.ss_sp = &stacks[STACK * t];
        contexts[t].uc_stack.ss_size = STACK;
        contexts[t].uc_link = &scheduler;
        makecontext(&contexts[t], thread_main, 0);
    }
    // A round ends where every thread waits or has ended: that is the barrier.
    for (bool any = true; any;)
    {
        any = false;
        for (current = 0; current < count; current++)
        {
            if (ended[current]) continue;
            any = true;
            threadIdx = {(unsigned) current, 0, 0};
            swapcontext(&scheduler, &contexts[current]);
        }
    }
}

void run_blocks(dim3 grid, dim3 block, const std::function<void()>& kernel)
{
    running = &kernel;
    gridDim = grid;
    blockDim = block;
    for (blockIdx.z = 0; blockIdx.z < grid.z; blockIdx.z++)
        for (blockIdx.y = 0; blockIdx.y < grid.y; blockIdx.y++)
            for (blockIdx.x = 0; blockIdx.x < grid.x; blockIdx.x++) run_block(block.x);
}

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
