"""exllamav2's own CUDA sources compiled for the CPU, so that what is written here after them can be held against them."""
