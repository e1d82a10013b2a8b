"""The comparisons behind chapter 6: predictors on the same windows, and what the original networks weigh."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from fixlib.chapters.hybrid_regression.runs import NAME
from fixlib.models import SimVP, SimVP_RegressionHead, count_parameters
from fixlib.plots import color_of, in_text, interval, listed, name_of
from fixlib.runs.store import Run
from fixlib.runs.study import Number, Study, difference, facts, mean, recorded

# The error reported for the approaches before the hybrid, and the one hoped for, by the original document (px).
REPORTED_PX, HOPED_PX = 5.12, 3.0
# Frame networks recorded at the size of the hybrid.
FRAMES = ("frames_composite", "frames_weighted_mse", "frames_dice", "frames_softmax_cross_entropy")
# Edges of the bins of true movement, px; the diagonal of the grid is 45 px.
MOVEMENT_EDGES = (0, 1, 3, 6, 10, 14, 46)
# What the networks on points are given and asked for where their options do not say it.
USUAL = {"regression": dict(target="position"), "gru": dict(inputs="points", target="displacement")}


@dataclass(frozen=True)
class Predictor:
    """A network or baseline and how its maps become points."""

    runs: tuple[Run, ...]  # one a seed
    decoding: str = ""  # "_argmax", "_median", or "" where it gives points

    @property
    def about(self) -> dict:
        """`facts` of the runs; they differ in the seed only."""
        return facts(self.runs[0])

    @property
    def color(self) -> str:
        """Its color in every figure."""
        return color_of(self.about["predictor"])

    @property
    def options(self) -> dict:
        """Of its network; of the hybrid and the GRU also what they are given and asked for by default."""
        return USUAL.get(self.about["model"], {}) | self.runs[0].spec.config.model.options

    @property
    def sees_more(self) -> bool:
        """Whether it is given the points as recorded; everything else is given the pixel of each frame."""
        return self.options.get("inputs") == "points" or self.about["model"] == "repeat_last_subpixel"

    @property
    def label(self) -> str:
        """Its name for readers: with how maps are decoded, with what differs from the usual target, marked * where it
        sees more than the others.
        """
        name = name_of(self.about["predictor"])
        if self.about["model"] == "simvp":
            decoded = {"_argmax": " (brightest)", "_median": " (median)"}.get(self.decoding, "")
            name = f"Frames, {in_text(self.about['predictor'])}{decoded}"
        if self.about["model"] == "gru":
            name = "GRU, sub-pixel" if self.sees_more else "GRU"
        if self.about["model"] == "regression" and self.options.get("target") == "displacement":
            name += ", displacement"
        return name + " *" * self.sees_more

    @property
    def error(self) -> Number:
        """Mean error (px) and the ends of its 95% interval, each averaged over seeds."""
        return mean(self.runs, f"error{self.decoding}")

    def window_errors(self) -> np.ndarray:
        """Error (px) of each test window, (seeds, windows); the same windows in the same order within a framing."""
        return np.array([run.per_window[f"error{self.decoding}"].astype(float) for run in self.runs])

    def minus(self, other: "Predictor") -> Number:
        """Mean error less that of another on the same windows (px). Below 0, this one is better."""
        return difference(self.runs, other.runs, f"error{self.decoding}", f"error{other.decoding}")

    def course(self) -> pd.DataFrame:
        """What the losses say about the training, a row a seed.

        best_epoch: of least validation loss. gap: last training loss / last validation loss; below 1 where the network
        knows its training windows better. epochs.
        """
        losses = [np.array([(entry["train_loss"], entry["val_loss"]) for entry in run.history]).T for run in self.runs]
        rows = [dict(best_epoch=val.argmin() + 1, gap=train[-1] / val[-1], epochs=len(val)) for train, val in losses]
        return pd.DataFrame(rows)


ByTask = Mapping[str, Predictor]  # framing -> the predictor there


def every_decoding(study: Study, framing: str, **wanted) -> list[Predictor]:
    """Every predictor of a framing with those `facts`, in the order of the study.

    Densities (baselines) are decoded by their geometric median, the point of least expected distance. The maps of
    frame networks are no densities, and count twice: by their brightest pixel and by their geometric median.
    """
    found = []
    for runs in (tuple(study.runs_of(name)) for name in study.variants(framing=framing, **wanted)):
        decoding = "_median" if "error_median" in runs[0].metrics else ""
        decodings = ("_argmax", decoding) if facts(runs[0])["model"] == "simvp" else (decoding,)
        found += [Predictor(runs, each) for each in decodings]
    return found


def predictors_of(study: Study, framing: str, **wanted) -> list[Predictor]:
    """The same, least error first."""
    return sorted(every_decoding(study, framing, **wanted), key=lambda predictor: predictor.error["value"])


def tasks(study: Study) -> dict[str, str]:
    """How far ahead each framing looks, in words."""
    found = {about["framing"]: about["rate_hz"] for about in map(facts, study.runs)}
    return {framing: f"{1000 / rate:g} ms ahead" if rate else "one fixation ahead" for framing, rate in found.items()}


def find(study: Study, framing: str, name: str, **options: Any) -> Predictor:
    """The network or baseline of that name (as of `fixlib.plots.PREDICTORS`) and options, by its best decoding."""
    found = predictors_of(study, framing, predictor=name)
    return next(one for one in found if options.items() <= one.options.items())


def best(study: Study, framing: str, **wanted) -> Predictor:
    """The one of least error on the test windows, of those that see the same."""
    return next(one for one in predictors_of(study, framing, **wanted) if not one.sees_more)


def beside(found: dict[str, list[Predictor]], others: dict[str, Predictor], name: str) -> pd.DataFrame:
    """Error (px) of predictors by task, and error minus that of the `others`, called `name`, with its interval; as
    text. The predictors are the same in the same order for each task.
    """
    columns: dict[str, list] = {}
    for task, predictors in found.items():
        columns[f"px, {task}"] = [f"{one.error['value']:.2f}" for one in predictors]
        columns[f"minus {name}, {task}"] = [written(one.minus(others[task])) for one in predictors]
    labels = [one.label.partition(" (")[0] for one in next(iter(found.values()))]
    return pd.DataFrame(columns, index=labels).rename_axis("predictor")


def of_its_size(results_dir: str = "") -> Study:
    """Frames and soft-argmax at the size of the original hybrid, on its windows: one seed, in bfloat16.

    But the composite, the rival of the original document, in float32.
    """
    read = partial(recorded, NAME, "osie", "paper", results_dir=results_dir)
    composite, *others = FRAMES
    rough = read(precision="bf16", networks=(*others, "soft_argmax"))
    return replace(rough, runs=(*(run for run in read(networks=(composite,)).runs if run.history), *rough.runs))


def frames_beside(study: Study, others: ByTask) -> pd.DataFrame:
    """`beside` for every frame network and decoding; `others`: framing -> the hybrid there."""
    shown = {words: every_decoding(study, framing, model="simvp") for framing, words in tasks(study).items()}
    found = beside(shown, {words: others[framing] for framing, words in tasks(study).items()}, "hybrid")
    return found.set_axis([one.label for one in next(iter(shown.values()))]).rename_axis("predictor, original size")


def closer_frames(study: Study, others: ByTask) -> str:
    """Losses of frames that are closer to gaze than `others`, by framing, beyond chance and by the better decoding."""
    told = []
    for framing, words in tasks(study).items():
        networks = every_decoding(study, framing, model="simvp")
        closer = [one for one in networks if one.minus(others[framing])["high"] < 0]
        told.append(f"{words}, {listed(dict.fromkeys(one.about['loss'] for one in closer))}")
    return "; ".join(told)


def minus_each(study: Study, ours: ByTask, others: dict[str, ByTask]) -> pd.DataFrame:
    """Error (px) of a predictor by task, and that error minus those of the `others`, as text."""
    columns = {}
    for framing, task in tasks(study).items():
        differences = [written(ours[framing].minus(other[framing])) for other in others.values()]
        columns[task] = [f"{ours[framing].error['value']:.2f}", *differences]
    return pd.DataFrame(columns, index=["px", *(f"minus {name}" for name in others)])


def beside_repeating(studies: dict[str, Study]) -> pd.DataFrame:
    """The hybrid and repeating on several data, by name and task: seeds, errors (px), difference as text."""
    rows = {}
    for name, study in studies.items():
        for framing, task in tasks(study).items():
            ours, idle = (find(study, framing, predictor) for predictor in ("hybrid_l1", "repeat_last"))
            numbers = [len(ours.runs), ours.error["value"], idle.error["value"], written(ours.minus(idle))]
            rows[f"{name}, {task}"] = numbers
    columns = ["seeds", "hybrid (px)", "repeat (px)", "hybrid minus repeat"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("data, task")


def by_median(study: Study, framing: str, loss: str) -> Predictor:
    """The frame network of a loss, its maps decoded by their geometric median."""
    networks = every_decoding(study, framing, model="simvp", loss=loss)
    return next(one for one in networks if one.decoding == "_median")


def targets(study: Study) -> pd.DataFrame:
    """Error (px) of the hybrid and the GRU (on pixels, on points), asked for a position and for a displacement."""
    networks: list[tuple[str, dict]] = [("hybrid_l1", {}), *(("gru_l1", dict(inputs=i)) for i in ("pixels", "points"))]
    columns: dict[str, list] = {}
    for framing, task in tasks(study).items():
        for name, given in networks:
            position, moved = (find(study, framing, name, target=to, **given) for to in ("position", "displacement"))
            first, second = (f"{one.error['value']:.2f}" for one in (position, moved))
            texts = dict(position=first, displacement=second, difference=written(moved.minus(position)))
            for column, text in texts.items():
                columns.setdefault(f"{column}, {task}", []).append(text)
    return pd.DataFrame(columns, index=["Hybrid, L1", "GRU", "GRU, sub-pixel *"]).rename_axis("error (px) by target")


def by_movement(predictor: Predictor, idle: Predictor) -> pd.DataFrame:
    """By bin of true movement (`MOVEMENT_EDGES`): mean movement, mean error minus that of `idle` (px), share."""
    movement = predictor.runs[0].per_window["amplitude"].astype(float)
    more = predictor.window_errors().mean(axis=0) - idle.window_errors().mean(axis=0)
    windows = pd.DataFrame(dict(movement=movement, more=more, share=1 / len(movement)))
    return windows.groupby(np.digitize(movement, MOVEMENT_EDGES)).agg(dict(movement="mean", more="mean", share="sum"))


def rate_of_error(rates: list[dict], error: float) -> float:
    """The frame rate (Hz) at which repeating the last frame errs by that many px; NaN outside the rates given.

    Log error is taken as linear in log rate between them.
    """
    hertz, errors = (np.log([rate[key] for rate in rates]) for key in ("rate_hz", "repeat_last_error"))
    return float(np.exp(np.interp(-np.log(error), -errors, hertz, left=np.nan, right=np.nan)))


def written(found: Number) -> str:
    """A difference (px) with its interval, for readers; 0 without a sign of its own."""
    return interval(found, "+z.2f")


def training_memory(network: nn.Module, batch: int = 8) -> tuple[float, float]:
    """MiB that a training step with Adam on frames (batch, 4, 1, 32, 32) holds: (parameters, what backward needs).

    A parameter counts four times: its value, its gradient and Adam's two moments, 4 bytes each. Of a network on the
    `meta` device nothing is computed or stored.
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


def original_networks() -> dict[str, nn.Module]:
    """The original hybrid, and SimVPs of equal width that decode one frame and all four, without their weights."""
    wide: dict[str, Any] = dict(in_shape=(4, 1, 32, 32), hid_S=64, hid_T=512, N_S=4, N_T=8)
    with torch.device("meta"):
        return dict(hybrid=SimVP_RegressionHead(**wide), one_frame=SimVP(out_frames=1, **wide), frames=SimVP(**wide))


def weights() -> pd.DataFrame:
    """Parameters of the original hybrid and SimVPs by part, and the MiB that a training step takes at batch 8."""
    names = dict(hybrid="Hybrid", one_frame="SimVP, one frame decoded", frames="SimVP, four frames decoded")
    parts = dict(enc="encoder", hid="translator", dec="decoder", head="head")
    rows = {}
    for key, network in original_networks().items():
        counted = {name: count_parameters(getattr(network, part, nn.Module())) for part, name in parts.items()}
        rows[names[key]] = counted | {"all": count_parameters(network), "MiB to train": sum(training_memory(network))}
    return pd.DataFrame(rows).T.rename_axis("network")
