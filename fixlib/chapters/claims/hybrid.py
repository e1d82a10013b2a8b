"""The claims of the original document on the hybrid; each function's docstring is the rule by which it is judged."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from fixlib.chapters.claims import verdicts as v
from fixlib.chapters.claims.verdicts import Evidence, Finding, Record, claim, together
from fixlib.chapters.hybrid_regression.tables import HOPED_PX, REPORTED_PX, rate_of_error
from fixlib.metrics import paired_difference
from fixlib.runs.store import Run
from fixlib.runs.study import Study, difference, facts, mean

DOCUMENT, CHAPTER = "Hybrid", "06_hybrid_regression"
WORTH, WEIGHS = f"{CHAPTER}#What-is-an-error-of-5.12-px-worth?", f"{CHAPTER}#What-it-weighs"
ORIGINAL_SIZE, COURSE = f"{CHAPTER}#The-record:-the-original-size", f"{CHAPTER}#Does-it-learn-faster?"
SMALL = f"{CHAPTER}#What-your-laptop-repeats:-small-against-small"
FRAMINGS = ("fixations", "10hz")
NO_FRAMES = "frames of the original size, 4 to 1, that learn"
COUNTED = "counted, at the original size"


def of_framings(record: Record) -> list[tuple[Study, str]]:
    """The hybrid at the original size, at both framings."""
    return [(record.hybrid, framing) for framing in FRAMINGS]


@claim(DOCUMENT, "Improve upon 5.12px mean error", WORTH)
def reported_error(record: Record) -> Finding:
    """Supported or refuted where the interval of the error lies on one side; ill-posed if frame rate or recordings
    decide which.
    """
    return _error_under(record, REPORTED_PX)


@claim(DOCUMENT, "Direct regression should achieve <3px error", WORTH)
def hoped_error(record: Record) -> Finding:
    """Judged like the claim before it, on 5.12 px."""
    return _error_under(record, HOPED_PX)


@claim(DOCUMENT, "~41.7M: SimVP encoder (40M+) + MLP head (~1.7M)", WEIGHS)
def parameters(record: Record) -> Finding:
    """Supported if the whole rounds to 41.7 million and the head to 1.7 million."""
    whole, head = (record.costs["hybrid"][part] / 1e6 for part in ("parameters", "head"))
    unused = whole + record.costs["frames"]["dec"] / 1e6
    verdict = v.SUPPORTED if (round(whole, 1), round(head, 1)) == (41.7, 1.7) else v.REFUTED
    told = {"million parameters": whole, "million in the head": head, "million with an unused decoder": unused}
    return Finding(verdict, v.counted(told, COUNTED))


@claim(DOCUMENT, "Converts sparse heatmaps to coordinates using `argmax`", ORIGINAL_SIZE)
def argmax(record: Record) -> Finding:
    """Read as: without loss. Refuted if the center of a pixel is away from the recorded point that lit it.

    Where gaze rests, repeating the pixel errs by that distance alone.
    """
    runs = record.hybrid.runs_of("repeat_last.10hz")
    windows = runs[0].per_window
    rest = windows["amplitude"] == 0
    errors, subject, stimulus = (windows[name][rest] for name in ("error", "subject", "stimulus"))
    away = paired_difference(errors, np.zeros(len(errors)), subject, stimulus)
    told, at = "px from a pixel's center to the point that lit it", f"{v.where(runs)}, {rest.sum()} at rest"
    evidence = Evidence(told, away, at)
    return Finding(v.REFUTED if away["low"] > 0 else v.SUPPORTED, [evidence])


@claim(DOCUMENT, "Single forward pass produces coordinate prediction", WEIGHS)
def single_pass(record: Record) -> Finding:
    """Frames take a single pass, too: it is no advantage. Supported for another reason if the hybrid's pass is cheaper
    than that of a SimVP as wide that predicts one frame, else refuted.
    """
    ours, frames = (record.costs[name]["operations"] / 1e9 for name in ("hybrid", "one_frame"))
    told = {"billion operations of one pass: hybrid": ours, "of a SimVP that predicts one frame": frames}
    return Finding(v.OTHER_REASON if ours < frames else v.REFUTED, v.counted(told, COUNTED))


@claim(DOCUMENT, "Faster Convergence: Simpler task should converge faster", COURSE, of_framings)
def faster(study: Study, framing: str) -> Finding:
    """Epochs to the same error as composite frames of the original size. Refuted where the hybrid never gets there,
    since it errs more; else supported if its best epoch comes first with every seed, of two at least.
    """
    ours, frames = study.runs_of(f"hybrid_l1.{framing}"), _frames(study, framing).get("composite", [])
    epochs = v.over_seeds(map(_best_epoch, ours))
    evidence = [Evidence("epochs to the best (range of seeds)", epochs, v.where(ours), ".0f")]
    if not frames:
        return Finding(v.UNDECIDED, evidence, NO_FRAMES)
    evidence.insert(0, _minus(ours, frames))
    first = {_best_epoch(a) < _best_epoch(b) for a, b in zip(ours, frames)}
    sooner = len(first) == 1 and min(len(ours), len(frames)) > 1
    verdict = v.UNDECIDED if not sooner else v.SUPPORTED if first == {True} else v.REFUTED
    errs_more = v.below(evidence[0].number) == v.REFUTED
    return Finding(v.REFUTED if errs_more else verdict, evidence, "more seeds of both")


@claim(DOCUMENT, "Better Accuracy: Direct optimization of pixel error", ORIGINAL_SIZE, of_framings)
def accuracy(study: Study, framing: str) -> Finding:
    """Supported if the hybrid errs less than every frame network of its size that has learnt (brightest pixel), refuted
    if it errs more than one. But if it errs less than the composite, its rival in the document, the loss of the frames
    is the reason, and not the frames.
    """
    ours, rivals = study.runs_of(f"hybrid_l1.{framing}"), _frames(study, framing)
    if not rivals:
        return Finding(v.UNDECIDED, [_minus(ours, study.runs_of(f"repeat_last.{framing}"))], NO_FRAMES)
    evidence = {loss: _minus(ours, runs) for loss, runs in rivals.items()}
    verdict = v.all_of(v.below(one.number) for one in evidence.values())
    if verdict == v.REFUTED and "composite" in evidence and v.below(evidence["composite"].number) == v.SUPPORTED:
        verdict = v.OTHER_REASON
    return Finding(verdict, list(evidence.values()), "more seeds")


@claim(DOCUMENT, "More Stable Training: No loss component balancing issues", COURSE, of_framings)
def stable(study: Study, framing: str) -> Finding:
    """Supported if errors spread less over seeds than those of composite frames (95% interval of the ratio)."""
    ours, frames = study.runs_of(f"hybrid_l1.{framing}"), _frames(study, framing).get("composite", [])
    errors = [mean([run], "error")["value"] for run in ours]
    evidence = [Evidence("px: error (range of seeds)", v.over_seeds(errors), v.where(ours))]
    if min(len(ours), len(frames)) < 2:
        return Finding(v.UNDECIDED, evidence, "3 seeds of both" if frames else f"{NO_FRAMES}; 3 seeds")
    others = [mean([run], "error_argmax")["value"] for run in frames]
    ratio = np.std(errors, ddof=1) / np.std(others, ddof=1)
    low, high = ratio / np.sqrt(stats.f.ppf((0.975, 0.025), len(errors) - 1, len(others) - 1))
    number = dict(value=float(ratio), low=float(low), high=float(high))
    evidence.append(Evidence("spread over seeds: hybrid / frames, composite", number, v.where(frames)))
    return Finding(v.below(number, 1.0), evidence, "more seeds of both")


@claim(DOCUMENT, "Lower Memory Usage: No need to store/predict full heatmaps", WEIGHS)
def memory(record: Record) -> Finding:
    """Supported if training takes less memory than that of a SimVP as wide that predicts the same one frame."""
    frames = {"one frame decoded": "one_frame", "four decoded": "frames"}
    ours = record.costs["hybrid"]["memory"]
    told = {f"MiB to train, minus frames, {name}": ours - record.costs[key]["memory"] for name, key in frames.items()}
    verdict = v.SUPPORTED if ours < record.costs["one_frame"]["memory"] else v.REFUTED
    return Finding(verdict, v.counted(told, f"{COUNTED}, batch 8", "+.0f"))


@claim(DOCUMENT, "L1 [...] More robust to outliers than MSE", SMALL, lambda record: [(record, f) for f in FRAMINGS])
def robust(record: Record, framing: str) -> Finding:
    """Supported if the hybrid errs less with L1 than with MSE; but not for the reason given if squared error is as
    costly without outliers: if the mean of the exact density of simulated gaze errs more than its median.
    """
    study = record.hybrid if record.hybrid.runs_of(f"hybrid_mse.{framing}") else record.small
    ours, squared = (study.runs_of(f"{name}.{framing}") for name in ("hybrid_l1", "hybrid_mse"))
    apart, exact = difference(ours, squared, "error"), record.control.runs_of(f"optimum_density.{framing}")
    costs = mean(exact, "error_mean")["value"] - mean(exact, "error_median")["value"]
    verdict = v.below(apart) if v.points_learnt(study, "hybrid_mse", framing) else v.UNDECIDED
    evidence = [Evidence("px: hybrid with L1 minus with MSE", apart, v.where(squared), "+.2f")]
    evidence += v.counted({"px: mean minus median of the exact density": costs}, v.where(exact), "+.2f")
    return Finding(v.OTHER_REASON if verdict == v.SUPPORTED and costs > 0 else verdict, evidence, "more seeds")


def _error_under(record: Record, line: float) -> Finding:
    """The hybrid's error against a number of px; beside it that of repeating the last pixel, which takes no network."""
    found = []
    for study, framing in ((record.hybrid, "fixations"), (record.hybrid, "10hz"), (record.films, "10hz")):
        both = [study.runs_of(f"{name}.{framing}") for name in ("hybrid_l1", "repeat_last")]
        evidence = [Evidence(f"px: {v.named(runs)}", mean(runs, "error"), v.where(runs)) for runs in both]
        verdict = v.below(evidence[0].number, line) if v.points_learnt(study, "hybrid_l1", framing) else v.UNDECIDED
        found.append(Finding(verdict, evidence, "a hybrid whose error is clear of that number"))
    rate = rate_of_error(record.description.runs[0].payload["rates"], line)
    told = v.counted({f"frames per second at which repeating errs by {line:g} px": rate}, "OSIE, all recordings", ".1f")
    judged = together(found, v.ILL_POSED)
    return judged._replace(evidence=[*judged.evidence, *told])


def _frames(study: Study, framing: str) -> dict[str, list[Run]]:
    """Loss -> the frame networks of a framing, if they have learnt; none where the hybrid has not."""
    if not v.points_learnt(study, "hybrid_l1", framing):
        return {}
    names = [name for name in v.learning(study) if name.endswith(f".{framing}")]
    return {facts(study.run(name))["loss"]: study.runs_of(name) for name in names}


def _minus(ours: Sequence[Run], theirs: Sequence[Run]) -> Evidence:
    """Errors in px: points against points, or against the brightest pixels of frames."""
    frames = theirs[0].spec.config.model.kind == "simvp"
    apart = difference(ours, theirs, "error", "error_argmax" if frames else "error")
    return Evidence(f"px: {v.named(ours)} minus {'frames, ' * frames}{v.named(theirs)}", apart, v.where(ours), "+.2f")


def _best_epoch(run: Run) -> int:
    return 1 + int(np.argmin([epoch["val_loss"] for epoch in run.history]))
