"""The page's "Minimal setup", as exllamav2 0.3.2 takes it.

    python docs/examples/minimal_setup.py EXL2_FOLDER ["PROMPT"]

Needs a CUDA device. What the page's own lines do differently, and why they cannot run: docs/gpu.md.
"""

from __future__ import annotations

import sys

from exllamav2 import ExLlamaV2, ExLlamaV2Cache, ExLlamaV2Config, ExLlamaV2Tokenizer
from exllamav2.generator import ExLlamaV2DynamicGenerator, ExLlamaV2Sampler
from transformers import AutoTokenizer

CONTEXT, ANSWER = 4096, 128
PAGE = 256  # the generator takes caches of whole pages alone


def main(folder: str, prompt: str = "Hello, world!") -> str:
    """Load a quantized folder, answer one prompt, print the answer."""
    config = ExLlamaV2Config(folder)
    config.max_seq_len = min(config.max_seq_len, CONTEXT)
    # PyTorch's attention gets no causal mask while a prompt is read: without flash-attn, take the one that has it.
    config.no_sdpa = True
    model = ExLlamaV2(config)
    cache = ExLlamaV2Cache(model, max_seq_len=-(-config.max_seq_len // PAGE) * PAGE, lazy=True)
    model.load_autosplit(cache)
    tokenizer = ExLlamaV2Tokenizer(config)

    # The library ignores the chat template, and ends at one end token alone.
    template = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    framed = bool(template.chat_template)
    if framed:
        messages = [{"role": "user", "content": prompt}]
        prompt = template.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    suggested = getattr(config, "generation_config", None) or {}  # absent where the file is
    ends = suggested.get("eos_token_id") or [tokenizer.eos_token_id]

    generator = ExLlamaV2DynamicGenerator(model=model, cache=cache, tokenizer=tokenizer, paged=False)
    generator.warmup()
    answer = generator.generate(
        prompt=prompt,
        max_new_tokens=ANSWER,
        gen_settings=ExLlamaV2Sampler.Settings.greedy(),
        encode_special_tokens=True,  # else the template's markers are read as ordinary text
        add_bos=not framed,  # a template brings its own
        stop_conditions=ends,
        completion_only=True,
    )
    sys.stdout.write(f"{answer}\n")
    return str(answer)


if __name__ == "__main__":
    main(*sys.argv[1:3])
