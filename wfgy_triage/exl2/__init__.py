"""The EXL2 checkpoint format: read, write, quantize. Knows nothing of probes."""
