"""What the files of `fixmap/` hold, as frozen records: symptoms, modules, gates, causes, remedies, words and links."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wfgy_triage import result


@dataclass(frozen=True)
class Symptom:
    """A breakpoint of the seed page, its acceptance list (kind `gate`), or its short way (kind `guide`).

    Attributes:
        id: stable name, e.g. `json_breaks`.
        kind: `symptom`, `gate` or `guide`.
        label: the seed's words.
        title: a short plain name.
        summary: one plain sentence for non-specialists.
        icon: name of an icon in the assets.
        likely_cause: the seed's claim, to be tested; None for the other kinds.
        modules: ids of fix pages.
        wfgy: ids of WFGY terms.
        primary_metric: the metric that decides; None for the other kinds.
        gates: gate ids; the first decides a symptom, all decide the other kinds.
        examples: complaints as people word them, in several languages; none for the short way.
        asks_questions: whether the models are asked questions (the doctor asks none).
        plan: what a run does, step by step; empty for the usual comparison of answers.
    """

    id: str
    kind: Literal["symptom", "gate", "guide"]
    label: str
    title: str
    summary: str
    icon: str
    likely_cause: str | None
    modules: tuple[str, ...]
    wfgy: tuple[str, ...]
    primary_metric: str | None
    gates: tuple[str, ...]
    examples: tuple[str, ...]
    asks_questions: bool = True
    plan: tuple[str, ...] = ()


@dataclass(frozen=True)
class Module:
    """A fix page: living URL, WFGY problem numbers, what it is for. `kind` is `module` or `hub`."""

    id: str
    kind: Literal["module", "hub"]
    title: str
    url: str
    problem_numbers: tuple[int, ...]
    about: str
    see_also: tuple[str, ...] = ()

    def link(self) -> result.ModuleLink:
        """The form in which a result carries it."""
        return result.ModuleLink(self.id, self.title, self.url, self.problem_numbers)


@dataclass(frozen=True)
class GateRecord:
    """A threshold with its origin. `applies_to`: `value` of EXL2, `loss` FP16 − EXL2, or `gain`.

    `imagined`: of a mean, what one further question loses that PASS has to survive; None where it need not.
    """

    id: str
    metric: str
    op: str
    value: float
    applies_to: Literal["value", "loss", "gain"]
    origin: Literal["seed", "probe"]
    source: str
    source_url: str
    imagined: float | None = None

    def gate(self) -> result.Gate:
        """The form in which a result carries it."""
        return result.Gate(self.op, self.value, self.source, self.applies_to)


@dataclass(frozen=True)
class Cause:
    """What a diagnosis may name. `remedies` are candidates in the order to try.

    `both_sides`: symptoms at which they are tried on FP16 too, and after INCONCLUSIVE as well.
    """

    id: str
    title: str
    explanation: str
    what_to_do: str
    remedies: tuple[str, ...]
    both_sides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Remedy:
    """A change to try. It must not make `guards` worse; `rules_out` is what is known once it has not helped.

    `symptoms`: where it is tried; empty: wherever a cause lists it.
    """

    id: str
    title: str
    wfgy: tuple[str, ...]
    change: str
    cost: str
    guards: tuple[str, ...]
    rules_out: str = ""
    symptoms: tuple[str, ...] = ()


@dataclass(frozen=True)
class WfgyTerm:
    """A WFGY name, the plain name beside it, what it means here, and what its sources disagree on."""

    id: str
    name: str
    plain_name: str
    here: str
    conflicts: str
    source_url: str


@dataclass(frozen=True)
class Reference:
    """A magnitude to compare with, and where it is from."""

    text: str
    source: str


@dataclass(frozen=True)
class MetricText:
    """How a number is shown: label, unit, plain meaning, expert detail. `direction`: which way is better.

    `main`: shown in the first table even without a gate; other descriptive metrics are a click away. `untried`: why no
    change is tried where this fails; empty where changes are.
    """

    id: str
    label: str
    unit: str
    direction: Literal["higher", "lower"]
    meaning: str
    detail: str
    references: tuple[Reference, ...] = ()
    main: bool = False
    untried: str = ""


@dataclass(frozen=True)
class ChecklistItem:
    """A line of the seed's ops checklist (`text`), in plain words, with the symptoms it guards against."""

    id: str
    text: str
    plain: str
    symptoms: tuple[str, ...]


@dataclass(frozen=True)
class Link:
    """A download or footer link of the seed. `seed_url` is set where the seed's own address is outdated."""

    label: str
    url: str
    note: str
    seed_url: str = ""
