// The threads of a block as stacks of one thread of the host, which take turns at every barrier.
#include "cuda_fp16.h"
#ifndef __x86_64__
#include <ucontext.h>
#endif

dim3 threadIdx, blockIdx, blockDim, gridDim;
uint64_t lanes[MOST_THREADS];

constexpr size_t STACK = 32 * 1024;
static std::vector<char> stacks(STACK* MOST_THREADS + 64);
static char ended[MOST_THREADS];
static const std::function<void()>* running;
static int current;

static void thread_main();

#ifdef __x86_64__

// What a called function has to leave as it was is kept on the stack that is left.
extern "C" void switch_stacks(void** leave, void* enter);
asm(R"(
.text
.globl switch_stacks
.hidden switch_stacks
.type switch_stacks, @function
switch_stacks:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");

static void* scheduler;
static void* resting[MOST_THREADS];

static void prepare(int thread)
{
    uintptr_t top = ((uintptr_t) stacks.data() + STACK * (thread + 1)) & ~(uintptr_t) 15;
    void** stack = (void**) top;
    *--stack = nullptr;
    *--stack = (void*) thread_main;
    for (int saved = 0; saved < 6; saved++) *--stack = nullptr;
    resting[thread] = stack;
}
static void enter(int thread) { switch_stacks(&scheduler, resting[thread]); }
static void leave(int thread) { switch_stacks(&resting[thread], scheduler); }

#else

static ucontext_t scheduler, resting[MOST_THREADS];

static void prepare(int thread)
{
    getcontext(&resting[thread]);
    resting[thread].uc_stack.ss_sp = &stacks[STACK * thread];
    resting[thread].uc_stack.ss_size = STACK;
    resting[thread].uc_link = &scheduler;
    makecontext(&resting[thread], thread_main, 0);
}
static void enter(int thread) { swapcontext(&scheduler, &resting[thread]); }
static void leave(int thread) { swapcontext(&resting[thread], &scheduler); }

#endif

static void thread_main()
{
    (*running)();
    ended[current] = 1;
    leave(current);
}

void wait_for_block() { leave(current); }

static void run_block(int count)
{
    for (int t = 0; t < count; t++)
    {
        ended[t] = 0;
        prepare(t);
    }
    // A round ends where every thread waits or has ended: that is the barrier.
    for (bool any = true; any;)
    {
        any = false;
        for (int t = 0; t < count; t++)
        {
            if (ended[t]) continue;
            any = true;
            unsigned number = t, x = blockDim.x, y = blockDim.y;
            threadIdx = {number % x, number / x % y, number / x / y};
            current = t;
            enter(t);
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
