"""llama.cpp's own HTTP server in a process of its own: `python llama_server.py MODEL.gguf PORT CONTEXT SLOTS`."""

from __future__ import annotations

import sys
import threading

import xllamacpp


def main(model: str, port: int, context: int, slots: int) -> None:
    """Serve until the process ends. `context` is that of one slot."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = model
    parameters.port = port
    parameters.n_ctx = context * slots
    parameters.n_parallel = slots
    parameters.warmup = False
    parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    for threads in (parameters.cpuparams, parameters.cpuparams_batch):
        threads.n_threads = 1
    _server = xllamacpp.Server(parameters)
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1], *(int(value) for value in sys.argv[2:]))
