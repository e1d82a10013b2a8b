"""What all figures share: the style sheet, names and colours, the note of where the data come from."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fixlib.plots import book_style  # noqa: F401

# Okabe and Ito's colours and one of Tol's, one a predictor, the same in every figure.
COLOURS = {
    "mse": "#000000",
    "focal": "#0072B2",
    "sparsity": "#999999",
    "concentration": "#CC79A7",
    "composite": "#56B4E9",
    "dice": "#009E73",
    "dice_smooth_1": "#009E73",
    "weighted_mse": "#D55E00",
    "softmax_cross_entropy": "#882255",
    "hybrid_l1": "#0072B2",
    "hybrid_mse": "#56B4E9",
    "frames_composite": "#CC79A7",
    "frames_weighted_mse": "#D55E00",
    "frames_mse": "#000000",
    "frames_softmax_cross_entropy": "#882255",
    "frames_dice": "#009E73",
    "gru_l1": "#009E73",
}
BASELINE_COLOUR = "#777777"
# What follows the dot in a variant NAME.FRAMING.
FRAMING_TITLES = {"fixations": "One frame a fixation", "10hz": "One frame every 100 ms"}
NAMES = {
    "mse": "MSE",
    "focal": "Focal",
    "sparsity": "Sparsity (MSE + L1)",
    "concentration": "Concentration",
    "composite": "Composite",
    "dice": "Dice",
    "dice_smooth_1": "Dice, smooth 1",
    "weighted_mse": "Weighted MSE",
    "bce": "BCE",
    "softmax_cross_entropy": "Softmax cross-entropy",
    "tversky": "Tversky",
    "focal_tversky": "Focal Tversky",
    "hybrid_l1": "Hybrid, L1",
    "hybrid_l1_narrow": "Hybrid, L1, narrow",
    "hybrid_mse": "Hybrid, MSE",
    "frames_composite": "Frames, composite",
    "frames_weighted_mse": "Frames, weighted MSE",
    "frames_mse": "Frames, MSE",
    "gru_l1": "GRU on points, L1",
    "black": "All black",
    "repeat_last": "Repeat last point",
    "centre": "Centre",
    "training_mean": "Training mean",
    "training_median": "Training median",
    "constant_velocity": "Constant velocity",
    "centre_bias": "Centre bias (density)",
    "transition_table": "Transition table",
}


def framings_of(study) -> list[str]:
    """The framings that the study's variants name."""
    return list(dict.fromkeys(name.partition(".")[2] for name in study.variants()))


def name_of(variant: str) -> str:
    """The name of a predictor for readers; what follows a dot (its framing) is left out."""
    variant = variant.partition(".")[0]
    return NAMES.get(variant, variant)


def colour_of(variant: str) -> str:
    """The colour of a predictor; baselines share a grey."""
    return COLOURS.get(variant.partition(".")[0], BASELINE_COLOUR)


def stamp(figure: Figure, label: str, simulated: bool) -> Figure:
    """Say in the figure's corner whose gaze it shows; in red capitals where it is nobody's."""
    figure.supxlabel(
        label.upper() if simulated else f"Data: {label}",
        x=0.99,
        ha="right",
        fontsize=8,
        color="#C00000" if simulated else "#777777",
        weight="bold" if simulated else "normal",
    )
    return figure


def stamp_study(figure: Figure, study) -> Figure:
    """`stamp` with the data of a study."""
    return stamp(figure, study.label, study.simulated)


def image_axes(axes: Axes, title: str = "") -> Axes:
    """Axes for a 32x32 picture: no ticks, a thin frame."""
    axes.set(xticks=[], yticks=[], title=title)
    for side in axes.spines.values():
        side.set(visible=True, linewidth=0.5, color="#777777")
    return axes
