// The threads of a block as stacks of one thread of the host, which take turns at every barrier.
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
            unsigned t = current, x = blockDim.x, y = blockDim.y;
            threadIdx = {t % x, t / x % y, t / x / y};
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
            for (blockIdx.x = 0; blockIdx.x < grid.x; blockIdx.x++) run_block(block.x * block.y * block.z);
}
