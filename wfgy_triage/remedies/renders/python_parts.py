"""Pieces of the rendered Python script. They use the API of exllamav2 0.3.2 as its sources define it."""

from __future__ import annotations

STOP = """\
# config.json keeps the first end token only; generation_config.json has the whole list.
STOP = (getattr(config, "generation_config", None) or {}).get("eos_token_id") or [tokenizer.eos_token_id]"""

LOAD = """\
{config}
model = ExLlamaV2(config)
cache = {cache}(model, max_seq_len={size}, lazy=True)  # a multiple of 256
model.load_autosplit(cache, progress=True)
tokenizer = ExLlamaV2Tokenizer(config)
# paged=True needs flash-attn 2.5.7 or later.
generator = ExLlamaV2DynamicGenerator(model=model, cache=cache, tokenizer=tokenizer, paged=False)
chat = AutoTokenizer.from_pretrained(MODEL)
{stop}

"""

NO_LOCK = """\
def filters():
    return []

"""

LOCK_IMPORTS = """\
import numpy as np
from exllamav2.generator.filters import ExLlamaV2Filter
from llguidance import LLMatcher, LLTokenizer
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask"""

LOCK_CONSTANTS = {
    # Any white space between the parts of a JSON text; a keyword that cannot be kept is an error.
    "json_schema": """\
GRAMMAR = LLMatcher.grammar_from_json_schema(
    JSON_SCHEMA, overrides={"whitespace_flexible": True, "coerce_one_of": False, "lenient": False}
)""",
    "regex": "GRAMMAR = LLMatcher.grammar_from_regex(REGEX)",
    "lark": "GRAMMAR = LLMatcher.grammar_from_lark(LARK)",
}

LOCK = '''\
with open(os.path.join(MODEL, "tokenizer.json"), encoding="utf-8") as definition:
    TOKENS = LLTokenizer(definition.read(), eos_token=STOP)


class Lock(ExLlamaV2Filter):
    """Only tokens that keep the answer within the grammar; it may end where the grammar is complete."""

    def begin(self, prefix_str):
        self.matcher = LLMatcher(TOKENS, GRAMMAR)
        self.check()

    def feed(self, token):
        if not self.matcher.is_stopped():
            self.matcher.consume_token(int(token))
            self.check()

    def next(self):
        if self.matcher.is_stopped():
            return STOP, STOP
        words = allocate_token_bitmask(1, TOKENS.vocab_size)
        fill_next_token_bitmask(self.matcher, words)
        self.check()
        allowed = np.flatnonzero(np.unpackbits(words.view(np.uint8), bitorder="little"))
        if not self.matcher.is_accepting():
            allowed = allowed[~np.isin(allowed, STOP)]
        return allowed.tolist(), []

    def check(self):
        if self.matcher.is_error():
            raise ValueError(self.matcher.get_error())


def filters():
    return [Lock(model, tokenizer)]

'''

RENDER = '''\
def rendered(messages):
    """The prompt in the model's own chat template."""
    if chat.chat_template is None:
        return "\\n\\n".join(message["content"] for message in messages) + "\\n\\n"
    return chat.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

'''

BOS = '''
def needs_bos(prompt):
    """Exactly one start token: from the template if that has it, else from here."""
    start = chat.bos_token
    return chat.chat_template is None and start is not None and not prompt.startswith(start)

'''

ANSWER = """\
def answer(task, seed=1):
    prompt = rendered([{"role": "user", "content": task}])
    return generator.generate(
        prompt=prompt,
        max_new_tokens=MAX_NEW_TOKENS,
        seed=seed,
        gen_settings=settings(),
        stop_conditions=STOP,
        add_bos=needs_bos(prompt),
        encode_special_tokens=True,
        completion_only=True,
        filters=filters(),
    )

"""

LINES = '''\
def next_lines(messages, most, seed):
    """Up to `most` lines of an answer, and whether the model ended it."""
    prompt = rendered(messages)
    ids = tokenizer.encode(prompt, add_bos=needs_bos(prompt), encode_special_tokens=True)
    job = ExLlamaV2DynamicJob(
        input_ids=ids,
        max_new_tokens=MAX_NEW_TOKENS,
        seed=seed,
        gen_settings=settings(),
        stop_conditions=STOP,
        filters=filters(),
    )
    generator.enqueue(job)
    text, ended = "", False
    while generator.num_remaining_jobs():
        for result in generator.iterate():
            if result["stage"] == "streaming":
                text += result.get("text", "")
                ended = result["eos"] and result["eos_reason"] != "max_new_tokens"
        if len(whole_lines(text)) >= most:
            generator.cancel(job)
            return whole_lines(text)[:most], False
    return whole_lines(text + "\\n" if ended else text), ended


def whole_lines(text):
    """The lines that are complete; a cut-off last one is written anew."""
    return [line for line in text.split("\\n")[:-1] if line.strip()]

'''

_CHAIN = """\
def answer(task, seed=1):
    done = []
    while len(done) < MOST_LINES:
        messages = [{"role": "user", "content": task}]
        if done:
            %s
        lines, ended = next_lines(messages, STEPS, seed)
        done += lines
        if ended or not lines:
            break
    return "\\n".join(done)

"""
RESTATED = 4
"""Lines that a new segment begins with, as in the trial (`chain_loops.RESTATED`)."""
CHAIN = {
    "segment_steps": _CHAIN % 'last = "\\n".join(done[-RESTATED:])\n'
    '            bridge = f"The last steps that are done:\\n{last}\\nContinue with the next step."\n'
    '            messages = [{"role": "user", "content": f"{task}\\n\\n{bridge}"}]',
    "anchor_every": _CHAIN % 'messages.append({"role": "assistant", "content": "\\n".join(done)})\n'
    '            anchor = f"The task was:\\n{task}\\nContinue with the next step."\n'
    '            messages.append({"role": "user", "content": anchor})',
}

VOTE = '''\
def vote(task):
    """The most frequent of several answers; the earliest of equals."""
    answers = [answer(task, seed=seed).strip() for seed in range(1, PATHS + 1)]
    return Counter(answers).most_common(1)[0][0]

'''

WARM_UP = '''\
def warm_up():
    """Before the first request: kernels are tuned and memory is allocated."""
    generator.warmup()
    generator.generate(prompt="Once upon a time,", max_new_tokens=WARM_UP_TOKENS, min_new_tokens=WARM_UP_TOKENS)

'''
