"""`make gpu-check`: what only a CUDA machine can show about the exllamav2 engine.

docs/gpu.md says what each part proves. Every part runs in a process of its own, so that a fault of the GPU in one
leaves the others as they are.
"""
