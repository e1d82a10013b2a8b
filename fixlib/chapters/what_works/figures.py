"""The drawing of chapter 7."""

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from fixlib.plots import BASELINE_COLOR, BLUE, arrow, figure

# Where each question stands, and each answer: its condition, then what to do.
QUESTIONS = {
    "Score first:\nrepeat,\nhold, then the prior,\na table made\nby counting": (0.0, 2.0),
    "How many\nevents can a\nframe hold?": (2.6, 2.0),
    "One.\nWhat do you\nscore?": (4.9, 2.5),
}
ANSWERS = {
    "Probability, bits, ranking": "Density model, or softmax over the pixels.\nAnswer with the whole map.",
    "Hits": "The same. Answer with the brightest pixel.",
    "Distance, the event mostly moves": "The same, with the geometric median. If a point\n"
    "is all you need: a displacement, trained with L1.",
    "Distance, the event mostly stays": "Repeat the last pixel.",
    "Several. Not measured in this book": "BCE or focal loss, started at the events' rate.\n"
    "Threshold from validation windows.",
}


@figure("07_decision")
def decision() -> Figure:
    """What to use, by how many events a frame can hold and what is scored."""
    drawn, axes = plt.subplots(figsize=(10.2, 4.4))
    box = dict(boxstyle="round,pad=0.5", facecolor="#EAF1F8", edgecolor=BLUE)
    (start, how_many, what), left = QUESTIONS.values(), 7.2
    for text, (x, y) in QUESTIONS.items():
        axes.text(x, y, text, ha="center", va="center", fontsize=10, bbox=box, zorder=2)
    for row, (condition, answer) in enumerate(ANSWERS.items()):
        y, several = 4 - row, row == len(ANSWERS) - 1
        axes.text(left, y + 0.08, condition, weight="bold", fontsize=9, va="bottom")
        axes.text(left, y, answer, fontsize=9, va="top", color=BASELINE_COLOR if several else "black")
        arrow(axes, how_many if several else what, (left - 0.1, y))
    arrow(axes, start, (how_many[0] - 0.68, how_many[1]))
    arrow(axes, how_many, (what[0] - 0.68, what[1]))
    axes.set(xlim=(-1.0, 11.6), ylim=(-0.7, 4.6))
    axes.set_axis_off()
    return drawn
