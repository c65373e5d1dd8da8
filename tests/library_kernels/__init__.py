"""exllamav2's own CUDA sources compiled for the CPU: what is written here after them is held against them."""
