"""Token agreement against direct computation; refusals; the question as the unit."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from wfgy_triage.measure.agreement import QuestionTokens, mean_kl, summarise_agreement


def _question(rng, tokens, scale=0.1):
    return SimpleNamespace(
        kl=rng.exponential(scale, tokens),
        ref_top_p=rng.uniform(0.1, 1.0, tokens),
        same_top=(rng.uniform(size=tokens) < 0.9).astype(float),
        ref_logprob=-rng.exponential(0.5, tokens),
        cand_logprob=-rng.exponential(0.7, tokens),
    )


@pytest.fixture
def questions():
    rng = np.random.default_rng(7)
    return [
        _question(rng, int(n), s)
        for n, s in zip(rng.integers(20, 60, 12), rng.uniform(0.02, 0.3, 12), strict=True)
    ]


def _pooled(questions, name):
    return np.concatenate([getattr(q, name) for q in questions])


def test_values_equal_direct_computation(questions):
    summary = summarise_agreement(questions).summary
    kl = _pooled(questions, "kl")
    assert summary.tokens == kl.size
    assert summary.questions == 12
    assert summary.kl_mean.value == pytest.approx(kl.mean())
    assert summary.kl_median.value == np.quantile(kl, 0.5, method="inverted_cdf")
    assert summary.kl_p90.value == np.quantile(kl, 0.9, method="inverted_cdf")
    assert summary.kl_p99.value == np.quantile(kl, 0.99, method="inverted_cdf")
    assert summary.top1.value == pytest.approx(_pooled(questions, "same_top").mean())
    assert summary.ppl_reference == pytest.approx(math.exp(-_pooled(questions, "ref_logprob").mean()))
    assert summary.ppl_candidate == pytest.approx(math.exp(-_pooled(questions, "cand_logprob").mean()))
    assert summary.ppl_ratio.value == pytest.approx(summary.ppl_candidate / summary.ppl_reference)
    for estimate in (summary.kl_mean, summary.kl_median, summary.kl_p99, summary.top1, summary.ppl_ratio):
        assert estimate.interval.low <= estimate.value <= estimate.interval.high


def test_buckets_partition_the_tokens_and_hold_their_edges():
    edges = np.array([0.0, 0.2499, 0.25, 0.5, 0.75, 0.9499, 0.95, 1.0, 1.0000001])
    n = len(edges) * 20
    item = SimpleNamespace(
        kl=np.arange(n, dtype=float),
        ref_top_p=np.tile(edges, 20),
        same_top=np.ones(n),
        ref_logprob=-np.ones(n),
        cand_logprob=-np.ones(n),
    )
    summary = summarise_agreement([item, item]).summary
    assert [b.tokens for b in summary.buckets] == [80, 40, 40, 80, 120]
    assert [(b.low, b.high) for b in summary.buckets] == [
        (0, 0.25),
        (0.25, 0.5),
        (0.5, 0.75),
        (0.75, 0.95),
        (0.95, 1),
    ]
    inside = item.kl[item.ref_top_p >= 0.95]
    assert summary.buckets[-1].kl.value == pytest.approx(inside.mean())
    assert summary.buckets[-1].questions == 2


def test_an_empty_bucket_says_so(questions):
    for q in questions:
        q.ref_top_p = np.full_like(q.ref_top_p, 0.99)
    buckets = summarise_agreement(questions).summary.buckets
    assert all(b.kl is None and b.top1 is None and b.tokens == 0 for b in buckets[:4])


def test_identical_models_agree_without_doubt():
    n = 60
    same = SimpleNamespace(
        kl=np.zeros(n),
        ref_top_p=np.full(n, 0.8),
        same_top=np.ones(n),
        ref_logprob=-np.ones(n),
        cand_logprob=-np.ones(n),
    )
    summary = summarise_agreement([same, same, same]).summary
    assert summary.kl_mean.value == 0.0
    assert summary.kl_mean.interval.bounds == (0.0, 0.0)
    assert summary.top1.interval.bounds == (1.0, 1.0)
    assert summary.ppl_ratio.interval.bounds == (1.0, 1.0)


def test_too_few_tokens_are_refused():
    rng = np.random.default_rng(0)
    report = summarise_agreement([_question(rng, 50), _question(rng, 49)])
    assert report.summary is None
    assert "99 tokens" in report.reason
    assert mean_kl([_question(rng, 99)]) is None
    assert summarise_agreement([]).summary is None
    assert summarise_agreement([_question(rng, 50), _question(rng, 50)]).reason == ""


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["kl", "ref_top_p", "same_top", "ref_logprob", "cand_logprob"])
def test_values_that_are_not_finite_are_counted_and_refused(questions, name, bad):
    getattr(questions[2], name)[3] = bad
    getattr(questions[5], name)[:2] = bad
    report = summarise_agreement(questions)
    assert report.summary is None
    assert report.non_finite == 3
    assert "3 of" in report.reason
    assert mean_kl(questions) is None


def test_order_of_questions_does_not_matter(questions):
    forward, backward = summarise_agreement(questions).summary, summarise_agreement(questions[::-1]).summary
    assert backward.kl_mean.value == pytest.approx(forward.kl_mean.value)
    assert backward.kl_mean.interval.bounds == pytest.approx(forward.kl_mean.interval.bounds)
    assert backward.kl_p99.interval.bounds == pytest.approx(forward.kl_p99.interval.bounds)
    assert backward.ppl_ratio.interval.bounds == pytest.approx(forward.ppl_ratio.interval.bounds)


def test_one_question_gives_values_without_intervals():
    summary = summarise_agreement([_question(np.random.default_rng(1), 200)]).summary
    assert summary.kl_mean.interval is None
    assert summary.kl_p90.interval is None
    assert summary.ppl_ratio.interval is None


def test_intervals_take_the_question_as_the_unit():
    """Tokens that repeat their question's value add no knowledge."""
    rng = np.random.default_rng(2)
    levels = rng.exponential(0.1, 20)

    def made(tokens):
        return [
            SimpleNamespace(
                kl=np.full(tokens, v), ref_top_p=np.full(tokens, 0.5), same_top=np.ones(tokens),
                ref_logprob=-np.ones(tokens), cand_logprob=-np.ones(tokens),
            )
            for v in levels
        ]  # fmt: skip

    few, many = mean_kl(made(10)), mean_kl(made(1_000))
    assert many.interval.bounds == pytest.approx(few.interval.bounds, rel=1e-6)


def test_selecting_tokens(questions):
    tokens = QuestionTokens.of(questions[0])
    mask = tokens.ref_top_p > 0.5
    assert tokens.select(mask).kl.tolist() == questions[0].kl[mask].tolist()
    assert mean_kl([tokens.select(np.zeros(tokens.kl.size))]) is None
    with pytest.raises(ValueError, match="mask"):
        tokens.select([True])


def test_arrays_of_different_length_are_refused(questions):
    questions[0].kl = questions[0].kl[:-1]
    with pytest.raises(ValueError, match="length"):
        summarise_agreement(questions)
