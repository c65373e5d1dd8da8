"""exllamav2 on the CPU: its own sources, Python and CUDA, with what they ask of a GPU replaced. Slow, and exact."""
