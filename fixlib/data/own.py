"""Recordings of one's own: exports of an eye tracker become a dataset, and a report says how they were understood.

Nothing is asked and nothing forced: what is not clear stops, and names the option that settles it.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from fixlib import system
from fixlib.data.datasets import DATASETS, PREPARED_SIZE
from fixlib.data.gaze import PARTS, DataFileError, Gaze, Source
from fixlib.data.readers import FORMATS, PICTURE, TIMES, UNITS, File, Table, TableFormat, collect
from fixlib.data.recordings import Recordings, Scanpaths, cut_by_time, deal
from fixlib.data.velocity import THRESHOLD, fixations_by_velocity

RATE_HZ = 10.0
WINDOW = 20  # frames, 10 in and 10 out
LONGEST_MS = 4 * 3600 * 1000.0  # of a trial: longer ones are in another unit, or no trials
MOST_CELLS = 5_000_000  # trials x frames of the longest, which is how they are kept
FEWEST_HZ, DETECTED_HZ, SURE_HZ = 10, 60, 100  # for frames; for fixations; without a warning
MOST_LOST = 0.2  # of samples, for fixations
NO_PICTURE = ("no media", "calibration", "recalibration", "eyetracker calibration")  # Tobii's, between pictures


ROLES = ("x", "y", *TIMES, "subject", "stimulus", "trial", "eye", "confidence")
UNIT_NAMES = ("px", "px:centre", "fraction", "norm", "height", "degrees")
SHARES = dict(subject=(8 / 15, 3 / 15, 4 / 15), stimulus=(0.6, 0.15, 0.25))  # of train, val and test, as OSIE's


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
        _one_of("unit", re.sub(r"(?<=^degrees):[\d.]+x[\d.]+$", "", self.unit), UNIT_NAMES)
        _one_of("time", self.time, UNITS)
        _one_of("eye", self.eye, ("left", "right"))
        for role in self.columns:
            _one_of("columns:", role, ROLES)


class Unsettled(DataFileError):
    """Something is not clear or looks wrong; each finding names the option that settles it.

    Attributes:
        reading: what was understood so far.
    """

    def __init__(self, reading: Reading) -> None:
        super().__init__("\n".join(reading.findings))
        self.reading = reading


@dataclass
class Reading:
    """What was read, and how it was understood; a notebook shows the report and the picture.

    Attributes:
        name: of the dataset.
        said: what the user said.
        findings: what stops it, each with the option that settles it.
        notes: what else to know.
        scanpaths: the fixations, or None.
        recordings: the samples, or None.
        names: a table of what number stands for which viewer and picture.
        folder: where it is prepared, or None.
    """

    name: str
    said: Said
    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    scanpaths: Scanpaths | None = None
    recordings: Recordings | None = None
    names: pd.DataFrame = field(default_factory=pd.DataFrame)
    folder: Path | None = None
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

    def _repr_html_(self) -> str:
        shown = f"<pre>{html.escape(self.report)}</pre>"
        if len(self.placed):
            shown += f'<img alt="gaze of {html.escape(self.name)}" src="data:image/png;base64,'
            shown += f'{base64.b64encode(self.picture()).decode()}">'
        return shown

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


def read_recordings(
    files: Any,
    name: str = "",
    *,
    screen: Any = None,
    picture: Any = None,
    columns: str | dict[str, str] = "",
    unit: str = "",
    y_up: bool | None = None,
    time: str = "",
    eye: str = "",
    images: Path | str | None = None,
) -> Reading:
    """Reads an eye tracker's exports; writes nothing. What stops is in the reading's `findings`.

    Args:
        files: of one format: a path, folder, pattern or .zip, several of them, or a data frame.
        name: of the dataset; that of the files' folder where not given.
        screen: (width, height) px, or "1280x1024"; where the files do not say it.
        picture: (left, top, width, height) px of the screen, or "240,212,800,600"; the whole screen where not given.
        columns: "x=gx,y=gy,duration=dur,onset=t:s,subject=who,stimulus=img,trial=nr"; "subject=@file", or a pattern
            "subject=@{subject}_{stimulus}.csv" for what the files' names say.
        unit: of positions: "px", "px:centre", "fraction", "norm" (-1 to 1), "height", "degrees:36x27" (the screen's).
        y_up: y grows upwards.
        time: "s", "ms", "us" or "ns", where neither a column's name nor the format tells it.
        eye: "left" or "right"; of both, the one with more fixations where not given.
        images: folder of the pictures, to draw gaze on one.

    Raises:
        DataFileError: a file that cannot be read.
        FileNotFoundError: there is no such file.
        ValueError: an option that makes no sense.
    """
    size, place = _numbers(screen, 2, "screen"), _numbers(picture, 4, "picture")
    said = Said(size, place, _columns(columns), unit, y_up, time, eye)
    with tempfile.TemporaryDirectory() as scratch:
        if isinstance(files, pd.DataFrame):
            table = Path(scratch) / f"{name or 'table'}.csv"
            files.to_csv(table, index=False)
            files = table
        given = [files] if isinstance(files, str | Path) else list(files)
        reading = Reading(_name(name, given), said, images=Path(images) if images else None)
        try:
            _read(collect(given, Path(scratch)), reading)
        except ValueError as error:
            raise error if isinstance(error, DataFileError) else DataFileError(str(error)) from error
    return reading


def prepare_recordings(
    files: Any, name: str = "", *, split: str = "", out: Path | str | None = None, look: bool = False, **said: Any
) -> Reading:
    """Makes a dataset of an eye tracker's exports: a folder `data/NAME` for `fixlib run ... --dataset data/NAME`.

    Args:
        files, name, said: see `read_recordings`.
        split: "both", "viewers", "pictures" or "time"; by how many there are where not given.
        out: the folder to write; `data/NAME` where not given.
        look: read, report and draw `look.png`; write no data.

    Raises:
        Unsettled: something has to be said first; it names the option. Not with `look`.
        Errors of `read_recordings`.
    """
    _one_of("split", split, RULES)
    reading = read_recordings(files, name, **said)
    folder = Path(out).expanduser() if out else system.data_dir() / reading.name
    parts = {} if reading.findings else _split(reading, split)
    if look:
        if len(reading.placed):
            _write(folder / "look.png", reading.picture())
            reading.lines.append(f"Look at {_shown(folder)}/look.png: are faces and text where the points are?")
    elif reading.findings:
        raise Unsettled(reading)
    else:
        reading.folder = _keep(reading, parts, folder)
    return reading


def _numbers(value: Any, count: int, what: str) -> tuple[float, ...] | None:
    if value is None or value == "":
        return None
    found = re.findall(r"-?\d+(?:\.\d+)?", value) if isinstance(value, str) else list(value)
    numbers = tuple(map(float, found))
    if len(numbers) != count or min(numbers[-2:]) <= 0:
        like = "1280x1024" if count == 2 else "240,212,800,600 (left, top, width, height)"
        raise ValueError(f"{what} {value!r} is not like {like}")
    return numbers


def _columns(value: str | dict[str, str]) -> dict[str, str]:
    if isinstance(value, dict):
        return value
    pairs = [part.partition("=") for part in value.split(",") if part]
    if any(not mark for _, mark, _ in pairs):
        raise ValueError(f"columns {value!r} is not like x=gx,y=gy,duration=dur")
    return {key.strip(): column.strip() for key, _, column in pairs}


def _one_of(option: str, value: str, known: Iterable[str]) -> None:
    if value and value not in known:
        raise ValueError(f"{option} {value!r} is not one of {', '.join(known)}")


def _name(name: str, given: Sequence[Any]) -> str:
    first = Path(given[0]).expanduser() if given else Path("lab")
    name = name or re.sub(r"\W+", "_", first.name if first.is_dir() else first.resolve().parent.name)
    if not re.fullmatch(r"[\w-]+", name) or name in DATASETS:
        raise ValueError(f"{name!r} cannot be a dataset's name of your own: choose letters, --name lab")
    return name


def _read(files: list[File], reading: Reading) -> None:
    """Everything up to fixations and samples on the grid; what is in the way becomes findings."""
    tables, unknown = _tables(files, reading)
    if not tables:
        raise DataFileError("\n".join(map(str, unknown[:5])) or "there is no file")
    reading.notes += [f"left aside: {each}" for each in map(str, unknown[:5])]
    if len(unknown) > 5:
        reading.notes.append(f"left aside, too: {len(unknown) - 5} more files")
    rows = _together(tables, reading)
    shares = _placed(rows, tables, reading)
    if shares is not None and not reading.findings:
        rows = _in_ms(rows.assign(x=shares["x"], y=shares["y"]), tables[0], reading)
        _describe(rows, tables, reading)
        if not reading.findings:
            (_fixations if "duration" in rows else _samples)(rows, reading)


def _tables(files: list[File], reading: Reading) -> tuple[list[Table], list[DataFileError]]:
    """Of each file what it holds; where formats differ, those of the one with most fixations (else samples)."""
    found: dict[str, list[Table]] = {}
    unknown: list[DataFileError] = []
    stems = Counter(file.stem for file in files)
    for file in files:
        if file.sha256 in reading.files:
            reading.notes.append(f"{file.name} is the same as a file before it: left out")
            continue
        try:
            table = _table(file, reading.said)
        except DataFileError as error:
            unknown.append(error)
            continue
        except (ValueError, KeyError, IndexError, TypeError, OverflowError) as error:
            unknown.append(DataFileError(f"{file.name} is not as its format says ({type(error).__name__}: {error})"))
            continue
        reading.files.append(file.sha256)
        table.rows["file"] = file.name
        table.rows = _from_name(table.rows, file, reading.said.columns)
        if "subject" not in table.rows:
            table.rows["subject"] = file.stem if stems[file.stem] == 1 else file.name
        found.setdefault(table.format.partition(" (")[0], []).append(table)
    if len(files) - len(unknown) <= 1 and unknown and not found:
        raise unknown[0]
    best = max(
        found.values(), default=[], key=lambda each: ("duration" in each[0].rows, sum(len(t.rows) for t in each))
    )
    for kind, tables in found.items():
        if tables is not best:
            unknown.append(DataFileError(f"{len(tables)} file(s) of {kind}: prepare each format by itself"))
    return best, unknown


def _table(file: File, said: Said) -> Table:
    columns = {role: column for role, column in said.columns.items() if not column.startswith("@")}
    for known in FORMATS.values():
        if known.detect(file):
            return (TableFormat if {"x", "y"} <= columns.keys() and file.grid else known).read(file, columns, said.eye)
    raise DataFileError(f"{file.name} is no table and no format that is known")


def _from_name(rows: pd.DataFrame, file: File, columns: dict[str, str]) -> pd.DataFrame:
    for role, pattern in columns.items():
        if pattern == "@file":
            rows[role] = file.stem
        elif pattern.startswith("@"):
            named = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+?)", re.escape(pattern[1:]))
            match = re.fullmatch(named, "/".join(file.origin.parts[-1 - pattern.count("/") :]))
            if match is None or role not in match.groupdict():
                raise DataFileError(f"{file.name} is not named like {pattern[1:]}")
            rows[role] = match[role]
    return rows


def _together(tables: list[Table], reading: Reading) -> pd.DataFrame:
    """One table, of the rows that count, each with the number of its file's table."""
    for number, table in enumerate(tables):
        table.rows["table"] = number
        reading.notes += [f"{table.rows['file'].iloc[0]}: {note}" for note in table.notes if len(table.rows)]
        if table.stop and table.stop not in reading.findings:
            reading.findings.append(table.stop)
    rows = pd.concat([table.rows for table in tables], ignore_index=True)
    if not len(rows):
        raise DataFileError("there is no fixation and no sample in these files")
    for name in ("subject", "stimulus", "trial"):
        if name in rows:
            rows[name] = rows[name].fillna("").astype(str).str.strip().replace("", "none")
    if "trial" not in rows:
        rows["trial"] = "1" if "stimulus" in rows else rows["file"]
    if "stimulus" not in rows:
        many = rows["trial"].nunique() > 1
        rows["stimulus"] = "trial " + rows["trial"] if many else "all"
        if many:
            reading.notes.append(
                "no column names the picture: each trial's label is taken for one. If the same picture has other "
                "labels, test and training share pictures: --columns stimulus=..."
            )
    between = rows["stimulus"].str.casefold().isin(NO_PICTURE)
    if between.any() and not between.all():
        reading.notes.append(f"{between.sum()} rows between pictures ({rows['stimulus'][between].iloc[0]}): left out")
        rows = rows[~between]
    if "eye" in rows:
        rows = _one_eye(rows, reading)
    for name in ("subject", "stimulus"):
        names = pd.Series(rows[name].unique())
        for _, same in names.groupby(names.str.replace(r"\s", "", regex=True).str.casefold()):
            if len(same) > 1:
                reading.notes.append(f"are {' and '.join(map(repr, same))} the same {name}? They are taken for two")
    return rows.reset_index(drop=True)


def _one_eye(rows: pd.DataFrame, reading: Reading) -> pd.DataFrame:
    """Of each viewer one eye: the one asked for where it was recorded, else the one with more fixations."""
    side = rows["eye"].str.strip().str[:1].str.upper()
    counts = pd.crosstab(rows["subject"], side).reindex(columns=["L", "R"], fill_value=0)
    asked = reading.said.eye[:1].upper()
    chosen = counts.idxmax(axis=1)
    if asked:
        chosen[counts[asked] > 0] = asked
    keep = (side == rows["subject"].map(chosen)) | ~side.isin(["L", "R"])
    if not keep.all():
        kept = ", ".join(f"{number} {side}" for side, number in chosen.value_counts().items())
        reading.notes.append(f"both eyes: one of each viewer is kept ({kept}); {(~keep).sum()} rows left out")
    return rows[keep]


def _sides(unit: str, screen: tuple[Any, Any]) -> tuple[Any, Any, float]:
    """The screen's width and height in a unit, and where its origin is (0: corner, 0.5: middle)."""
    if unit.startswith("degrees:"):
        width, height = _numbers(unit, 2, "unit") or (1.0, 1.0)
        return width, height, 0.5
    return {
        "px": (*screen, 0.0),
        "px:centre": (*screen, 0.5),
        "fraction": (1.0, 1.0, 0.0),
        "norm": (2.0, 2.0, 0.5),
        "height": (screen[0] / screen[1], 1.0, 0.5),
    }[unit]


def _placed(rows: pd.DataFrame, tables: list[Table], reading: Reading) -> pd.DataFrame | None:
    """x, y as shares of the picture, y down; None where it cannot be told, and the findings say why."""
    said, unit = reading.said, reading.said.unit or tables[0].unit or "px"
    values = rows[["x", "y"]].dropna().to_numpy()
    if not len(values):
        raise DataFileError("no position in these files is a number")
    if not (said.unit or "width" in rows or tables[0].mapped):
        reading.findings += _doubts_of_unit(values, unit)
    screen = said.screen or (
        rows["table"].map({number: table.screen[0] if table.screen else np.nan for number, table in enumerate(tables)}),
        rows["table"].map({number: table.screen[1] if table.screen else np.nan for number, table in enumerate(tables)}),
    )
    if not said.screen and {"screen_w", "screen_h"} <= set(rows):
        screen = rows["screen_w"], rows["screen_h"]
    place = {side: rows[side] if side in rows else pd.Series(np.nan, rows.index) for side in PICTURE}
    told = (place["width"] > 0) & (place["height"] > 0)
    place |= {side: place[side].fillna(0.0) for side in ("left", "top")}
    if said.picture:
        place, told = {side: pd.Series(value, rows.index) for side, value in zip(PICTURE, said.picture)}, told | True
    y_up = tables[0].y_up if said.y_up is None else said.y_up
    known = pd.Series(screen[0], rows.index).notna()
    pixels_needed = unit in ("px", "px:centre") or unit == "height" or told.any()
    unplaced = ~known & ((unit != "px") | y_up | ~told) if pixels_needed else known & False
    if unplaced.any() and not reading.findings:
        low, high = np.percentile(values, (0.5, 99.5), axis=0)
        reading.findings.append(
            f"the screen's size is in none of these files, and positions are in {unit} (x from {low[0]:g} to "
            f"{high[0]:g}, y from {low[1]:g} to {high[1]:g}): --screen WxH"
        )
    if reading.findings:
        return None
    wide, high = (pd.Series(side, rows.index).fillna(1.0) for side in screen)
    sides = _sides(unit, (wide, high))
    default = dict(left=0.0, top=0.0, width=wide, height=high)
    place = {side: value.where(told, default[side]) for side, value in place.items()}

    def shares(x: pd.Series, y: pd.Series) -> pd.DataFrame:
        x, y = (x / sides[0] + sides[2]) * wide, (y / sides[1] + sides[2]) * high
        y = high - y if y_up else y
        return pd.DataFrame(dict(x=(x - place["left"]) / place["width"], y=(y - place["top"]) / place["height"]))

    found = shares(rows["x"], rows["y"])
    reading.placed = found.assign(stimulus=rows["stimulus"], trial=rows["subject"] + rows["stimulus"] + rows["trial"])
    swapped = 1.0 if y_up else _outside(shares(rows["y"], rows["x"]))
    surely = bool(said.picture) or tables[0].mapped
    full = f"{float(wide.iloc[0]):g} x {float(high.iloc[0]):g}" if known.all() else "the screen"
    _check_place(found, swapped, surely, bool(told.any()), full, reading)
    direction = "y up: turned over" if y_up else "y down"
    why = "--unit" if said.unit else "by the format" if tables[0].unit else "taken so"
    reading.lines.append(f"  {'unit':<10}{unit} ({why}) of {full}, {direction}")
    if told.any():
        first = tuple(float(value[told].iloc[0]) for value in place.values())
        where = "--picture" if said.picture else "by the file"
        reading.lines.append(f"  {'picture':<10}{first[2]:g} x {first[3]:g} at {first[0]:g}, {first[1]:g} ({where})")
    return found


def _doubts_of_unit(values: np.ndarray, unit: str) -> list[str]:
    size, low, high = np.abs(values).max(axis=1), values.min(axis=0), values.max(axis=0)
    ranges = f"x from {low[0]:g} to {high[0]:g}, y from {low[1]:g} to {high[1]:g}"
    negative = (values < 0).mean(axis=0).max() > 0.15
    if unit in ("px", "px:centre"):
        if (size <= 1.5).mean() >= 0.98:
            which = "from -1 to 1 (--unit norm), or of its height (--unit height)" if negative else ": --unit fraction"
            return [f"positions are small ({ranges}): fractions of the screen{which}? --unit px says that they are px"]
        if (size <= 60).mean() >= 0.98 and (values < 0).any() and negative:
            return [
                f"positions lie around 0 ({ranges}): degrees? Then say how many the screen has: --unit degrees:36x27"
            ]
        if negative and unit == "px":
            return [
                f"a large part of the positions is negative ({ranges}): the origin seems to be the screen's middle, as "
                "PsychoPy's: --unit px:centre (and --y-up, if y grows upwards)"
            ]
    elif unit == "fraction" and np.median(size) > 1.5:
        return [f"positions are not between 0 and 1 ({ranges}), as this format has them: --unit px?"]
    return []


def _outside(shares: pd.DataFrame) -> float:
    shares = shares.dropna()
    return 1 - float((shares.ge(0) & shares.lt(1)).all(axis=1).mean())


def _check_place(shares: pd.DataFrame, swapped: float, surely: bool, told: bool, full: str, reading: Reading) -> None:
    """Whether gaze lies in the picture and fills it."""
    outside, points = _outside(shares), shares.dropna()
    sure = "if all is right as it is, say where the picture was: --picture 0,0,WIDTH,HEIGHT"
    if outside > 0.02 and swapped < outside / 4 and not surely:
        reading.findings.append(
            f"{outside:.1%} of positions are outside of {full}, {swapped:.1%} if x and y change places: "
            f"--columns x=...,y=... the other way round; {sure}"
        )
    elif outside > 0.2 and not (surely or told):
        reading.findings.append(f"{outside:.0%} of positions are outside of {full}: another --screen WxH? {sure}")
    elif outside > 0.2:
        reading.notes.append(f"{outside:.0%} of positions are outside of the picture")
    low, high = np.percentile(points, (0.5, 99.5), axis=0)
    if len(points) >= 100 and (high - low).min() < 0.6 and outside < 0.2 and not (surely or told):
        reading.findings.append(
            f"gaze fills only {high[0] - low[0]:.0%} x {high[1] - low[1]:.0%} of {full} "
            f"({_span(low, high, full)}): if the picture was smaller than the screen, say where: "
            f"--picture LEFT,TOP,WIDTH,HEIGHT; {sure}"
        )
    middle = points[points.ge(0).all(axis=1) & points.lt(1).all(axis=1)].mean()
    reading.notes.append(
        f"{outside:.1%} outside of the picture; inside, gaze is on average {middle['x']:.0%} from the left and "
        f"{middle['y']:.0%} from the top"
        + (
            ". That is low for pictures: is y up? Nothing is turned over by guess: --y-up"
            if middle["y"] > 0.55 and len(points) >= 30
            else ""
        )
    )


def _span(low: np.ndarray, high: np.ndarray, full: str) -> str:
    """From corner to corner, in px where the screen's are known."""
    sides = [float(side) for side in full.split(" x ")] if " x " in full else [1.0, 1.0]
    return "from {:.3g}, {:.3g} to {:.4g}, {:.4g}".format(*(low * sides), *(high * sides))


def _in_ms(rows: pd.DataFrame, table: Table, reading: Reading) -> pd.DataFrame:
    """Times in ms, and whether they can be."""
    said = reading.said
    units = {}
    for name in TIMES:
        named = said.columns.get(name, "").rpartition(":")[2]
        units[name] = named if named in UNITS else said.time or table.time.get(name, "ms")
    rows = rows.assign(**{name: rows[name] * UNITS[units[name]] for name in TIMES if name in rows})
    if "duration" not in rows and {"onset", "end"} <= set(rows):
        rows["duration"] = rows["end"] - rows["onset"]
    trials = rows.groupby(["subject", "stimulus", "trial"], sort=False)
    settle = "--time s, ms, us or ns"
    if "duration" in rows:
        median = rows["duration"].median()
        if not 5 <= median <= 5000:
            reading.findings.append(f"the median fixation would last {median:g} ms: another unit? {settle}")
        elif "onset" in rows:
            if not rows["onset"].notna().any():
                return rows.drop(columns="onset")
            ordered = rows.sort_values("onset", kind="stable").groupby(["subject", "stimulus", "trial"], sort=False)
            step = ordered["onset"].diff()
            past = ordered["duration"].shift()
            ratio = (step / past)[step.notna() & (past > 0)]
            if len(ratio) >= 10 and 0.2 <= (ratio < 0.5).mean() <= 0.8:
                reading.findings.append(
                    f"{(ratio < 0.5).mean():.0%} of fixations begin while the one before still lasts: both eyes "
                    "(--columns eye=COLUMN), or two viewings in one trial (--columns trial=COLUMN)? If neither, leave "
                    "onsets out: --columns onset="
                )
            elif len(ratio) >= 5 and not 0.1 <= ratio.median() <= 30:
                reading.findings.append(
                    "onsets and durations are in different units (from one onset to the next it takes "
                    f"{ratio.median():.2g} of a duration): say it with the column, --columns onset=COLUMN:s, or leave "
                    "onsets out: --columns onset="
                )
    elif "onset" not in rows:
        reading.findings.append(
            "there is neither a duration nor a time: --columns duration=..., or onset=... of samples"
        )
    else:
        step = trials["onset"].diff()
        median = step[step > 0].median()
        if not 0.2 <= median <= 1000:
            reading.findings.append(f"a sample would come every {median:g} ms: another unit? {settle}")
    return rows


def _describe(rows: pd.DataFrame, tables: list[Table], reading: Reading) -> None:
    """What became what, as the report begins."""
    found = tables[0].found
    lines = [f"{len(tables)} file(s), {rows['file'].iloc[0]}{', ...' if len(tables) > 1 else ''}: {tables[0].format}"]
    for role in ("x", "y", "lx", "rx", *TIMES):
        if role in found and role in rows:
            lines.append(f"  {role:<10}{found[role]}")
    if "duration" in rows:
        low, middle, high = rows["duration"].quantile([0.025, 0.5, 0.975])
        lines.append(f"  {'durations':<10}median {middle:.0f} ms, 95% between {low:.0f} and {high:.0f}")
    for role in ("subject", "stimulus"):
        names = sorted(rows[role].unique())
        shown = ", ".join([*names[:2], *(["..."] if len(names) > 3 else []), *names[2:][-1:]])
        source = found.get(role) or ("the files' names" if role == "subject" else "see below")
        lines.append(f"  {role:<10}{source}: {len(names)}: {shown:.200}")
    reading.lines[:0] = lines


def _number_names(rows: pd.DataFrame, reading: Reading) -> pd.DataFrame:
    """Viewers, pictures and trials as numbers; sorted by them, then by time where it is known."""
    for name in ("subject", "stimulus"):
        rows[name], names = pd.factorize(rows[name], sort=True)
        reading.names = pd.concat([reading.names, pd.DataFrame(dict(what=name, number=range(len(names)), name=names))])
    rows["trial"] = pd.factorize(rows["trial"], sort=True)[0]
    order = ["subject", "stimulus", "trial", *(["onset"] if "onset" in rows else [])]
    rows = rows.sort_values(order, kind="stable").reset_index(drop=True)
    rows["scanpath"] = rows.groupby(["subject", "stimulus", "trial"]).ngroup()
    return rows


def _too_long(longest_ms: float, trials: int, reading: Reading) -> bool:
    """Whether frames of the trials would not fit; frames of all are kept as long as the longest."""
    if longest_ms <= LONGEST_MS and trials * longest_ms * RATE_HZ / 1000 <= MOST_CELLS:
        return False
    reading.findings.append(
        f"the longest of {trials} trials lasts {longest_ms / 1000:g} s, too long for frames of all: another unit "
        "(--time ms)? Or is it several trials: --columns trial=..."
    )
    return True


def _source(reading: Reading, *arrays: np.ndarray) -> Source:
    digest = hashlib.sha256()
    for each in arrays:
        digest.update(np.ascontiguousarray(each, dtype=float).tobytes())
    label = f"{reading.name} (own recordings)"
    return Source(reading.name, label, digest.hexdigest(), "private", "none", simulated=False)


def _fixations(rows: pd.DataFrame, reading: Reading) -> None:
    """Fixations as the files tell them."""
    missing, timeless = rows[["x", "y"]].isna().any(axis=1), ~(rows["duration"] > 0)
    reading.lines.append(
        f"{len(rows):,} fixations; left out: {missing.sum()} without a position, {(timeless & ~missing).sum()} without "
        "a duration"
    )
    rows = rows[~missing & ~timeless].copy()
    if not len(rows):
        raise DataFileError("no fixation in these files has both a position and a duration")
    short, long = (rows["duration"] < 20).sum(), (rows["duration"] > 5000).sum()
    if short or long:
        reading.notes.append(f"{short} fixations are shorter than 20 ms, {long} longer than 5 s: kept")
    _scanpaths(_number_names(rows, reading), reading)


def _scanpaths(rows: pd.DataFrame, reading: Reading) -> None:
    """Sorted fixations, x and y as shares of the picture, on the grid."""
    trials = rows.groupby("scanpath")
    if _too_long(float(trials["duration"].sum().max()), trials.ngroups, reading):
        return
    table = rows.assign(order=trials.cumcount(), duration_ms=rows["duration"], **(rows[["x", "y"]] * PREPARED_SIZE))
    columns = ["scanpath", "subject", "stimulus", "order", "x", "y", "duration_ms"]
    table = table.rename(columns=dict(onset="onset_ms"))[[*columns, *(["onset_ms"] if "onset" in rows else [])]]
    reading.scanpaths = Scanpaths(table, PREPARED_SIZE, _source(reading, table[columns].to_numpy(float)))


def _samples(rows: pd.DataFrame, reading: Reading) -> None:
    """Samples; and where they are fast enough and few are lost, fixations told by velocity."""
    rows = rows[rows["onset"].notna()].copy()
    rows = _number_names(rows, reading)
    rows = rows[~rows.duplicated(["scanpath", "onset"])].reset_index(drop=True)
    trials = rows.groupby("scanpath")
    interval = float(trials["onset"].diff().median())
    begins = trials["onset"].min()
    rate, span = 1000 / interval, trials["onset"].max() - begins
    if not begins.between(-2000, 2000).all():  # the tracker's clock
        rows["onset"] -= rows["scanpath"].map(begins)
    valid = rows[["x", "y"]].notna().all(axis=1)
    lost = 1 - valid.sum() / float((span / interval + 1).round().sum())
    reading.lines.append(f"{len(rows):,} samples, {rate:.0f} a second, {max(lost, 0):.1%} lost")
    if rate < FEWEST_HZ * 0.95:
        raise DataFileError(f"{rate:.1f} samples a second are too few for frames at {RATE_HZ:g} Hz")
    longest = float(rows["onset"].max()) + interval
    if _too_long(longest, trials.ngroups, reading):
        return
    points = rows[["x", "y"]].to_numpy() * PREPARED_SIZE
    table = np.column_stack([rows["onset"], np.where(valid.to_numpy()[:, None], points, 0), valid])
    pieces = np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows["scanpath"])) + 1)
    who = rows.iloc[[piece[0] for piece in pieces]][["subject", "stimulus", "trial"]].reset_index(drop=True)
    samples = tuple(table[piece] for piece in pieces)
    source = _source(reading, table, who.to_numpy())
    reading.recordings = Recordings(who, samples, interval, longest, PREPARED_SIZE, source)
    few = f"{rate:.0f} samples a second are too few to tell fixations from saccades ({DETECTED_HZ} are needed)"
    many = f"{lost:.0%} of samples are lost, too many to tell fixations" if lost > MOST_LOST else ""
    if rate < DETECTED_HZ * 0.95 or many:
        reading.notes.append(f"{many or few}: only frames at 10 Hz are made; what needs fixations is left out")
        return
    found = []
    for number, piece in enumerate(pieces):
        told = fixations_by_velocity(table[piece, 0], points[piece], interval)
        part = pd.DataFrame(told, columns=["onset", "duration", "x", "y"])
        found.append(part.assign(subject=who["subject"][number], stimulus=who["stimulus"][number], scanpath=number))
    fixations = pd.concat(found, ignore_index=True)
    unsure = ", with doubts below 100 samples a second" if rate < SURE_HZ * 0.95 else ""
    reading.notes.append(
        f"{len(fixations)} fixations made from samples by velocity ({THRESHOLD:g} px of the grid a second){unsure}"
    )
    if len(fixations):
        _scanpaths(fixations.assign(x=fixations["x"] / PREPARED_SIZE, y=fixations["y"] / PREPARED_SIZE), reading)


RULES = {
    "both": ("viewers and pictures", "new people on new pictures"),
    "pictures": ("pictures", "the same viewers in all parts: new pictures, not new people"),
    "viewers": ("viewers", "the same pictures in all parts: new people, not new pictures"),
    "time": ("time", "the same viewers and pictures, later"),
}


def _split(reading: Reading, asked: str) -> dict[str, dict[str, Gaze]]:
    """Folder ("." and "fixations") -> part -> gaze, by the first rule under which every part has a window."""
    table = reading.recordings or reading.scanpaths
    if table is None:
        return {}
    viewers, pictures = (table.rows[name].nunique() for name in ("subject", "stimulus"))
    plentiful = ("viewers", "pictures") if pictures < 3 or 3 <= pictures < viewers else ("pictures", "viewers")
    rules = [asked] if asked else [*(["both"] if min(viewers, pictures) >= 6 else []), *plentiful, "time"]
    whole = {".": table.frames(RATE_HZ)} | ({"fixations": reading.scanpaths.frames(None)} if reading.scanpaths else {})
    for rule in rules:
        parts = {folder: _dealt(gaze, rule, whole["."]) for folder, gaze in whole.items()}
        counts = _windows(parts["."])
        if min(counts) > 0:
            break
    lasting = whole["."].fixation_mask.sum(dim=1)
    reading.notes.append(
        f"{len(lasting)} trials; {int((lasting < WINDOW).sum())} of them show the picture's gaze for less than "
        f"{WINDOW / RATE_HZ:g} s, and give no window"
    )
    if min(counts) == 0:
        reading.findings.append(
            f"split by {RULES[rule][0]}, no trial of the {PARTS[counts.index(0)]} part lasts {WINDOW / RATE_HZ:g} s "
            f"({WINDOW} frames); the longest of all is {int(lasting.max()) / RATE_HZ:g} s: another --split?"
        )
        return {}
    kept = [len(parts["."][part]) for part in PARTS]
    reading.lines.append(
        f"Split by time (the first 60%, 15%, 25% of each trial, 2 s between left out): {RULES[rule][1]}"
        if rule == "time"
        else f"Split by {RULES[rule][0]} (seed 0): {RULES[rule][1]}. {sum(kept)} of {len(lasting)} trials kept: "
        f"{kept[0]} train, {kept[1]} val, {kept[2]} test"
    )
    reading.lines.append(f"Windows of {WINDOW} frames at {RATE_HZ:g} Hz: {', '.join(map(str, counts))}")
    if rule == "both" and counts[2] < 100 and not asked:
        other = _dealt(whole["."], "pictures", whole["."])
        reading.lines[-1] += (
            f". FEW: --split pictures gives {', '.join(map(str, _windows(other)))} (same viewers in all parts)"
        )
    if "fixations" in parts and any(
        len(gaze) == 0 or not gaze.fixation_mask.any() for gaze in parts["fixations"].values()
    ):
        del parts["fixations"]
    label = f"{reading.name} (own recordings, split by {RULES[rule][0]})"
    return {
        folder: {
            part: replace(gaze, source=replace(gaze.source, label=label), extra=dict(part=part, split=rule))
            for part, gaze in of.items()
        }
        for folder, of in parts.items()
    }


def _dealt(gaze: Gaze, rule: str, all_of: Gaze) -> dict[str, Gaze]:
    """Parts of gaze; viewers and pictures are dealt as `all_of` has them, so that all framings have the same parts."""
    if rule == "time":
        return cut_by_time(gaze, WINDOW)
    keep = np.ones((len(PARTS), len(gaze)), bool)
    generator = np.random.default_rng(0)
    for name, by in (("subject", "viewers"), ("stimulus", "pictures")):
        if rule in ("both", by):
            part = deal(all_of[name].numpy(), SHARES[name], generator)
            keep &= [[part[number] == wanted for number in gaze[name].tolist()] for wanted in range(len(PARTS))]
    return {part: gaze.rows(torch.from_numpy(mask)) for part, mask in zip(PARTS, keep)}


def _windows(parts: dict[str, Gaze]) -> list[int]:
    def count(gaze: Gaze) -> int:
        try:
            return len(gaze.windows(WINDOW)) if len(gaze) else 0
        except ValueError:
            return 0

    return [count(parts[part]) for part in PARTS]


def _keep(reading: Reading, parts: dict[str, dict[str, Gaze]], folder: Path) -> Path:
    """Writes the dataset. Parts come last, so that what an interruption leaves does not open as a dataset."""
    marker, old = (
        folder / "source.json",
        [folder / sub / f"{part}_data.pt" for sub in (".", "fixations") for part in PARTS],
    )
    if not marker.exists() and any(file.exists() for file in old):
        raise DataFileError(
            f"{folder} holds data that this command did not make: choose another --name, or move them away"
        )
    folder.mkdir(parents=True, exist_ok=True)
    facts = dict(files_sha256=sorted(reading.files), said={k: v for k, v in asdict(reading.said).items() if v})
    _write(marker, json.dumps(facts, indent=1).encode())
    for file in [*old, folder / "fixations.csv"]:
        file.unlink(missing_ok=True)
    if reading.scanpaths is not None and "fixations" in parts:
        _write(folder / "fixations.csv", reading.scanpaths.fixations.to_csv(index=False).encode())
    _write(folder / "names.csv", reading.names.to_csv(index=False).encode())
    _write(folder / "look.png", reading.picture())
    reading.lines.append(f"Look at {_shown(folder)}/look.png: are faces and text where the points are?")
    reading.lines.append(f"prepared in {_shown(folder)}: fixlib run loss_comparison --dataset {_shown(folder)}")
    _write(folder / "report.txt", reading.report.encode())
    for sub, of in parts.items():
        for part, gaze in of.items():
            gaze.save(folder / sub / f"{part}_data.pt")
    return folder


def _write(path: Path, content: bytes) -> None:
    with system.atomic_write(path) as file:
        file.write(content)


def _shown(folder: Path) -> str:
    """A folder as one would type it."""
    data = system.data_dir()
    return f"data/{folder.resolve().relative_to(data)}" if folder.resolve().is_relative_to(data) else str(folder)
