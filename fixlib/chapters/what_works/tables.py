"""The table behind chapter 7: everything tried at a task, what it knows, and what it cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fixlib.chapters.how_predictable.runs import BASELINES
from fixlib.chapters.how_predictable.tables import transformer
from fixlib.chapters.hybrid_regression.tables import of_its_size
from fixlib.chapters.loss_comparison import tables as losses
from fixlib.plots import in_text, interval, name_of
from fixlib.runs.store import Run
from fixlib.runs.study import difference, facts, predictor_of, px_difference, px_of, recorded, value

SEEDS = (0, 1, 2)
DIFFERENCE = "px − hold, then prior"
WRITTEN = {"training windows": ",.0f", "parameters": ",.0f", "bits": ".2f", "average precision": ".3f"}
BEST = {"bits": "max", "average precision": "max"}


def ten_ahead() -> dict[str, list[Run]]:
    """Every predictor tried at ten frames in, ten out, every 100 ms; by its label, the runs of its seeds."""
    original, small = losses.record(), recorded("loss_comparison", "osie", "quick", losses=losses.EVERY_LOSS)
    found = _counted_and_density("10to10")
    found[name_of("density_transformer")] = transformer()
    found["Hold, then the prior, all windows"] = found["Hold, then the prior"]
    found |= {name_of(name): original.runs_of(name) for name in BASELINES[:2]}  # as in the book's first table
    found |= {f"SimVP, {in_text(name)}": original.runs_of(name) for name in losses.EVERY_LOSS}
    found |= _at_its_best("osie")
    found |= {f"Small SimVP, {in_text(name)}": small.runs_of(name) for name in losses.EVERY_LOSS}
    found |= {f"Small SimVP, {name}": runs for name, runs in targets().items()}
    changed = recorded("confounds", "osie", "quick", parts=("newest", "density"))
    for variant in changed.variants():
        change, _, name = variant.partition(".")
        said = dict(newest="skip from the newest", density="of a density")[change]
        found[f"Small SimVP, {in_text(name)}, {said}"] = changed.runs_of(variant)
    return found


def targets() -> dict[str, list[Run]]:
    """The small SimVP with other targets and other heads, by label; the first is the usual one with a softmax."""
    usual, found = recorded("loss_comparison", "osie", "quick", SEEDS, losses=("softmax_cross_entropy",)), {}
    others = recorded("targets", "osie", "quick", SEEDS)
    for runs in (study.runs_of(name) for study in (usual, others) for name in study.variants(trained=True)):
        config, label = runs[0].spec.config, in_text(predictor_of(runs[0]))
        label += ", displacement" if config.model.options.get("target") == "displacement" else ""
        label += ", prior bias" if config.model.options.get("prior_probability") else ""
        label += f", Gaussian of {config.training.sigma:g} px" if config.training.sigma else ""
        found[label] = runs
    return found


def softer(tried: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """The scores of `targets`, and their paired differences from the first, as text."""
    usual, rows = next(iter(tried.values())), {}
    for name, runs in tried.items():
        alone, known = runs is usual, "bits" in runs[0].metrics
        rows[name] = {
            "average precision": value(runs, "average_precision"),
            "bits": value(runs, "bits"),
            "bits − softmax": interval(difference(runs, usual, "bits")) if known and not alone else "–",
            "px": value(runs, px_of(runs)),
            "px − softmax": "–" if alone else interval(px_difference(runs, usual)),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("small SimVP")


def calibrated(tried: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """How the maps of each network's first seed were made densities, and their bits before and after."""
    rows = {}
    for name, (run, *_) in tried.items():
        if "calibration" in run.payload:
            before = value([run], "information_gain_uniform")
            rows[name] = run.payload["calibration"] | {"bits before": before, "bits": value([run], "bits")}
    columns = ["temperature", "share", "bits before", "bits"]
    return pd.DataFrame.from_dict(rows, orient="index")[columns].rename_axis("predictor").sort_values("bits")


def thresholds(tried: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """F1 of each predictor at 0.5, and its highest on the test windows, with the threshold, or its range over seeds."""
    rows = {}
    for name, runs in tried.items():
        at = sorted({f"{run.metrics['best_f1_threshold']['value']:.2g}" for run in runs}, key=float)
        where = at[0] if len(at) == 1 else f"{at[0]} to {at[-1]}"
        rows[name] = [value(runs, "f1_score"), value(runs, "best_f1"), where]
    columns = ["F1 at 0.5", "highest F1", "at the threshold"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("predictor")


def of_single_pixels() -> pd.DataFrame:
    """Losses that judge each pixel by itself, as usual and with more weight on white pixels; 4 frames in, one out."""
    labels = {
        "focal": "Focal",
        "focal_prior": "Focal, prior bias",
        "focal_alpha_0.75": "Focal, alpha 0.75",
        "mse": "MSE",
        "mse_prior": "MSE, prior bias",
        "bce": "BCE",
        "weighted_mse_10": "Weighted MSE, weight 10",
        "weighted_mse": "Weighted MSE, weight 100",
        "weighted_mse_1023": "Weighted MSE, weight 1023",
        "softmax_cross_entropy": "Softmax over the pixels",
    }
    metrics = {"average precision": "average_precision", "recall at 0.5": "white_pixel_recall", "highest F1": "best_f1"}
    study = recorded("loss_ablations", "osie", "quick")
    rows = {label: [value(study.runs_of(name), m) for m in metrics.values()] for name, label in labels.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(metrics)).rename_axis("loss")


def one_ahead() -> dict[str, list[Run]]:
    """The same at four fixations in, the next one out. Marked * where the input is finer than a pixel."""
    original = recorded("hybrid_regression", "osie", "paper", SEEDS, framings=("fixations",), networks=("hybrid_l1",))
    found = _counted_and_density("4to1_fixations")
    found["Repeat last point, sub-pixel *"] = original.runs_of("repeat_last_subpixel.fixations")
    found["Hybrid, L1"] = original.runs_of("hybrid_l1.fixations")
    frames = of_its_size()
    for variant in frames.variants(rate_hz=None, trained=True):
        found[f"SimVP, {in_text(predictor_of(frames.run(variant)))}"] = frames.runs_of(variant)
    small = recorded("hybrid_regression", "osie", "quick", framings=("fixations",))
    for variant in small.variants(trained=True, model="simvp"):
        loss = facts(small.run(variant))["loss"]
        found[f"Small SimVP, {in_text(loss)}"] = small.runs_of(variant)
    for loss in ("l1", "mse"):
        found[f"Small hybrid, {loss.upper()}"] = small.runs_of(f"hybrid_{loss}.fixations")
    soft = recorded("hybrid_regression", "osie", "quick", SEEDS, framings=("fixations",), networks=("soft_argmax",))
    found["Small SimVP, soft-argmax"] = soft.runs_of("soft_argmax.fixations")
    changed = recorded("confounds", "osie", "quick", SEEDS, parts=("points",))
    found["Small hybrid, L1, displacement"] = changed.runs_of("hybrid.displacement.fixations")
    for given, mark in (("pixels", ""), ("points", ", sub-pixel *")):
        for target in ("position", "displacement"):
            found[f"GRU, L1, {target}{mark}"] = changed.runs_of(f"gru.{given}.{target}.fixations")
    return found


def _counted_and_density(task: str, dataset: str = "osie") -> dict[str, list[Run]]:
    study = recorded("how_predictable", dataset, "quick", SEEDS, tasks=(task,), networks=("gru",))
    found = {name_of(name): study.runs_of(f"{name}.{task}") for name in BASELINES}
    return found | {name_of("density_gru"): study.runs_of(f"gru.{task}")}


def confirmed(dataset: str) -> dict[str, list[Run]]:
    """The recipe, fixed on OSIE, ten frames ahead on a dataset; by label, the runs of as many seeds as are recorded."""
    found, gru = _counted_and_density("10to10", dataset), name_of("density_gru")
    density = found.pop(gru)
    return found | _at_its_best(dataset) | {gru: density}


def confirmed_one_ahead(dataset: str) -> dict[str, list[Run]]:
    """The same one fixation ahead, beside the networks that give a point. Labels as in `one_ahead`."""
    points = recorded("hybrid_regression", dataset, "quick", framings=("fixations",), networks=("hybrid_l1", "gru_l1"))
    found = _counted_and_density("4to1_fixations", dataset)
    found["Small hybrid, L1"] = points.runs_of("hybrid_l1.fixations")
    return found | {"GRU, L1, position, sub-pixel *": points.runs_of("gru_l1.fixations")}


def _at_its_best(dataset: str) -> dict[str, list[Run]]:
    tuned = losses.tuned(dataset)
    return {f"Small SimVP, {in_text(name)}, {losses.at_its_best(runs)}": runs for name, runs in tuned.items()}


def costs(tried: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """A row per predictor, closest to gaze first; means over its seeds. See `WRITTEN`, `BEST`."""
    reference = tried["Hold, then the prior"]
    apart = {name: px_difference(runs, reference) for name, runs in tried.items()}
    rows = {name: _row(tried[name]) for name in sorted(apart, key=lambda name: apart[name]["value"])}
    found = pd.DataFrame.from_dict(rows, orient="index").rename_axis("predictor")
    own = {name for name, runs in tried.items() if runs[0].spec == reference[0].spec}
    return found.assign(**{DIFFERENCE: ["–" if name in own else interval(apart[name], "+z.2f") for name in rows]})


def _row(runs: Sequence[Run]) -> dict[str, Any]:
    return {
        "training windows": runs[0].payload["windows"]["train"],
        "parameters": runs[0].payload.get("parameters", np.nan),
        "seconds": seconds(runs),
        "bits": value(runs, "bits"),
        "average precision": value(runs, "average_precision"),
    }


def seconds(runs: Sequence[Run]) -> str:
    """What a run took, in words: the median on a CPU, to two digits; on a GPU, and said so, where there is no other."""
    cpu = [run.payload["seconds"] for run in runs if run.payload["environment"]["device"] == "cpu"]
    took = float(np.median(cpu or [run.payload["seconds"] for run in runs]))
    return ("< 1" if took < 1 else f"{float(f'{took:.2g}'):,.0f}") + ("" if cpu else " (GPU)")
