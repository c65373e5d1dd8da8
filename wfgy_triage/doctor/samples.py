"""Texts and conversations that are put to both sides. They are compared, never judged."""

from __future__ import annotations

SAMPLES = (
    "The quick brown fox jumps over the lazy dog, twice.",
    'Ωmega café — {"id": 42, "naïve": [true, null]}\n\tdef f(x): return x  # 日本語 🙂',
    "3.14159  1,000,000  0x1F  -7e-3   2026-11-25T08:30:00Z",
    "Größe, façade, señor, Łódź, İstanbul, e\u0301 against é",
    "Привет, мир! Γειά σου. שלום עולם. مرحبا بالعالم",
    "नमस्ते दुनिया · สวัสดีชาวโลก · 안녕하세요",
    "今天天气很好，我们去公园散步吧。ありがとう。",
    "👩\u200d💻👍🏽 ∑ √2 ≈ 1.41 → ∀x∈ℝ",
    "    four spaces\n\n\n\tthree line ends and a tab \r\n trailing  ",
    "SELECT * FROM t WHERE a <> 'b' AND c >= 10; -- note\n<p class='x'>&amp; [1]</p>",
)
"""Scripts, digits, punctuation, white space, joined signs: where tokenizers differ when they differ at all."""
CHATS: tuple[list[dict[str, str]], ...] = (
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Say hello."},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Again."},
    ],
    [{"role": "user", "content": "One question, no system message."}],
    [{"role": "system", "content": ""}, {"role": "user", "content": " spaces around \n"}],
)
"""Conversations that templates frame: several turns, no system message, odd spaces."""
