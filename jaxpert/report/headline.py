"""What a newcomer reads first: one word, one sentence and three numbers, from metrics.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxpert.evaluation.claims import HEADLINE
from jaxpert.evaluation.intervals import FEWEST_FOR_INTERVAL
from jaxpert.evaluation.metrics import METRICS
from jaxpert.evaluation.subset_names import UNSEEN_FIRST
from jaxpert.report.numbers import digits_for, finite, fixed, label
from jaxpert.report.tables import best_baseline, ceiling_of, subset_words
from jaxpert.report.words import PLAIN


class Number(NamedTuple):
    """One of the three numbers."""

    text: str
    what: str
    note: str = ""


class Headline(NamedTuple):
    """The top of the page."""

    light: str
    """better, even, mixed, worse or unknown, for the colour and the sign."""
    word: str
    sentence: str
    numbers: list[Number]
    of: str = ""
    """What the numbers are, in plain words."""
    subset: str = ""
    """What all of it is about; empty where nothing can be said."""


class _Counts(NamedTuple):
    """Headline scores that count, by outcome."""

    better: list[str]
    worse: list[str]
    undecided: list[str]
    rivals: list[str]
    """Of the scores where the model is worse."""

    @property
    def total(self) -> int:
        return len(self.better) + len(self.worse) + len(self.undecided)


def headline_subset(metrics: Mapping[str, Any]) -> str:
    """The subset that the verdict speaks of: what training saw least of; empty where there is
    none."""
    sizes = metrics.get("perturbations") or {}
    return next((name for name in UNSEEN_FIRST if sizes.get(name)), "")


def headline(metrics: Mapping[str, Any]) -> Headline:
    """The top of the page; it says so where a run holds too little for one."""
    subset = headline_subset(metrics)
    if not subset or not (metrics.get("model") or {}).get(subset):
        text = "This run holds no scores, so nothing can be said about the model yet."
        return Headline("unknown", "no verdict", text, [])
    numbers, of = _numbers(metrics, subset)
    light, word, sentence = _verdict(metrics, subset)
    return Headline(light, word, sentence, numbers, of, subset)


def _verdict(metrics: Mapping[str, Any], subset: str) -> tuple[str, str, str]:
    """Light, word and sentence."""
    size = metrics["perturbations"][subset]
    where = in_number(size, subset_words(metrics, subset))
    if not metrics.get("baselines"):
        told = f"{_upper(where)}, and no baseline stands beside the model."
        return "unknown", "nothing to compare with", told
    claims = (metrics.get("claims") or {}).get(subset)
    if size < FEWEST_FOR_INTERVAL:
        told = (
            f"The model was scored on {where} only: with fewer than {FEWEST_FOR_INTERVAL} nobody "
            "can say whether it is better or worse than a simple baseline."
        )
        return "unknown", "too few to say", told
    if not claims:
        told = f"{_upper(where)} were scored; this run made no claims, so look at the tables below."
        return "unknown", "no verdict", told
    counts = _counts(claims)
    if not counts.total:
        told = (
            f"{_upper(where)} were scored, and none of the main scores could tell a perfect model "
            "from a simple one on these data."
        )
        return "unknown", "too few to say", told
    return _of_counts(counts, f"On {where}")


def _of_counts(counts: _Counts, where: str) -> tuple[str, str, str]:
    """Light, word and sentence from the claims."""
    total = _scores(counts.total)
    if not counts.better and not counts.worse:
        told = (
            f"{where} the model predicts about as well as the best simple baseline: on none of "
            f"{total} could a difference be shown."
        )
        return "even", "as good as the best baseline", told
    if not counts.worse:
        share = "" if not counts.undecided else f" on {len(counts.better)} of {total}"
        told = (
            f"{where} the model predicts better than every simple baseline by "
            f"{_listed(counts.better)}{_rest(counts)}."
        )
        return "better", f"better than every baseline{share}", told
    name = label(Counter(counts.rivals).most_common(1)[0][0])
    lost = f"worse than the simple baseline “{name}” by {_listed(counts.worse)}"
    if not counts.better:
        return "worse", f"worse than {name}", f"{where} the model predicts {lost}{_rest(counts)}."
    told = (
        f"{where} the model predicts {lost}, and better than every baseline by "
        f"{_listed(counts.better)}{_rest(counts)}."
    )
    return "mixed", f"worse than {name} by some scores, better than all by others", told


def _counts(claims: Mapping[str, Any]) -> _Counts:
    counts = _Counts([], [], [], [])
    for name in HEADLINE:
        claim = claims.get(name) or {}
        if not claim.get("counted", True) or claim.get("outcome") not in counts._fields[:3]:
            continue
        getattr(counts, claim["outcome"]).append(name)
        if claim["outcome"] == "worse":
            counts.rivals.append(str(claim.get("rival")))
    return counts


def _rest(counts: _Counts) -> str:
    """What is said of scores that decide nothing."""
    if not counts.undecided:
        return ""
    return f"; by {_listed(counts.undecided)} no difference could be shown"


def _numbers(metrics: Mapping[str, Any], subset: str) -> tuple[list[Number], str]:
    """The first main score that counts: of the model, of the best baseline, of a perfect model."""
    model = metrics["model"][subset]
    claims = (metrics.get("claims") or {}).get(subset) or {}
    methods = {"model": model}
    for name, scores in (metrics.get("baselines") or {}).items():
        methods[name] = scores.get(subset) or {}
    for name in HEADLINE:
        values = {method: of.get(name) for method, of in methods.items()}
        counted = (claims.get(name) or {}).get("counted", True)
        sign = 1 if METRICS[name].higher_is_better else -1
        rival = best_baseline(values, sign)
        if counted and finite(values["model"]) and rival is not None:
            limit = (ceiling_of(metrics).get(subset) or {}).get(name)
            return _three(values["model"], (rival, values[rival]), limit), PLAIN[name]
    return [], ""


def _three(model: float, rival: tuple[str, Any], limit: Any) -> list[Number]:
    digits = min(2, digits_for([model, rival[1]]))
    numbers = [
        Number(fixed(model, digits), "this model"),
        Number(fixed(rival[1], digits), "best simple baseline", label(rival[0])),
    ]
    if finite(limit):
        text = fixed(limit, digits)
        return [*numbers, Number(text, "a perfect model", "as far as the noise of cells allows")]
    return [*numbers, Number("?", "a perfect model", "not known for these data")]


def _listed(names: list[str]) -> str:
    labels = [_in_brackets(METRICS[name].label) for name in names]
    if len(labels) == 1:
        return labels[0]
    return f"{', '.join(labels[:-1])} and {labels[-1]}"


def _in_brackets(name: str) -> str:
    """A name without commas, which would read as two names in a list."""
    first, comma, rest = name.partition(", ")
    return f"{first} ({rest})" if comma else name


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _scores(count: int) -> str:
    return f"{count} main score" + ("" if count == 1 else "s")


def in_number(size: int, words: str) -> str:
    """How many perturbations of a subset, such as "10 perturbations never trained"."""
    noun = "perturbations"
    if words == "test cells":
        return f"test cells of {_plural(size)}"
    if words.startswith((noun, f"all {noun}")):
        return words.replace(noun, _plural(size), 1)
    return f"{_plural(size)} ({words})"


def _plural(count: int) -> str:
    return f"{count} perturbation" + ("" if count == 1 else "s")
