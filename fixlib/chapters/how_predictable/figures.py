"""The larger figures of chapter 5."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from fixlib import plots
from fixlib.chapters.how_predictable.runs import VIEWERS
from fixlib.chapters.how_predictable.tables import IN_WORDS, STEPS, gain
from fixlib.plots import GREY, Row, color_of
from fixlib.runs.study import Study, value

# Beside the others' dots, dashed: predictor -> whose colour, and how it is called.
LINES = {
    "return_table": ("return_table", "return table (history)"),
    "gru": ("density_gru", "GRU (history)"),
    "others_and_history": ("other_viewers", "both"),
}


def what_each_step_adds(record: Mapping[str, Study]) -> Figure:
    """Bits by which the predictors of `STEPS` differ, a panel per task, each with its interval."""
    colors = {"gru": color_of("density_gru"), "others_and_history": color_of("other_viewers")}
    with plots.book_style():
        figure, panels = plt.subplots(1, len(record), figsize=(10, 3.1), sharey=True, sharex=True)
        for axes, task in zip(panels, record):
            rows = [Row(step, colors.get(pair[0], GREY), [gain(task, *pair)]) for step, pair in STEPS.items()]
            plots.dots(axes, rows, written="+.2f")
            axes.axvline(0, color=GREY, lw=1)
            axes.set_title(IN_WORDS[task])
        panels[1].set_xlabel("bits that this adds")
        first = next(iter(record.values()))
        plots.stamp(figure, first.label, first.simulated)
    return figure


def other_viewers(record: Mapping[str, Study]) -> Figure:
    """Bits of the gaze of so many other viewers of the picture, a panel per task, beside what the history knows."""
    with plots.book_style():
        figure, panels = plt.subplots(1, len(record), figsize=(10, 3.4))
        for axes, (task, study) in zip(panels, record.items()):
            alone = [study.run(f"others_{count}.{task}").metrics["bits"] for count in VIEWERS]
            ends = ([found[end] for found in alone] for end in ("low", "high"))
            axes.fill_between(VIEWERS, *ends, color=color_of("other_viewers"), alpha=0.15)
            axes.plot(VIEWERS, [found["value"] for found in alone], "o-", color=color_of("other_viewers"))
            for name, (color, _) in LINES.items():
                bits = value(study.runs_of(f"{name}.{task}"), "bits")
                axes.axhline(bits, color=color_of(color), lw=1, ls="--")
            axes.set(xscale="log", title=IN_WORDS[task], xlabel="other viewers", ylim=(0, 7))
            plots.only_ticks(axes.xaxis, list(VIEWERS))
        panels[0].set_ylabel("bits")
        looks = {"others alone": dict(color=color_of("other_viewers"), marker="o")}
        looks |= {text: dict(color=color_of(color), ls="--") for color, text in LINES.values()}
        plots.legend(figure, looks, loc="outside upper center", ncols=4)
        first = next(iter(record.values()))
        plots.stamp(figure, first.label, first.simulated)
    return figure
