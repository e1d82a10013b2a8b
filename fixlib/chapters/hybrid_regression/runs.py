"""Chapter 6: regress the next point's (x, y) with a SimVP encoder and an MLP, or predict its frame (4 in, 1 out)."""

from collections.abc import Sequence

from fixlib import system
from fixlib.chapters.loss_comparison.runs import FURTHER_LOSSES, LOSSES
from fixlib.registry import Registry
from fixlib.runs.config import Config, Loss, Model, Profile, RunSpec, get_profile, make_spec
from fixlib.system import atomic_write

NAME = "hybrid_regression"
N_IN, N_OUT = 4, 1
# One fixation a frame (None), or the gaze every 100 ms.
FRAMINGS: Registry[float | None] = Registry("framing", {"fixations": None, "10hz": 10.0})
# What needs no network, as predictors of points.
POINT_BASELINES = (
    *("repeat_last", "repeat_last_subpixel", "centre", "training_mean", "training_median", "hold_then_prior"),
    *("constant_velocity", "centre_bias", "transition_table", "displacement_table", "dwell_table", "return_table"),
)


def networks_of(size: Profile) -> dict[str, tuple[Model, Loss]]:
    """The networks compared: the hybrid with L1 (the claim) and with MSE, frame prediction, and a small GRU."""
    return {
        "hybrid_l1": (size.hybrid, Loss("l1")),
        "hybrid_mse": (size.hybrid, Loss("l2")),
        **{f"frames_{name}": (size.frames, Loss(name, LOSSES[name])) for name in ("composite", "weighted_mse", "mse")},
        "gru_l1": (Model("gru", dict(hidden=64)), Loss("l1")),
    }


def further_networks(size: Profile) -> dict[str, tuple[Model, Loss]]:
    """Compared with them where asked for: the hybrid with a translator as narrow as that of frame prediction; a point
    that is read off a frame, without an MLP; and frame prediction with two more losses.
    """
    return {
        "hybrid_l1_narrow": (Model("regression", size.simvp), Loss("l1")),
        "soft_argmax": (Model("soft_argmax", size.simvp), Loss("l1")),
        "frames_dice": (size.frames, Loss("dice", LOSSES["dice"])),
        "frames_softmax_cross_entropy": (size.frames, FURTHER_LOSSES["softmax_cross_entropy"]),
    }


def specs(
    dataset: str,
    profile: str,
    seeds: Sequence[int] = (0,),
    framings: Sequence[str] = tuple(FRAMINGS),
    networks: Sequence[str] = (),
) -> list[RunSpec]:
    """One run a network, framing and seed, and one a baseline and framing; variants read NAME.FRAMING.

    `networks`: keys of `networks_of` or `further_networks`; none for all of the former.
    """
    size, found = get_profile(profile), []
    every = networks_of(size)
    known = Registry("network", every | further_networks(size))
    for framing in framings:
        where = size.data(dataset, rate_hz=FRAMINGS[framing], n_in=N_IN, n_out=N_OUT, stride=N_IN + N_OUT)
        for name in networks or every:
            config = Config(where, *known[name], size.training)
            found += [make_spec(NAME, f"{name}.{framing}", size, seed, config) for seed in seeds]
        for name in POINT_BASELINES:
            config = Config(where, Model(name, dict(as_frames=False)))
            found.append(make_spec(NAME, f"{name}.{framing}", size, 0, config))
    return found


def finish(study) -> None:
    """Write logs/final_results.txt, as the original experiment did: every predictor's error, best first."""
    frame = study.frame()
    errors = frame[frame["metric"].isin(("error", "error_argmax", "error_mean", "error_median"))]
    title = "Mean pixel error (L2, px) of the next point on the test windows, with its 95% interval"
    lines = [study.notice, "", title, ""] + [
        f"{row.variant:32s} seed {row.seed}  {row.metric:14s} {row.value:6.2f}  [{row.low:.2f}, {row.high:.2f}]"
        for row in errors.sort_values("value").itertuples()
    ]
    with atomic_write(system.root() / "logs" / "final_results.txt") as file:
        file.write(("\n".join(lines) + "\n").encode())
