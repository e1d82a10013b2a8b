"""What a verdict is, the record that claims are judged by, and the steps from numbers to a verdict.

A claim of the two original documents is a function of the record, registered under its own words (square brackets in
them are ours). Its docstring is the rule by which it is judged, and the book shows it:

    @claim(LOSSES, "Higher penalty on missing positive pixels improves recall", shown="04_loss_comparison")
    def penalty(record): ...

No verdict rests on a network that is worse than the best constant of its loss, except the verdict that it could not be
trained.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import NamedTuple

import numpy as np

from fixlib.chapters.loss_comparison.tables import over_constant
from fixlib.data import lattice
from fixlib.plots import in_text
from fixlib.runs.store import Run
from fixlib.runs.study import Number, Study, changes, difference, facts, predictor_of

SUPPORTED, OTHER_REASON = "supported", "supported, but not for the reason given"
REFUTED, ILL_POSED, UNDECIDED = "refuted", "ill-posed", "undecided at this budget"
VERDICTS = (SUPPORTED, OTHER_REASON, REFUTED, ILL_POSED, UNDECIDED)


class Evidence(NamedTuple):
    """One number behind a verdict: what it is, with its unit; data, task, size, seeds; how its digits are written.

    Ends of the number's interval are NaN where it is counted and has none.
    """

    measured: str
    number: Number
    where: str
    digits: str = ".2f"


class Finding(NamedTuple):
    """A verdict, the numbers that it rests on, and what would have to be recorded to decide an undecided one."""

    verdict: str
    evidence: Sequence[Evidence]
    missing: str = ""


class Claim(NamedTuple):
    """A sentence of an original document, the chapter (and #section) that shows its runs, and how it is judged."""

    document: str
    wording: str
    shown: str
    judge: "Callable[[Record], Finding]"


@dataclass(frozen=True)
class Record:
    """The recorded runs that claims are judged by; None is what is not recorded yet."""

    losses: Sequence[Study]  # every loss at the original size and, where recorded, at its best (`tuned`)
    ablations: Study
    control: Study
    imbalance: Study
    hybrid: Study  # 4 frames to a point, at the original size; frame networks of that size where there are any
    small: Study  # the same at `quick`
    films: Study  # the hybrid on GazeCom
    description: Study  # of the recordings
    density: Study | None  # concentration's second reading, and the usual losses
    options: Study | None  # losses at their best, and with one option changed; variants as in `ablations`
    sequence: Study | None  # models of the sequence of pixels
    costs: dict[str, dict[str, float]]  # original network -> parameters, and those of its parts; MiB; operations


CLAIMS: dict[str, Claim] = {}  # by the name of the function


def claim(
    document: str,
    wording: str,
    shown: str,
    each: Callable[[Record], Iterable[tuple]] = lambda record: [(record,)],
    opposed: str = UNDECIDED,
) -> Callable[[Callable], Callable]:
    """Register how a claim is judged: in each of these cases of the record, which are then taken `together`."""

    def register(judge: Callable[..., Finding]) -> Callable[..., Finding]:
        @wraps(judge)
        def judged(record: Record) -> Finding:
            return together([judge(*case) for case in each(record)], opposed)

        CLAIMS[judge.__name__] = Claim(document, wording, shown, judged)
        return judge

    return register


def below(found: Number, line: float = 0.0) -> str:
    """Whether a number is shown to lie below a line: supported, refuted, or (its interval holds the line) undecided."""
    return SUPPORTED if found["high"] < line else REFUTED if found["low"] > line else UNDECIDED


def above(found: Number, line: float = 0.0) -> str:
    """The same of lying above it."""
    return {SUPPORTED: REFUTED, REFUTED: SUPPORTED}.get(below(found, line), UNDECIDED)


def all_of(verdicts: Iterable[str]) -> str:
    """Better than every rival: refuted by one that is better, supported where all are worse."""
    given = set(verdicts)
    return REFUTED if REFUTED in given else SUPPORTED if given == {SUPPORTED} else UNDECIDED


def together(findings: Sequence[Finding], opposed: str = UNDECIDED) -> Finding:
    """Sizes, or framings, as one: the verdict of those that give one; `opposed` where these contradict each other."""
    given = {one.verdict for one in findings} - {UNDECIDED}
    verdict = next(iter(given), UNDECIDED) if len(given) < 2 else opposed
    missing = next((one.missing for one in reversed(findings) if one.missing), "")  # at their best, if there
    missing = "the sizes, or the frame rates, contradict each other" if len(given) > 1 else missing
    evidence = [each for one in findings for each in one.evidence]
    return Finding(verdict, evidence, missing if verdict == UNDECIDED else "")


def better(a: Sequence[Run], b: Sequence[Run]) -> tuple[Evidence, str]:
    """The paired difference of two predictors of frames, and whether a is the better one.

    In bits where every run has them by window; else in px by the geometric median.
    """
    bits = all("bits" in run.per_window for run in (*a, *b))
    found = difference(a, b, "bits" if bits else "error_median")
    same = predictor_of(a[0]) == predictor_of(b[0]) and b[0].history
    other = f"itself, {changes(b[0], a[0])}" if same else named(b)
    evidence = Evidence(f"{'bits' if bits else 'px'}: {named(a)} minus {other}", found, where(a), "+.2f")
    return evidence, above(found) if bits else below(found)


def compared(study: Study, ours: str, rivals: Sequence[str], missing: str) -> Finding:
    """Whether frames with one loss are better than with each of the others; what has not learnt decides nothing.

    `missing`: what there is not, as long as one of them has not learnt.
    """
    judged = {rival: better(study.runs_of(ours), study.runs_of(rival)) for rival in rivals}
    verdicts = (verdict if learnt(study, ours, rival) else UNDECIDED for rival, (_, verdict) in judged.items())
    missing = "more seeds" if learnt(study, ours, *rivals) else missing
    return Finding(all_of(verdicts), [evidence for evidence, _ in judged.values()], missing)


def learnt(study: Study, *variants: str) -> bool:
    """Whether every network of frames of those variants is better than the best constant of its loss."""
    return all(over_constant(run) < 1 for name in variants for run in study.runs_of(name))


def learning(study: Study) -> list[str]:
    """The variants of frame networks that are better than the best constant with every seed."""
    return [name for name in study.variants(model="simvp") if learnt(study, name)]


def points_learnt(study: Study, network: str, framing: str) -> bool:
    """Whether a network of points errs less than the best constant point of the training windows."""
    ours, constant = (study.runs_of(f"{name}.{framing}") for name in (network, "training_median"))
    return below(difference(ours, constant, "error")) == SUPPORTED


def counted(numbers: Mapping[str, float], where: str, digits: str = ".2f") -> list[Evidence]:
    """Numbers without an interval."""
    known = {name: dict(value=value, low=np.nan, high=np.nan) for name, value in numbers.items()}
    return [Evidence(name, number, where, digits) for name, number in known.items()]


def over_seeds(values: Iterable[float]) -> Number:
    """The mean of the seeds, and the lowest and the highest of them in place of an interval."""
    each = np.array([*values], float)
    return dict(value=each.mean(), low=each.min(), high=each.max())


def named(runs: Sequence[Run]) -> str:
    """A predictor in the middle of a phrase."""
    about = facts(runs[0])
    name = in_text(about["predictor"])
    return f"{name} (density)" if runs[0].spec.config.loss.options.get("density") else name


def where(runs: Sequence[Run]) -> str:
    """Data, task, size and seeds of runs, in a few words."""
    config, label = runs[0].spec.config, runs[0].payload["data_label"].partition(" (")[0]
    unit = "steps" if runs[0].spec.dataset == lattice.SOURCE.name else "fixations"
    frame = unit if config.data.rate_hz is None else f"{1000 / config.data.rate_hz:g} ms"
    seeds = f", {len(runs)} seed{'s' * (len(runs) > 1)}" if config.epochs else ""
    precision = "" if config.training.precision == "float32" else f" ({config.training.precision})"
    return f"{label}, {config.data.n_in} to {config.data.n_out}, {frame}, {runs[0].spec.profile}{precision}{seeds}"
