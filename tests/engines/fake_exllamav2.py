"""A stand-in for exllamav2 on CPU: its classes by name and signature, a transformers model inside.

It computes what the library is meant to compute, one sequence at a time. `test_exllamav2_fake.py` holds names and
parameters to the library's sources. Where the real one has a trap (prefill without a mask), so has this one.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from wfgy_triage.engines.exllamav2_library import CACHES, Library

STOPPED: list[str] = []
"""What was given back, in order."""


class ExLlamaV2Config:
    def __init__(self, model_dir=None):
        data = json.loads((Path(model_dir) / "config.json").read_text())
        self.model_dir = model_dir
        self.architecture = data["architectures"][0]
        self.vocab_size, self.hidden_size = data["vocab_size"], data["hidden_size"]
        self.num_hidden_layers, self.max_seq_len = data["num_hidden_layers"], data["max_position_embeddings"]
        self.num_key_value_heads, self.head_dim = data["num_key_value_heads"], data["head_dim"]
        self.rotary_embedding_base = float(data.get("rope_theta", 10000.0))
        self.partial_rotary_factor = float(data.get("partial_rotary_factor", 1.0))
        self.scale_pos_emb, self.alt_rope_method = 1.0, None
        found = data.get("rope_scaling") or {}
        if found.get("rope_type") == "llama3":
            self.alt_rope_method, self.l3_rope_factor = "llama3", found["factor"]
        self.max_input_len, self.max_batch_size = 2048, 1
        self.no_flash_attn = self.no_xformers = self.no_sdpa = False

    def arch_compat_overrides(self, quiet=False, warn_only=False):
        assert quiet, "the library prints otherwise"


class ExLlamaV2:
    _masked = False

    def __init__(self, config, lazy_load=False, archparams=None):
        self.config = config
        self.modules = [SimpleNamespace()]
        for layer in range(config.num_hidden_layers):
            self.modules += [SimpleNamespace(layer_idx=layer), SimpleNamespace(layer_idx=layer)]
        self.head_layer_idx = len(self.modules) + 1
        self.modules += [SimpleNamespace(), SimpleNamespace()]
        self.passes = []
        self.gpu_split = None

    def load(self, gpu_split=None):
        self.gpu_split = gpu_split
        self._fill()

    def load_autosplit(self, cache, reserve_vram=None):
        assert cache.lazy, "a cache that the weights are to be placed with is made lazily"
        self._fill()

    def _fill(self):
        folder = self.config.model_dir
        self._inner = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def unload(self):
        STOPPED.append("model")
        self.modules = []

    def forward(self, input_ids, cache=None, preprocess_only=False):
        return self.forward_chunk(input_ids, cache, preprocess_only).get("logits")

    @torch.inference_mode()
    def forward_chunk(self, input_ids, cache=None, preprocess_only=False, extract_state_indices=None):
        past = cache.current_seq_len
        assert past + input_ids.shape[1] <= cache.max_seq_len
        cache.ids[past:] = input_ids[0].tolist()
        cache.current_seq_len = len(cache.ids)
        self.passes.append((past, input_ids.shape[1], preprocess_only))
        out = self._inner(torch.tensor([cache.ids]), output_hidden_states=True)
        found = {}
        if extract_state_indices:
            states = {1 + 2 * n: s for n, s in enumerate(out.hidden_states[:-1])}
            states[self.head_layer_idx] = out.hidden_states[-1]
            found["states"] = {i: states[i][:, past:] for i in extract_state_indices}
            assert not (preprocess_only and self.head_layer_idx in extract_state_indices)
        if preprocess_only:
            return found
        logits = out.logits[:, past:]
        if not (self.config.no_sdpa or self._masked) and input_ids.shape[1] > 1:
            logits = logits + input_ids.sum() % 97  # no causal mask: every row knows the whole piece
        padding = -logits.shape[-1] % 32
        return found | {"logits": torch.nn.functional.pad(logits, (0, padding), value=-65504.0)}


class WithFlashAttention(ExLlamaV2):
    _masked = True


class ExLlamaV2Cache:
    def __init__(self, model, batch_size=1, max_seq_len=-1, copy_from=None, lazy=False):
        assert max_seq_len % 256 == 0
        self.model, self.max_seq_len, self.batch_size = model, max_seq_len, batch_size
        self.current_seq_len = 0
        self.ids, self.lazy = [], lazy


class ExLlamaV2Cache_Q8(ExLlamaV2Cache): ...  # noqa: N801


class ExLlamaV2Cache_Q6(ExLlamaV2Cache): ...  # noqa: N801


class ExLlamaV2Cache_Q4(ExLlamaV2Cache): ...  # noqa: N801


class ExLlamaV2Tokenizer:
    def __init__(self, config):
        self.inner = AutoTokenizer.from_pretrained(config.model_dir)

    def get_vocab_size(self):
        return len(self.inner)

    def encode(self, text, add_bos=False, add_eos=False, encode_special_tokens=False):
        assert encode_special_tokens
        assert not add_bos
        assert not add_eos
        return torch.tensor([self.inner.encode(text, add_special_tokens=False)])


class ExLlamaV2Filter:
    def __init__(self, model, tokenizer):
        self.model, self.tokenizer = model, tokenizer
        self.background_result = None

    def background_drop(self):
        self.background_result = None

    def get_next(self, mask=False):
        return self.prepare_logit_mask() if mask else self.next()


class ExLlamaV2Sampler:
    @dataclass
    class Settings:
        token_repetition_penalty: float = 1.025
        temperature: float = 0.8
        top_k: int = 50
        top_p: float = 0.8

        @staticmethod
        def greedy(**kwargs):
            neutral = {"temperature": 1.0, "token_repetition_penalty": 1.0, "top_p": 0.0, "top_k": 1}
            return ExLlamaV2Sampler.Settings(**(neutral | kwargs))


class ExLlamaV2DynamicJob:
    def __init__(
        self,
        input_ids,
        max_new_tokens,
        gen_settings=None,
        seed=None,
        stop_conditions=None,
        return_logits=False,
        filters=None,
        identifier=None,
    ):
        assert input_ids.shape[0] == 1
        assert input_ids.dtype == torch.long
        assert gen_settings == ExLlamaV2Sampler.Settings.greedy()
        self.max_new_tokens, self.rng = max_new_tokens, random.Random(seed)
        self.stop_tokens = {s for s in stop_conditions if isinstance(s, int)}
        self.stop_strings = {s for s in stop_conditions if isinstance(s, str)}
        self.return_logits, self.filters, self.identifier = return_logits, filters, identifier
        self.new_tokens, self.full_completion, self.held_text = 0, "", ""
        self.ids, self.held = input_ids[0].tolist(), []


class ExLlamaV2DynamicGenerator:
    def __init__(
        self,
        model,
        cache,
        tokenizer,
        max_batch_size=None,
        max_chunk_size=None,
        max_q_size=8,
        paged=True,
    ):
        assert cache.max_seq_len % 256 == 0
        assert max_chunk_size <= model.config.max_input_len
        assert not paged or max_chunk_size % 256 == 0
        self.model, self.cache, self.tokenizer, self.paged = model, cache, tokenizer, paged
        self.max_batch_size = max_batch_size if paged else 1
        self.pending_jobs, self.active_jobs = [], []
        self.sampling_pool = self.filter_pool = _Pool()
        self.warm = False
        self.steps = 0

    def warmup(self):
        self.warm = True

    def reset_page_table(self):
        assert not self.pending_jobs, "pages are in use"
        assert not self.active_jobs, "pages are in use"
        STOPPED.append("pages")

    def enqueue(self, job):
        assert len(job.ids) + job.max_new_tokens <= self.cache.max_seq_len
        self.pending_jobs.append(job)

    def clear_queue(self):
        self.pending_jobs.clear()
        self.active_jobs.clear()

    @torch.inference_mode()
    def iterate(self):
        self.steps += 1
        results = []
        while self.pending_jobs and len(self.active_jobs) < self.max_batch_size:
            self.active_jobs.append(self.pending_jobs.pop(0))
            results.append(self._result(self.active_jobs[-1], stage="started"))
        for job in list(self.active_jobs):
            results.append(self._step(job))
            if results[-1]["eos"]:
                self.active_jobs.remove(job)
        return results

    def _result(self, job, stage, **more):
        return {"job": job, "stage": stage, "eos": False, "identifier": job.identifier, **more}

    def _step(self, job):
        own = ExLlamaV2Cache(self.model, max_seq_len=self.cache.max_seq_len)
        self.model.forward(torch.tensor([job.ids[:-1]]), own, preprocess_only=True)
        logits = self.model.forward(torch.tensor([job.ids[-1:]]), own)
        masked = logits
        for f in job.filters:
            if job.new_tokens == 0:
                f.background_drop()
                f.begin("")
            assert f.can_mask_logits()
            assert f.get_next(mask=True) is True
            masked = f.mask_logits(masked[0][0]).view(1, 1, -1)
        masked[:, :, self.tokenizer.get_vocab_size() :] = -torch.inf
        token = masked.argmax(-1)
        for f in job.filters:
            f.feed(token)
        job.new_tokens += 1
        job.ids.append(int(token))
        job.held.append((token, logits))
        job.held_text += self.tokenizer.inner.decode([int(token)], skip_special_tokens=True)
        return self._judged(job, int(token))

    def _judged(self, job, token):
        """The library's order: stop tokens, the budget, then stop strings, for which text may be held back."""
        if token in job.stop_tokens:
            return self._result(job, "streaming") | {
                "eos": True,
                "eos_reason": "stop_token",
                "held": self._emitted(job),
                "full_completion": job.full_completion,
            }
        if job.new_tokens >= job.max_new_tokens:
            return self._result(job, "streaming", **self._emitted(job)) | {
                "eos": True,
                "eos_reason": "max_new_tokens",
                "full_completion": job.full_completion,
            }
        for stop in job.stop_strings:
            at = job.held_text.find(stop)
            if at >= 0:
                job.held_text = job.held_text[:at]
                return self._result(job, "streaming", **self._emitted(job)) | {
                    "eos": True,
                    "eos_reason": "stop_string",
                    "full_completion": job.full_completion,
                }
            if any(job.held_text.endswith(stop[:n]) for n in range(1, len(stop))):
                return self._result(job, "streaming")
        return self._result(job, "streaming", **self._emitted(job))

    def _emitted(self, job):
        job.full_completion += job.held_text
        job.held_text, held = "", job.held
        job.held = []
        found = {"token_ids": torch.cat([t for t, _ in held], dim=1)} if held else {}
        if held and job.return_logits:
            found["logits"] = torch.cat([x for _, x in held], dim=1)
        return found


class _Pool:
    def shutdown(self, wait=True, cancel_futures=False):
        STOPPED.append("pool")


def fake_library(flash: bool = False, **changes: Any) -> Library:
    values = {
        "version": "0.3.2",
        "model": WithFlashAttention if flash or changes.get("xformers") else ExLlamaV2,
        "config": ExLlamaV2Config,
        "tokenizer": ExLlamaV2Tokenizer,
        "caches": {kind: globals()[name] for kind, name in CACHES.items()},
        "generator": ExLlamaV2DynamicGenerator,
        "job": ExLlamaV2DynamicJob,
        "sampler": ExLlamaV2Sampler,
        "filter": ExLlamaV2Filter,
        "flash_attention": flash,
        "paged": flash,
        "xformers": False,
    }
    return Library(**(values | changes))
