"""The comparisons behind chapter 6: predictors on the same windows, and the hybrid's claims judged by recorded runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from fixlib.models import SimVP, SimVP_RegressionHead, count_parameters
from fixlib.plots import color_of, in_text, name_of
from fixlib.runs.store import Run
from fixlib.runs.study import Number, Study, difference, facts, mean, optimum

# The error reported for the approaches before the hybrid, and the one hoped for, by the original document (px).
REPORTED_PX, HOPED_PX = 5.12, 3.0
DECODINGS = {"error_argmax": "brightest pixel", "error_mean": "mean", "error_median": "geometric median"}


@dataclass(frozen=True)
class Predictor:
    """A network or baseline and how its maps become points.

    Attributes:
        runs: one a seed.
        decoding: "_argmax", "_median", or "" where it gives points.
    """

    runs: tuple[Run, ...]
    decoding: str = ""

    @property
    def about(self) -> dict:
        """`facts` of the runs; they differ in the seed only."""
        return facts(self.runs[0])

    @property
    def color(self) -> str:
        """Its color in every figure."""
        return color_of(self.about["predictor"])

    @property
    def label(self) -> str:
        """Its name for readers; frame networks come with two decodings, which the name then tells apart."""
        if self.about["model"] != "simvp":
            return name_of(self.about["predictor"])
        decoded = {"_argmax": " (brightest)", "_median": " (median)"}.get(self.decoding, "")
        return f"Frames, {in_text(self.about['predictor'])}{decoded}"

    @property
    def label_with_framing(self) -> str:
        """Its name in a table of both framings."""
        return f"{self.label} ({self.about['framing'].lower()})"

    @property
    def error(self) -> Number:
        """Mean error (px) and the ends of its 95% interval, each averaged over seeds."""
        return self.mean(f"error{self.decoding}")

    @property
    def undershoot(self) -> Number:
        """Predicted / true movement."""
        return self.mean("undershoot_median" if self.decoding == "_median" else "undershoot")

    def mean(self, metric: str) -> Number:
        """A metric and the ends of its 95% interval, each averaged over seeds."""
        return mean(self.runs, metric)

    def window_errors(self) -> np.ndarray:
        """Error (px) of each test window, (seeds, windows); the same windows in the same order within a framing."""
        return np.array([run.per_window[f"error{self.decoding}"].astype(float) for run in self.runs])

    def minus(self, other: Predictor) -> Number:
        """Mean error less that of another on the same windows (px). Below 0, this one is better."""
        return difference(self.runs, other.runs, f"error{self.decoding}", f"error{other.decoding}")

    def course(self) -> pd.DataFrame:
        """What the losses say about the training, a row a seed.

        best_epoch: of least validation loss. rise: how far the last epoch's lies above it, as a share of it. gap: last
        training loss / last validation loss; below 1 where the network knows its training windows better. epochs.
        """
        rows = []
        for run in self.runs:
            train, val = np.array([(entry["train_loss"], entry["val_loss"]) for entry in run.history]).T
            best = dict(best_epoch=val.argmin() + 1, rise=val[-1] / val.min() - 1)
            rows.append(best | dict(gap=train[-1] / val[-1], epochs=len(val)))
        return pd.DataFrame(rows)


def find(study: Study, framing: str, name: str) -> Predictor:
    """The network or baseline of that name (as of `fixlib.plots.PREDICTORS`); its maps, if it has any, not decoded."""
    return Predictor(tuple(study.runs_of(study.variants(framing=framing, predictor=name)[0])))


def predictors_of(study: Study, framing: str, **wanted) -> list[Predictor]:
    """Every predictor of a framing with those `facts`, least error first.

    Densities (baselines) are decoded by their geometric median, the point of least expected distance. The maps of
    frame networks are no densities, and count twice: by their brightest pixel and by their geometric median.
    """
    found = []
    for runs in (tuple(study.runs_of(name)) for name in study.variants(framing=framing, **wanted)):
        decoding = "_median" if "error_median" in runs[0].metrics else ""
        decodings = ("_argmax", decoding) if facts(runs[0])["model"] == "simvp" else (decoding,)
        found += [Predictor(runs, each) for each in decodings]
    return sorted(found, key=lambda predictor: predictor.error["value"])


def best_frames(study: Study, framing: str) -> Predictor:
    """The frame network and decoding of least error on the test windows."""
    return predictors_of(study, framing, model="simvp")[0]


def networks_of(study: Study) -> list[Predictor]:
    """Every network of every framing, in the order of its runs."""
    return [Predictor(tuple(study.runs_of(name))) for name in study.variants(trained=True)]


def least_possible(control: Study, framing: str) -> Predictor:
    """The points of least expected error, which nobody can beat."""
    return Predictor((optimum(control, framing, "distance"),))


def rate_of_error(rates: list[dict], error: float) -> float:
    """The frame rate (Hz) at which repeating the last frame errs by that many px; NaN outside the rates given.

    Log error is taken as linear in log rate between them.
    """
    hertz, errors = (np.log([rate[key] for rate in rates]) for key in ("rate_hz", "repeat_last_error"))
    return float(np.exp(np.interp(-np.log(error), -errors, hertz, left=np.nan, right=np.nan)))


def written(*found: Number) -> str:
    """Values with their intervals, for readers."""
    return " / ".join(f"{one['value']:.2f} [{one['low']:.2f}, {one['high']:.2f}]" for one in found)


def training_memory(network: nn.Module, batch: int = 8) -> tuple[float, float]:
    """MiB that a training step with Adam holds: (parameters, results kept for the backward pass).

    A parameter counts four times: its value, its gradient and Adam's two moments, 4 bytes each.

    Args:
        network: takes frames (batch, 4, 1, 32, 32); on the `meta` device nothing is computed or stored.
    """
    own = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    kept: dict[int, Tensor] = {}  # one tensor a storage; held, so that no storage's address is used twice

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage()._cdata not in own:
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    device = next(network.parameters()).device
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(torch.zeros(batch, 4, 1, 32, 32, device=device))
    results = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    return 16 * count_parameters(network) / 2**20, results / 2**20


def claims(study: Study, control: Study | None = None, large: Study | None = None) -> pd.DataFrame:
    """The original document's claims about the hybrid: what was measured, by framing, and the verdict.

    A number is met where the whole 95% interval lies below it, missed where it lies above. A difference supports a
    claim where its interval lies on the claimed side of 0. Frame prediction is its best network and decoding on the
    test windows. How training went is compared seed by seed, in `study` and (on simulated gaze) in `control`. Errors
    are also judged at the original size, in `large`.
    """
    framings = study.framings()
    sizes = {"": study} | ({f"; at the original size, {large.label}: ": large} if large else {})

    def each(name: str, runs: Study = study) -> list[Predictor]:
        return [find(runs, framing, name) for framing in framings]

    def verdict(answers: Iterable[bool | None]) -> str:
        words = [{True: "supported", False: "refuted", None: "undecided"}[answer] for answer in answers]
        by_framing = (f"{word} ({framing.lower()})" for word, framing in zip(words, framings))
        return words[0] if len(set(words)) == 1 else ", ".join(by_framing)

    def error_under(line: float) -> tuple[str, str, str]:
        found = {size: [hybrid.error for hybrid in each("hybrid_l1", runs)] for size, runs in sizes.items()}
        measured = "".join(size + written(*errors) for size, errors in found.items())
        judged = "".join(size + verdict(_below(one, line) for one in errors) for size, errors in found.items())
        return f"error under {line:g} px", measured, f"ill-posed without a frame rate; given one: {judged}"

    def smaller_error(claim: str, rivals: list[Predictor]) -> tuple[str, str, str]:
        found = [hybrid.minus(rival) for hybrid, rival in zip(each("hybrid_l1"), rivals)]
        return claim, written(*found), verdict(_below(one) for one in found)

    def better_course(claim: str, key: str, form: str) -> tuple[str, str, str]:
        studies = [runs for runs in (study, control) if runs]
        found = [[_courses(runs, framing, key) for runs in studies] for framing in framings]
        measured = " / ".join("; ".join(_written_pairs(pairs, form) for pairs in one) for one in found)
        return claim, measured, verdict(_smaller([pair for pairs in one for pair in pairs]) for one in found)

    frames = [best_frames(study, framing) for framing in framings]
    rose = "more stable: rise of validation loss after the best epoch, against frames"
    rows = [
        error_under(REPORTED_PX),
        error_under(HOPED_PX),
        _claimed_parameters(),
        better_course("faster convergence: epochs to the best, against frames", "best_epoch", "{:.0f}"),
        smaller_error("better accuracy: error minus that of frames (px)", frames),
        better_course(rose, "rise", "{:.0%}"),
        _claimed_memory(),
        smaller_error("L1 better than MSE: error minus that with MSE (px)", each("hybrid_mse")),
    ]
    measured = "measured (" + " / ".join(framing.lower() for framing in framings) + ")"
    return pd.DataFrame(rows, columns=["claim", measured, "verdict"]).set_index("claim")


def original_networks() -> dict[str, nn.Module]:
    """The original hybrid, and SimVPs of equal width that decode one frame and all four, without their weights."""
    wide: dict[str, Any] = dict(in_shape=(4, 1, 32, 32), hid_S=64, hid_T=512, N_S=4, N_T=8)
    with torch.device("meta"):
        return dict(hybrid=SimVP_RegressionHead(**wide), one_frame=SimVP(out_frames=1, **wide), frames=SimVP(**wide))


def _claimed_parameters() -> tuple[str, str, str]:
    networks = original_networks()
    parts = (networks["hybrid"], networks["hybrid"].get_submodule("head"), networks["frames"].get_submodule("dec"))
    whole, head, unused = (count_parameters(part) / 1e6 for part in parts)
    measured = f"{whole:.1f}M, {head:.2f}M in the head ({whole + unused:.1f}M with an unused decoder)"
    return "about 41.7M parameters, 1.7M of them in the head", measured, "refuted"


def _claimed_memory() -> tuple[str, str, str]:
    ours, one, every = (sum(training_memory(network)) for network in original_networks().values())
    measured = f"{ours:.0f} MiB against {one:.0f} (one frame decoded) to {every:.0f} (four)"
    judged = "supported" if ours < one else "refuted" if ours > every else "ill-posed: depends on frames decoded"
    return "lower memory: to train, against frames of equal width", measured, judged


def _courses(study: Study, framing: str, key: str) -> list[tuple[float, float]]:
    """`key` of the `course` of the hybrid and of the best frame network, a pair a seed.

    No pair's losses are said to rise after the best epoch where one network's best is its last.
    """
    pair = [find(study, framing, "hybrid_l1").course(), best_frames(study, framing).course()]
    over = [course["best_epoch"] < course["epochs"] for course in pair]
    return [(a, b) for a, b, judged in zip(pair[0][key], pair[1][key], over[0] & over[1]) if judged or key != "rise"]


def _smaller(pairs: list[tuple[float, float]]) -> bool | None:
    """Whether the first of every pair is the smaller one: in all, in none, or (None) in some, or of a single pair."""
    found = {mine < theirs for mine, theirs in pairs}
    return found.pop() if len(pairs) > 1 and len(found) == 1 else None


def _below(found: Number, line: float = 0.0) -> bool | None:
    """Whether a value lies below a line; None where its interval holds the line."""
    return True if found["high"] < line else False if found["low"] > line else None


def _written_pairs(pairs: list[tuple[float, float]], form: str) -> str:
    return " against ".join(form.format(np.mean(side)) for side in zip(*pairs)) or "no run to judge by"
