"""What was read of recordings of one's own, and how it was understood: the report and the picture."""

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fixlib.data.datasets import PREPARED_SIZE
from fixlib.data.gaze import DataFileError
from fixlib.data.readers import TIMES, UNITS
from fixlib.data.recordings import Recordings, Scanpaths

ROLES = ("x", "y", *TIMES, "subject", "stimulus", "trial", "eye", "confidence")
UNIT_NAMES = ("px", "px:centre", "fraction", "norm", "height", "degrees:WxH")


@dataclass(frozen=True)
class Said:
    """What the user says, of what no file does or of what is otherwise understood."""

    screen: tuple[float, ...] | None = None  # px
    picture: tuple[float, ...] | None = None  # px of the screen: left, top, width, height
    columns: dict[str, str] = field(default_factory=dict)
    unit: str = ""
    y_up: bool | None = None
    time: str = ""
    eye: str = ""

    def __post_init__(self) -> None:
        one_of("unit", re.sub(r"^degrees:[\d.]+x[\d.]+$", "degrees:WxH", self.unit), UNIT_NAMES)
        one_of("time", self.time, UNITS)
        one_of("eye", self.eye, ("left", "right"))
        for role in self.columns:
            one_of("columns:", role, ROLES)


class Unsettled(DataFileError):
    """Something is not clear or looks wrong; each finding names the option that settles it.

    Attributes:
        reading: what was understood so far.
    """

    def __init__(self, reading: "Reading") -> None:
        super().__init__("\n".join(reading.findings))
        self.reading = reading


@dataclass
class Reading:
    """What was read, and how it was understood; a notebook shows the report and the picture."""

    name: str  # of the dataset
    said: Said
    findings: list[str] = field(default_factory=list)  # what stops it, each with the option that settles it
    notes: list[str] = field(default_factory=list)  # what else to know
    scanpaths: Scanpaths | None = None  # the fixations, if there are any
    recordings: Recordings | None = None  # the samples, if there are any
    names: pd.DataFrame = field(default_factory=pd.DataFrame)  # which number stands for which viewer and picture
    folder: Path | None = None  # where it is prepared, if it is
    lines: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)  # sha256
    placed: pd.DataFrame = field(default_factory=pd.DataFrame)  # x, y of everything, as shares of the picture
    images: Path | None = None

    @property
    def fixations(self) -> pd.DataFrame | None:
        """The table of fixations, px of the grid."""
        return None if self.scanpaths is None else self.scanpaths.fixations

    @property
    def samples(self) -> tuple[np.ndarray, ...] | None:
        """The samples of each recording."""
        return None if self.recordings is None else self.recordings.samples

    @property
    def report(self) -> str:
        """How it was understood, in words."""
        lines = [*self.lines, *(f"Note: {note}" for note in self.notes), *(f"STOP: {each}" for each in self.findings)]
        return "\n".join(lines) + "\n"

    def _ipython_display_(self) -> None:
        from IPython.display import Image, display

        print(self.report, end="")
        if len(self.placed):
            display(Image(self.picture(), alt=f"gaze of {self.name}: {self.picture.__doc__}"))

    def picture(self) -> bytes:
        """A .png of four panels: all gaze and the picture's frame; one scanpath; the map; durations (or speeds)."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(10, 8), layout="constrained")
        every, path, heat, times = figure.subplots(2, 2).ravel()
        shares = self.placed.iloc[:: max(1, len(self.placed) // 5000)]
        every.plot(shares["x"], shares["y"], ".", ms=2, alpha=0.4)
        every.plot([0, 1, 1, 0, 0], [0, 0, 1, 1, 0], "k-", lw=1)
        spread = np.clip(np.array(every.axis()), -1, 2)
        every.set(title="All gaze; the frame is the picture", xlim=spread[:2], ylim=(spread[3], spread[2]))
        longest = self.placed["trial"].value_counts().index[0]
        one = self.placed[self.placed["trial"] == longest].iloc[:2000]
        if (image := self._image(str(one["stimulus"].iloc[0]))) is not None:
            path.imshow(image, extent=(0, 1, 1, 0), aspect="auto")
        path.plot(one["x"], one["y"], "o-", ms=4, lw=0.8, color="#D55E00")
        for number, (x, y) in enumerate(one[["x", "y"]].to_numpy() if len(one) <= 50 else (), 1):
            path.annotate(str(number), (x, y), (3, 3), textcoords="offset points", fontsize=7)
        path.set(title=f"One trial: {one['stimulus'].iloc[0]!s:.40}", xlim=(0, 1), ylim=(1, 0))
        inside = self.placed[self.placed[["x", "y"]].ge(0).all(axis=1) & self.placed[["x", "y"]].lt(1).all(axis=1)]
        heat.hist2d(inside["x"], inside["y"], PREPARED_SIZE, range=[[0, 1], [0, 1]], cmap="magma")
        heat.set(title=f"{PREPARED_SIZE} x {PREPARED_SIZE} px", ylim=(1, 0))
        if self.scanpaths is not None:
            times.hist(self.scanpaths.fixations["duration_ms"].clip(upper=1000), 50)
            times.set(title="Durations of fixations (over 1 s: at 1 s)", xlabel="ms")
        else:
            times.hist(self.placed["y"].clip(-0.2, 1.2), 50)
            times.set(title="Height of gaze: 0 is the picture's top", xlabel="share of the picture")
        written = io.BytesIO()
        figure.savefig(written, dpi=80, metadata=dict(Software=None))
        return written.getvalue()

    def _image(self, stimulus: str) -> Any:
        """The picture of that name in the user's folder, if it is there."""
        import matplotlib.image

        found = [file for file in self.images.glob("*") if file.stem == Path(stimulus).stem] if self.images else []
        return matplotlib.image.imread(found[0]) if found else None


def numbers(value: Any, count: int, what: str) -> tuple[float, ...] | None:
    if value is None or value == "":
        return None
    found = re.findall(r"-?\d+(?:\.\d+)?", value) if isinstance(value, str) else list(value)
    numbers = tuple(map(float, found))
    if len(numbers) != count or min(numbers[-2:]) <= 0:
        like = "1280x1024" if count == 2 else "240,212,800,600 (left, top, width, height)"
        raise ValueError(f"{what} {value!r} is not like {like}")
    return numbers


def one_of(option: str, value: str, known: Iterable[str]) -> None:
    if value and value not in known:
        raise ValueError(f"{option} {value!r} is not one of {', '.join(known)}")
