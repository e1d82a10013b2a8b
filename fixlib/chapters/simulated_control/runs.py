"""The control of chapters 4 and 6: networks and baselines on gaze whose best possible prediction is known.

Ten frames in, the next ten out, on `simulated`: every loss, what needs no network, and the optimum that the exact
density allows. Ten frames leave room for it: one frame ahead it is little more than repeating the last one. For chapter
6, the hybrid and a few losses at four frames in and one out, in both framings.
"""

from collections.abc import Sequence
from typing import Any

from fixlib.chapters.hybrid_regression import runs as hybrid_regression
from fixlib.chapters.loss_comparison import runs as loss_comparison
from fixlib.data import Gaze
from fixlib.losses import SoftmaxCrossEntropy, make_loss
from fixlib.metrics import Calibration, Truth, evaluate_density, evaluate_frames, evaluate_points
from fixlib.registry import Registry
from fixlib.runs.config import Config, Loss, Model, RunSpec, get_profile, make_spec
from fixlib.runs.execute import Attempt, center_bias, load_windows, log_weights, run_predictor, seen
from fixlib.runs.store import payload_of
from fixlib.theory.bayes import bayes_logits
from fixlib.theory.forecast import best_points, forecast

NAME = "simulated_control"
LOSSES = {**loss_comparison.LOSSES, "softmax_cross_entropy": {}}
# Besides the best output under each loss: the exact density (most bits) and the point of least expected distance.
EXACT = ("density", "distance")
IDLE = ("repeat_last", "hold_then_prior", "transition_table", "dwell_table")  # what needs no network
TASKS: Registry[dict[str, Any]] = Registry(
    "task",
    {
        "10to10": dict(rate_hz=10.0, n_in=10, n_out=10, stride=10),
        "4to1_10hz": dict(rate_hz=10.0, n_in=4, n_out=1, stride=5),
        "4to1_fixations": dict(rate_hz=None, n_in=4, n_out=1, stride=5),
    },
)
HYBRIDS = ("hybrid_l1", "hybrid_mse")
BESIDE_HYBRID = ("softmax_cross_entropy", "dice", "composite", "weighted_mse")


def specs(
    dataset: str, profile: str, seeds: Sequence[int] = (0,), tasks: Sequence[str] = ("4to1_fixations", "4to1_10hz")
) -> list[RunSpec]:
    """One run a network and seed, one a baseline, and one optimum a loss.

    Variants are called by their loss or baseline, and optimum_LOSSNAME; one frame ahead NAME.FRAMING.

    Args:
        tasks: of `TASKS`: one frame ahead, as chapter 6 shows it; ten frames ahead, with every loss.

    Raises:
        ValueError: a dataset other than `simulated`: no other has a known density.
    """
    if dataset != "simulated":
        raise ValueError(f"the optimum is known on 'simulated' only, not on {dataset!r}")
    size = get_profile(profile)
    found: list[RunSpec] = []
    frames = {name: (size.frames, Loss(name, options)) for name, options in LOSSES.items()}
    beside_hybrid = {f"frames_{name}": frames[name] for name in BESIDE_HYBRID}
    beside_hybrid |= {name: hybrid_regression.networks_of(size)[name] for name in HYBRIDS}
    for task in tasks:
        where = size.data(dataset, **TASKS[task])
        ten_ahead, framing = where.n_out > 1, ".fixations" if where.rate_hz is None else ".10hz"
        networks, suffix = (frames, "") if ten_ahead else (beside_hybrid, framing)
        for name, network in networks.items():
            config = Config(where, *network, size.training)
            found += [make_spec(NAME, name + suffix, size, seed, config) for seed in seeds]
        exact = [loss for model, loss in networks.values() if model == size.frames] + [Loss(name) for name in EXACT]
        alone = {f"optimum_{loss.name}": Config(where, Model("optimum"), loss) for loss in exact}
        alone |= {name: Config(where, Model(name, dict(as_frames=ten_ahead))) for name in IDLE}
        found += [make_spec(NAME, name + suffix, size, 0, config) for name, config in alone.items()]
    return found


def run(spec: RunSpec, attempt: Attempt) -> dict:
    """Train a network, score a baseline, or compute what the exact density allows."""
    if spec.config.model.kind == "optimum":
        return _optimum(spec.config, load_windows(spec.config.data))
    return run_predictor(spec, attempt)


def _optimum(config: Config, windows: dict[str, Gaze]) -> dict:
    """What is recorded of the optimum on the test windows; its bits are those of a network with that output."""
    where, name, truth = config.data, config.loss.name, Truth.of(windows["test"], config.data.n_in)
    known = forecast(windows["test"], where.n_in, where.n_out, where.stride)
    log_density = known.log_density()
    if name == "distance":
        return payload_of(evaluate_points(best_points(known), truth)) | seen(windows)
    prior = center_bias(where, windows)
    if name == "density":
        return payload_of(evaluate_density(log_density, truth, prior.log().float())) | seen(windows)
    loss: Any = make_loss(name, **config.loss.options)
    logits = bayes_logits(loss, log_density)
    if isinstance(loss, SoftmaxCrossEntropy):  # its best output is the density itself, and is scored as one
        scored = evaluate_density(log_density, truth)
    else:
        before = forecast(windows["val"], where.n_in, where.n_out, where.stride).log_density()
        maps_before, maps = (log_weights(loss, found.float()) for found in (bayes_logits(loss, before), logits))
        calibration = Calibration(maps_before, Truth.of(windows["val"], where.n_in), prior)
        scored = evaluate_frames(logits.float(), truth, calibration.log_density(maps))
    return payload_of(scored) | dict(test_loss=float(loss(logits, truth.frames(where.size).double()))) | seen(windows)
