// What the whole extension asks of CUDA beyond its kernels.
#include "threads.cpp"

int cublasHgemm(
    cublasHandle_t, cublasOperation_t turn_a, cublasOperation_t turn_b, int m, int n, int k, const half* alpha,
    const half* a, int lda, const half* b, int ldb, const half* beta, half* c, int ldc)
{
    std::vector<float> left((size_t) m * k), sums(m);
    for (int p = 0; p < k; p++)
        for (int i = 0; i < m; i++)
        {
            size_t place = turn_a == CUBLAS_OP_N ? (size_t) p * lda + i : (size_t) i * lda + p;
            left[(size_t) p * m + i] = __half2float(a[place]);
        }
    float scale = __half2float(*alpha), keep = __half2float(*beta);
    for (int j = 0; j < n; j++)
    {
        std::fill(sums.begin(), sums.end(), 0.0f);
        for (int p = 0; p < k; p++)
        {
            float factor = __half2float(b[turn_b == CUBLAS_OP_N ? (size_t) j * ldb + p : (size_t) p * ldb + j]);
            const float* column = &left[(size_t) p * m];
            for (int i = 0; i < m; i++) sums[i] += factor * column[i];
        }
        for (int i = 0; i < m; i++)
        {
            half* at = &c[(size_t) j * ldc + i];
            *at = __float2half_rn(scale * sums[i] + (keep == 0.0f ? 0.0f : keep * __half2float(*at)));
        }
    }
    return 0;
}

// Recorded launches stand in for calls that are repeated often; here every call is made.
#include "graph.cuh"
Graph::Graph() : graph(nullptr), graph_exec(nullptr), invoke_count(0) {}
Graph::~Graph() {}
void Graph::begin_capture(cudaStream_t) {}
void Graph::end_capture(cudaStream_t) {}
bool Graph::count() { return false; }
void Graph::launch(cudaStream_t) {}
void Graph::attach_label(cudaStream_t, int, int) {}
void Graph::update_param_ptr(int, int, int, void*, bool) {}
void Graph::update_param_int(int, int, int, int, bool) {}
