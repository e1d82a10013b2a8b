"""The comparisons behind chapter 4: predictors on the same windows, and the hybrid's claims judged by recorded runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from fixlib.chapters._old_plots import FRAMING_TITLES, framings_of, name_of
from fixlib.chapters.hybrid_regression.runs import NAME, NARROW
from fixlib.chapters.simulated_control.figures import POINT_OPTIMUM as OPTIMUM
from fixlib.metrics import paired_difference
from fixlib.models import SimVP, SimVP_RegressionHead, count_parameters
from fixlib.runs.store import Run
from fixlib.runs.study import Study, recorded

# The error reported for the approaches before the hybrid, and the one hoped for, by the original document (px).
REPORTED_PX, HOPED_PX = 5.12, 3.0
DECODINGS = {"error_argmax": "brightest pixel", "error_mean": "mean", "error_median": "geometric median"}


@dataclass(frozen=True)
class Predictor:
    """A variant (NAME.FRAMING) and how its maps become points: "argmax", "median", or "" where it gives points."""

    variant: str
    decoding: str = ""

    @property
    def trained(self) -> bool:
        """Whether it is a network, and not a baseline."""
        return self.variant.startswith(("hybrid", "frames", "gru"))

    @property
    def label(self) -> str:
        """Its name for readers; frame networks come with two decodings, which the name then tells apart."""
        if not self.variant.startswith("frames"):
            return name_of(self.variant)
        loss = self.variant.partition(".")[0].removeprefix("frames_").replace("cross_entropy", "cross-entropy")
        loss = loss.replace("_", " ").replace("mse", "MSE").replace("dice", "Dice")
        return f"Frames, {loss}" + {"argmax": " (brightest)", "median": " (median)"}.get(self.decoding, "")

    @property
    def label_with_framing(self) -> str:
        """Its name in a table of both framings."""
        return f"{self.label} ({FRAMING_TITLES[self.variant.partition('.')[2]].lower()})"

    def error_of(self, run: Run) -> dict[str, float]:
        """Mean error of a run, px: value, low, high."""
        return run.metrics[f"error_{self.decoding}" if self.decoding else "error"]

    def undershoot_of(self, run: Run) -> dict[str, float]:
        """Predicted / true movement of a run: value, low, high."""
        return run.metrics["undershoot_median" if self.decoding == "median" else "undershoot"]

    def window_errors_of(self, run: Run) -> np.ndarray:
        """Error of each test window, px."""
        return run.per_window[f"error_{self.decoding}" if self.decoding else "error"].astype(float)


def recorded_sizes() -> list[Study]:
    """On OSIE, as recorded: a study of all `quick` runs, and one of the hybrid's `paper` runs, also narrow."""
    large, narrow = (
        recorded(NAME, "osie", "paper", seeds, networks=(network,))
        for seeds, network in (((0, 1, 2), "hybrid_l1"), ((0,), NARROW))
    )
    added = tuple(run for run in narrow.runs if run.spec.variant not in large.variants())
    return [recorded(NAME, "osie", "quick"), replace(large, runs=large.runs + added)]


def recorded_elsewhere() -> list[Study]:
    """The hybrid's `paper` runs as recorded on other gaze: simulated, and on films, which have no fixations."""
    return [
        recorded(NAME, "simulated", "paper", networks=("hybrid_l1",)),
        recorded(NAME, "gazecom", "paper", networks=("hybrid_l1",), framings=("10hz",)),
    ]


def runs_of(study, predictor: Predictor) -> list[Run]:
    """The runs of a predictor, one a seed."""
    return [run for run in study.runs if run.spec.variant == predictor.variant]


def predictors_of(study, framing: str) -> list[Predictor]:
    """Every predictor of that framing, least error first.

    Densities (baselines) are decoded by their geometric median, the point of least expected distance. The maps of
    frame networks are no densities, and count twice: by their brightest pixel and by their geometric median.
    """
    found = []
    for name in study.variants():
        if name.partition(".")[2] == framing:
            maps = "error_median" in study.run(name).metrics
            decodings = ("argmax", "median") if name.startswith("frames") else ("median",) if maps else ("",)
            found += [Predictor(name, decoding) for decoding in decodings]
    return sorted(found, key=lambda predictor: error(study, predictor)["value"])


def best(study, framing: str, start: str = "", trained: bool = True) -> Predictor:
    """The network (or baseline) of least error on the test windows, of those whose variant starts like that."""
    return next(
        predictor
        for predictor in predictors_of(study, framing)
        if predictor.trained == trained and predictor.variant.startswith(start)
    )


def error(study, predictor: Predictor) -> dict[str, float]:
    """Mean error (px) and the ends of its 95% interval, each averaged over seeds: value, low, high."""
    return mean_over_seeds(predictor.error_of(run) for run in runs_of(study, predictor))


def window_errors(study, predictor: Predictor) -> np.ndarray:
    """Error (px) of each test window, averaged over seeds; the same windows in the same order within a framing."""
    return np.mean([predictor.window_errors_of(run) for run in runs_of(study, predictor)], axis=0)


def error_difference(study, a: Predictor, b: Predictor, other=None) -> dict[str, float]:
    """Mean error of a minus that of b on the same windows (px): value, low, high. Below 0, a is better.

    b is looked for in `other`, where that is given.
    """
    windows = runs_of(study, a)[0].per_window
    errors = window_errors(study, a), window_errors(other or study, b)
    return paired_difference(*errors, windows["subject"], windows["stimulus"])


def mean_over_seeds(found: Iterable[dict[str, float]]) -> dict[str, float]:
    """value, low and high of several runs, each averaged."""
    found = list(found)
    return {key: float(np.mean([one[key] for one in found])) for key in ("value", "low", "high")}


def error_table(study, framing: str) -> pd.DataFrame:
    """Every predictor of a framing, least error first: error (px), interval, windows within 3 px, parameters."""
    rows = []
    for predictor in predictors_of(study, framing):
        found, runs = error(study, predictor), runs_of(study, predictor)
        within = 100 * np.mean([predictor.window_errors_of(run) <= HOPED_PX for run in runs])
        size = f"{runs[0].payload['parameters']:,}" if "parameters" in runs[0].payload else "-"
        rows.append(
            [
                predictor.label,
                f"{found['value']:.2f}",
                f"[{found['low']:.2f}, {found['high']:.2f}]",
                f"{within:.0f}",
                size,
            ]
        )
    columns = ["predictor", "error (px)", "95% interval", "within 3 px (%)", "parameters"]
    return pd.DataFrame(rows, columns=columns).set_index("predictor")


def size_table(large, small) -> pd.DataFrame:
    """The networks of `large` beside the same ones, repeating and the best frame network of `small`.

    A row a network and framing: seeds, parameters (millions), error and differences of error (px) on the same windows,
    best epoch.
    """
    rows = {}
    for name in (name for name in large.variants() if Predictor(name).trained):
        network, framing = Predictor(name), name.partition(".")[2]
        small_one = Predictor(name.replace("_narrow", ""))  # those of `small` are all as narrow as each other
        rivals = {
            "minus the small one's": small_one,
            "minus repeating's": Predictor(f"repeat_last.{framing}"),
            "minus small frames' (best)": best(small, framing, "frames"),
        }
        runs, found = runs_of(large, network), error(large, network)
        best_epoch = np.mean([course(run.history)["best_epoch"] for run in runs])
        rows[network.label_with_framing] = {
            "seeds": len(runs),
            "parameters (M)": f"{runs[0].payload['parameters'] / 1e6:.1f}",
            "error (px)": _written([found]),
            **{column: _written([error_difference(large, network, rival, small)]) for column, rival in rivals.items()},
            "best epoch": f"{best_epoch:.0f} of {len(runs[0].history)}",
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def elsewhere_table(studies) -> pd.DataFrame:
    """The hybrid beside repeating the last point, on the data of each study; errors in px, on the same windows."""
    rows = {}
    for study in studies:
        for framing in framings_of(study):
            hybrid, idle = (Predictor(f"{name}.{framing}") for name in ("hybrid_l1", "repeat_last"))
            if runs_of(study, hybrid):
                rows[f"{study.label}, {FRAMING_TITLES[framing].lower()}"] = {
                    "hybrid": _written([error(study, hybrid)]),
                    "repeating": _written([error(study, idle)]),
                    "hybrid minus repeating": _written([error_difference(study, hybrid, idle)]),
                }
    return pd.DataFrame.from_dict(rows, orient="index")


def decoding_table(study) -> pd.DataFrame:
    """Error (px) of each frame network by how its map becomes a point, and the mean of the map's largest p."""
    rows = {}
    for name in (name for name in study.variants() if name.startswith("frames")):
        runs = runs_of(study, Predictor(name))
        means = [np.mean([run.metrics[metric]["value"] for run in runs]) for metric in (*DECODINGS, "max_probability")]
        rows[Predictor(name).label_with_framing] = [f"{mean:.2f}" for mean in means[:3]] + [f"{means[3]:.2g}"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=[*DECODINGS.values(), "largest p"])


def course(history: list[dict]) -> dict[str, float]:
    """What a network's losses say about its training.

    Returns:
        best_epoch: of least validation loss. rise: how far the last epoch's lies above it, as a share of it.
        gap: last training loss / last validation loss; below 1 where it knows its training windows better.
    """
    losses = np.array([entry["val_loss"] for entry in history])
    return dict(
        best_epoch=int(losses.argmin()) + 1,
        rise=losses[-1] / losses.min() - 1,
        gap=history[-1]["train_loss"] / losses[-1],
    )


def training_table(study) -> pd.DataFrame:
    """How each network trained (see `course`), averaged over seeds."""
    rows = {}
    for name in (name for name in study.variants() if Predictor(name).trained):
        runs = runs_of(study, Predictor(name))
        found = pd.DataFrame([course(run.history) for run in runs]).mean()
        rows[Predictor(name).label_with_framing] = [
            f"{found['best_epoch']:.0f} of {len(runs[0].history)}",
            f"{100 * found['rise']:.0f}%",
            f"{found['gap']:.2f}",
        ]
    columns = ["best epoch", "rise of validation loss after it", "training / validation loss at the end"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def rate_of_error(rates: list[dict], error: float) -> float:
    """The frame rate (Hz) at which repeating the last frame errs by that many px; NaN outside the rates given.

    Log error is taken as linear in log rate between them.
    """
    hertz, errors = (np.log([rate[key] for rate in rates]) for key in ("rate_hz", "repeat_last_error"))
    return float(np.exp(np.interp(-np.log(error), -errors, hertz, left=np.nan, right=np.nan)))


def control_table(control) -> pd.DataFrame:
    """The hybrids and the best frame network beside the least possible error on simulated gaze, px."""
    rows = {}
    for framing in framings_of(control):
        floor = Predictor(f"{OPTIMUM}.{framing}")
        for network in (
            Predictor(f"hybrid_l1.{framing}"),
            Predictor(f"hybrid_mse.{framing}"),
            best(control, framing, "frames"),
        ):
            seeds = [network.error_of(run)["value"] for run in runs_of(control, network)]
            gap = error_difference(control, network, floor)
            rows[network.label_with_framing] = [
                f"{error(control, network)['value']:.2f}",
                f"{error(control, floor)['value']:.2f}",
                f"{gap['value']:.2f} [{gap['low']:.2f}, {gap['high']:.2f}]",
                f"{min(seeds):.2f} to {max(seeds):.2f}",
            ]
    return pd.DataFrame.from_dict(rows, orient="index", columns=["error (px)", "least possible", "above it", "by seed"])


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


def claims(study, control=None, large=None) -> pd.DataFrame:
    """The original document's claims about the hybrid: what was measured, by framing, and the verdict.

    A number is met where the whole 95% interval lies below it, missed where it lies above. A difference supports a
    claim where its interval lies on the claimed side of 0. Frame prediction is its best network and decoding on the
    test windows. How training went is compared seed by seed, in `study` and (on simulated gaze) in `control`. Errors
    are also judged at the original size, in `large`.
    """
    framings = framings_of(study)
    hybrids = [Predictor(f"hybrid_l1.{framing}") for framing in framings]
    frames = [best(study, framing, "frames") for framing in framings]
    found = [error(study, hybrid) for hybrid in hybrids]
    lead = [error_difference(study, *pair) for pair in zip(hybrids, frames)]
    over_mse = [
        error_difference(study, hybrid, Predictor(f"hybrid_mse.{framing}"))
        for hybrid, framing in zip(hybrids, framings)
    ]
    studies = [runs for runs in (study, control) if runs is not None]
    epochs, rises = (
        [[_courses(runs, framing, key) for runs in studies] for framing in framings] for key in ("best_epoch", "rise")
    )
    head, whole, unused, ours, one_out, all_out = _mission_sizes()
    sizes = {"": found}
    if large is not None:
        sizes[f"; at the original size, {large.label}: "] = [error(large, hybrid) for hybrid in hybrids]
    rows = [
        [
            f"error under {line:g} px",
            "".join(size + _written(errors) for size, errors in sizes.items()),
            "ill-posed without a frame rate; given one: "
            + "".join(
                size + _verdict([_below(one, line) for one in errors], framings) for size, errors in sizes.items()
            ),
        ]
        for line in (REPORTED_PX, HOPED_PX)
    ]
    rows += [
        [
            "about 41.7M parameters, 1.7M of them in the head",
            f"{whole / 1e6:.1f}M, {head / 1e6:.2f}M in the head ({(whole + unused) / 1e6:.1f}M with an unused decoder)",
            "refuted",
        ],
        [
            "faster convergence: epochs to the best, against frames",
            _written_courses(epochs, "{:.0f}"),
            _verdict([_smaller(pairs) for pairs in epochs], framings),
        ],
        [
            "better accuracy: error minus that of frames (px)",
            _written(lead),
            _verdict([_below(one) for one in lead], framings),
        ],
        [
            "more stable: rise of validation loss after the best epoch, against frames",
            _written_courses(rises, "{:.0%}"),
            _verdict([_smaller(pairs) for pairs in rises], framings),
        ],
        [
            "lower memory: to train, against frames of equal width",
            f"{ours:.0f} MiB against {one_out:.0f} (one frame decoded) to {all_out:.0f} (four)",
            "supported" if ours < one_out else "refuted" if ours > all_out else "ill-posed: depends on frames decoded",
        ],
        [
            "L1 better than MSE: error minus that with MSE (px)",
            _written(over_mse),
            _verdict([_below(one) for one in over_mse], framings),
        ],
    ]
    measured = "measured (" + " / ".join(FRAMING_TITLES[framing].lower() for framing in framings) + ")"
    return pd.DataFrame(rows, columns=["claim", measured, "verdict"]).set_index("claim")


def _mission_sizes() -> tuple[int, int, int, float, float, float]:
    """Of the original hybrid: parameters of its head, of all, of the decoder it lacks; MiB to train it, and to train a
    SimVP of equal width that decodes one frame, or all four."""
    wide = dict(in_shape=(4, 1, 32, 32), hid_S=64, hid_T=512, N_S=4, N_T=8)
    with torch.device("meta"):
        hybrid, one_out, all_out = SimVP_RegressionHead(**wide), SimVP(out_frames=1, **wide), SimVP(**wide)
    return (
        count_parameters(hybrid.head),
        count_parameters(hybrid),
        count_parameters(all_out.dec),
        *(sum(training_memory(network)) for network in (hybrid, one_out, all_out)),
    )


def _courses(study, framing: str, key: str) -> list[tuple[float, float]]:
    """`key` of `course` of the hybrid and of the best frame network, a pair a seed.

    No pair's losses are said to rise after the best epoch where one network's best is its last.
    """
    pair = (runs_of(study, Predictor(f"hybrid_l1.{framing}")), runs_of(study, best(study, framing, "frames")))
    seeds = [seed for seed in zip(*pair) if key != "rise" or all(_passed_its_best(run.history) for run in seed)]
    return [tuple(course(run.history)[key] for run in seed) for seed in seeds]


def _passed_its_best(history: list[dict]) -> bool:
    return course(history)["best_epoch"] < len(history)


def _smaller(studies: list[list[tuple[float, float]]]) -> bool | None:
    """Whether the first of every pair is the smaller one: in all, in none, or (None) in some, or of a single pair."""
    found = [mine < theirs for pairs in studies for mine, theirs in pairs]
    return found[0] if len(found) > 1 and len(set(found)) == 1 else None


def _below(found: dict[str, float], line: float = 0.0) -> bool | None:
    """Whether a value lies below a line; None where its interval holds the line."""
    return True if found["high"] < line else False if found["low"] > line else None


def _verdict(answers: list[bool | None], framings: list[str]) -> str:
    words = [{True: "supported", False: "refuted", None: "undecided"}[answer] for answer in answers]
    if len(set(words)) == 1:
        return words[0]
    return ", ".join(f"{word} ({FRAMING_TITLES[framing].lower()})" for word, framing in zip(words, framings))


def _written(found: list[dict[str, float]]) -> str:
    return " / ".join(f"{one['value']:.2f} [{one['low']:.2f}, {one['high']:.2f}]" for one in found)


def _written_courses(framings: list[list[list[tuple[float, float]]]], form: str) -> str:
    def one(pairs: list[tuple[float, float]]) -> str:
        return " against ".join(form.format(np.mean(side)) for side in zip(*pairs)) or "no run to judge by"

    return " / ".join("; ".join(one(pairs) for pairs in studies) for studies in framings)
