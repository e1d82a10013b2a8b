"""How often each mistake in own recordings is noticed, on random subsets of OSIE with the mistake put in."""

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from fixlib.data import open_scanpaths, read_recordings

SIZES = {"1 viewer x 5 pictures": (1, 5, 200), "3 x 20": (3, 20, 200), "15 x 100": (15, 100, 40)}  # and draws
SCREEN = (800, 600)


def _scaled(**columns: tuple[float, float]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda table: table.assign(**{name: table[name] * a + b for name, (a, b) in columns.items()})


def _both_eyes(table: pd.DataFrame) -> pd.DataFrame:
    both = pd.concat([table, table.assign(x=table["x"] + 5, onset=table["onset"] + 4)])
    return both.sort_values(["subject", "stimulus", "onset"])


MISTAKES: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], tuple[int, int]]] = {
    "none": (_scaled(), SCREEN),
    "x and y swapped": (lambda table: table.rename(columns=dict(x="y", y="x")), SCREEN),
    "y up": (_scaled(y=(-1, 600)), SCREEN),
    "origin in the middle": (_scaled(x=(1, -400), y=(1, -300)), SCREEN),
    "0 to 1": (_scaled(x=(1 / 800, 0), y=(1 / 600, 0)), SCREEN),
    "-1 to 1": (_scaled(x=(1 / 400, -1), y=(1 / 300, -1)), SCREEN),
    "degrees": (_scaled(x=(1 / 25, -16), y=(1 / 25, -12)), SCREEN),
    "screen given half as large": (_scaled(), (400, 300)),
    "screen given twice as large": (_scaled(), (1600, 1200)),
    "picture 800 x 600 on 1280 x 1024": (_scaled(x=(1, 240), y=(1, 212)), (1280, 1024)),
    "picture 800 x 600 on 1024 x 768": (_scaled(x=(1, 112), y=(1, 84)), (1024, 768)),
    "s for ms": (_scaled(duration=(1e-3, 0), onset=(1e-3, 0)), SCREEN),
    "us for ms": (_scaled(duration=(1e3, 0), onset=(1e3, 0)), SCREEN),
    "onsets in s, durations in ms": (_scaled(onset=(1e-3, 0)), SCREEN),
    "both eyes in one table": (_both_eyes, SCREEN),
}


def run(quick: bool, threads: int, dataset: str) -> Iterable[dict]:
    """Shares of draws that stop, and (of y) that have the note."""
    everything = open_scanpaths("osie").fixations
    everything = everything.assign(
        x=everything["x"] * 25, y=everything["y"] * 18.75, duration=everything["duration_ms"]
    )
    onset = everything.groupby("scanpath")["duration"].cumsum() - everything["duration"] + 30 * everything["order"]
    everything = everything.assign(onset=onset)[["subject", "stimulus", "x", "y", "duration", "onset"]]
    for mistake, (change, screen) in MISTAKES.items():
        row: dict = dict(mistake=mistake)
        for size, (viewers, pictures, draws) in SIZES.items():
            stopped = noted = 0
            for seed in range(draws // 10 if quick else draws):
                rng = np.random.default_rng(seed)
                who, what = rng.choice(15, viewers, replace=False), rng.choice(700, pictures, replace=False)
                part = everything[everything["subject"].isin(who) & everything["stimulus"].isin(what)]
                reading = read_recordings(change(part), "osie_with_a_mistake", screen=screen)
                stopped += bool(reading.findings)
                noted += "is y up?" in reading.report
            row |= {size: f"{stopped / (seed + 1):.0%} ({noted / (seed + 1):.0%})"}
        yield row
