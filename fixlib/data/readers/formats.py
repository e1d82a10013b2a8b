"""Formats of eye trackers' exports, told by their content: what is a table is one entry of `LAYOUTS`.

A reader gives a `Table`: rows under names of ours, positions and times as the file has them, and what the file says of
them; or None for a file that is not of its format. To add a format that is a table, add a `Layout`; for any other, a
function to `READERS`. Both are asked in the order in which they stand, the specific before the general.
"""

import re
from dataclasses import dataclass, field

import pandas as pd

from fixlib.data.gaze import DataFileError
from fixlib.data.readers.files import File, Grid, as_numbers, read_columns

UNITS = {"s": 1000.0, "ms": 1.0, "us": 1e-3, "ns": 1e-6}  # in ms
SPELLED = {"μs": "us", "µs": "us", "sec": "s", "secs": "s", "seconds": "s", "in secs": "s", "msec": "ms"}
SPELLED |= {"milliseconds": "ms", "microseconds": "us"} | {unit: unit for unit in UNITS}
PICTURE = ("left", "top", "width", "height")  # px of the screen
TIMES = ("duration", "onset", "end")
EYES = ("lx", "ly", "rx", "ry")
NUMBERS = ("x", "y", *EYES, *TIMES, "confidence", "screen_w", "screen_h", *PICTURE)


@dataclass
class Table:
    """What a file holds."""

    #: columns x, y and (where known) those of `NUMBERS`, subject, stimulus, trial, eye. One row a fixation where there
    #: is a duration or an end, else one a sample
    rows: pd.DataFrame
    format: str  #: what it was taken for, in words
    unit: str = ""  #: of positions: "px", "px:centre", "fraction", "norm" (-1 to 1), "height"; "" where not known
    y_up: bool = False  #: y grows upwards
    time: dict[str, str] = field(default_factory=dict)  #: units of the columns of time, where known
    found: dict[str, str] = field(default_factory=dict)  #: the file's own name of each column
    screen: tuple[float, float] | None = None  #: px, where the file says it
    mapped: bool = False  #: positions are of the picture, so that many may lie outside of it
    stop: str = ""  #: why it cannot be used as it is; "" if it can
    notes: list[str] = field(default_factory=list)


# What a file begins with that is not text. A pickle is never opened: it could run code.
REFUSED = {
    b"\x80": "a Python pickle (or no text at all): pickles could run code, and are never opened",
    b"\x93NUMPY": "an array of numpy's, without names of columns",
    b"PK\x03\x04": "an Excel workbook, a .pt file or another archive",
    b"\xd0\xcf\x11\xe0": "an Excel workbook of the old kind",
    b"\x89HDF": "HDF5",
}


def refuse(file: File, columns: dict[str, str], eye: str) -> None:
    """DataFileError for what is not text."""
    for magic, what in REFUSED.items():
        if file.head.startswith(magic):
            raise DataFileError(f"{file.name} is {what}. Text is read: save or convert it as text, and give that")


@dataclass(frozen=True)
class Layout:
    """A table by the names of its columns: in small letters, one space between words, without a unit."""

    label: str = "table"  #: what it is, in words
    needs: tuple[str, ...] = ()  #: columns, all of which tell it
    #: our name of a column -> the file's, the first of these that it has
    columns: dict[str, str] = field(default_factory=dict)
    unit: str = ""
    time: dict[str, str] = field(default_factory=dict)
    y_up: bool = False
    keep: dict[str, str] = field(default_factory=dict)  #: the rows that count: column -> how its texts begin
    missing: float | None = None  #: the value that stands for a missing position
    #: how a valid row is marked in the column `good`, `lgood`, `rgood`
    good: tuple[str, ...] = ("1", "1.0", "true", "valid")
    #: rows are repeated while a fixation lasts (`id` tells it): the last has its position and duration
    once: bool = False
    minimum: float = 0.5  #: of the column confidence
    mapped: bool = False
    stop: str = ""


SCENE = (
    "gaze is in px of the scene camera (Pupil Labs, raw): where the picture is changes with the head. Map it first: "
    "Marker Mapper or Reference Image Mapper in Pupil Cloud, Surface Tracker in Pupil Player; or, if neither head nor "
    "picture moved, say that these columns are meant: --columns x=...,y=..."
)
BOTH = dict(lx="left gaze x", ly="left gaze y", rx="right gaze x", ry="right gaze y")
SUBJECT = "subject|participant|participant id|subject id|participant name|viewer|observer|sub|ppt|vp|user"
STIMULUS = "stimulus|image|img|picture|stim|image name|image file|imagefile|stimulus name|picture name|stim file"
TRIAL = "trial|trial index|trial id|trial number|trial nr|trialid|block trial"
TOBII = dict(subject="participant name|participantname", trial="recording name|recordingname")
LAYOUTS = [
    Layout(
        "EyeLink Data Viewer fixation report",
        ("current fix x",),
        dict(x="current fix x", y="current fix y", duration="current fix duration", onset="current fix start",
             end="current fix end", subject="recording session label|session name", trial="trial index",
             stimulus=STIMULUS, eye="eye used|eye tracked|eye reported"),
        "px", dict(duration="ms", onset="ms", end="ms"),
    ),
    Layout(
        "Tobii Pro Lab",
        ("recording timestamp",),
        TOBII | dict(kind="eye movement type",
             x="mapped fixation x|fixation point x [dacs px]|fixation point x|gaze point x [dacs px]|gaze point x",
             y="mapped fixation y|fixation point y [dacs px]|fixation point y|gaze point y [dacs px]|gaze point y",
             left="presented media position x", top="presented media position y",
             width="presented media width", height="presented media height",
             duration="gaze event duration", onset="recording timestamp", id="eye movement type index",
             stimulus="presented stimulus name|presented media name", sensor="sensor",
             screen_w="recording resolution width", screen_h="recording resolution height"),
        "px", dict(duration="ms", onset="us"), keep=dict(sensor="eye tracker", kind="fixation"), once=True,
    ),
    Layout(
        "Tobii Studio",
        ("fixationindex",),
        TOBII | dict(kind="gazeeventtype", width="mediawidth", height="mediaheight",  # "mapped" is px of the picture
             x="mappedfixationpointx|fixationpointx", y="mappedfixationpointy|fixationpointy",
             duration="fixationduration|gazeeventduration", onset="timestamp|recordingtimestamp", id="fixationindex",
             stimulus="stimuliname|medianame"),
        "px", dict(duration="ms", onset="ms"), keep=dict(kind="fixation"), once=True, missing=-1.0,
    ),
    Layout(
        "Tobii Pro SDK",
        ("left gaze point on display area", "device time stamp"),
        dict(lpoint="left gaze point on display area", rpoint="right gaze point on display area",
             lgood="left gaze point validity", rgood="right gaze point validity", onset="device time stamp"),
        "fraction", dict(onset="us"),
    ),
    Layout(
        "Tobii Pro SDK (Titta)",
        ("left gaze point on display area x",),
        dict(lx="left gaze point on display area x", ly="left gaze point on display area y",
             rx="right gaze point on display area x", ry="right gaze point on display area y",
             lgood="left gaze point valid|left gaze point validity", stimulus=STIMULUS, subject=SUBJECT, trial=TRIAL,
             rgood="right gaze point valid|right gaze point validity", onset="device time stamp|system time stamp"),
        "fraction", dict(onset="us"),
    ),
    Layout(
        "Pupil Core, fixations on a surface",
        ("norm pos x", "start timestamp", "on surf"),
        dict(x="norm pos x", y="norm pos y", duration="duration", onset="start timestamp", id="fixation id",
             confidence="confidence"),
        "fraction", dict(onset="s", duration="ms"), y_up=True, once=True, minimum=0.6, mapped=True,
    ),
    Layout(
        "Pupil Core, gaze on a surface",
        ("x norm", "gaze timestamp"),
        dict(x="x norm", y="y norm", onset="gaze timestamp", confidence="confidence"),
        "fraction", dict(onset="s"), y_up=True, minimum=0.6, mapped=True,
    ),
    Layout(
        "Pupil Core, fixations in the scene camera",
        ("norm pos x", "start timestamp"),
        dict(x="norm pos x", y="norm pos y", duration="duration", onset="start timestamp", id="id",
             confidence="confidence"),
        "fraction", dict(onset="s", duration="ms"), y_up=True, once=True, minimum=0.6, stop=SCENE,
    ),
    Layout(
        "Pupil Core, gaze in the scene camera",
        ("norm pos x", "gaze timestamp"),
        dict(x="norm pos x", y="norm pos y", onset="gaze timestamp", confidence="confidence"),
        "fraction", dict(onset="s"), y_up=True, minimum=0.6, stop=SCENE,
    ),
    Layout(
        "Pupil Cloud, Marker Mapper",
        ("fixation detected on surface",),
        dict(x="fixation x", y="fixation y", duration="duration", onset="start timestamp", subject="recording id",
             id="fixation id"),
        "fraction", dict(duration="ms", onset="ns"), mapped=True, once=True,
    ),
    Layout(
        "Pupil Cloud, Reference Image Mapper",
        ("fixation detected in reference image",),
        dict(x="fixation x|fixation x in reference image", y="fixation y|fixation y in reference image",
             duration="duration", onset="start timestamp", subject="recording id", id="fixation id"),
        "px", dict(duration="ms", onset="ns"), mapped=True, once=True,
    ),
    Layout(
        "Pupil Cloud, fixations in the scene camera",
        ("section id", "fixation x"),
        dict(x="fixation x", y="fixation y", duration="duration", onset="start timestamp", subject="recording id"),
        "px", dict(duration="ms", onset="ns"), stop=SCENE,
    ),
    Layout(
        "SMI BeGaze, samples",
        ("type", "l por x"),
        dict(lx="l por x", ly="l por y", rx="r por x", ry="r por y", onset="time", kind="type", trial="trial",
             stimulus=STIMULUS),
        "px", dict(onset="us"), keep=dict(kind="smp"), missing=0.0,
    ),
    Layout(
        "Gazepoint",
        ("fpogx", "fpogd"),
        dict(x="fpogx", y="fpogy", duration="fpogd", onset="fpogs", id="fpogid", good="fpogv",
             stimulus="media name|media id"),
        "fraction", dict(duration="s", onset="s"), once=True,
    ),
    Layout(
        "PsychoPy ioHub, samples",
        ("device time", "left gaze x"),
        BOTH | dict(onset="device time", subject="session id", trial=TRIAL, stimulus=STIMULUS),
        "px:centre", dict(onset="s"), y_up=True, missing=0.0,
    ),
]  # fmt: skip
GENERIC = Layout(
    columns=dict(
        x="x|fix x|fixation x|gaze x|pos x|position x|x pos|mean x|avg x|fixx|gazex|xpos|x px|x position",
        y="y|fix y|fixation y|gaze y|pos y|position y|y pos|mean y|avg y|fixy|gazey|ypos|y px|y position",
        duration="duration|dur|fix duration|fixation duration|fix dur|fixdur|fixation dur|length",
        onset="onset|start|start time|fix start|fixation start|t|time|timestamp|t start|begin|starttime|onset time",
        end="end|end time|fix end|fixation end|t end|offset|endtime|stop",
        subject=SUBJECT, stimulus=STIMULUS, trial=TRIAL, eye="eye|eye used|tracked eye", confidence="confidence",
    ),
)  # fmt: skip


def column_and_unit(said: str) -> tuple[str, str]:
    """Of "COLUMN:UNIT", a unit of time; of other text itself and "". A column may be called like a unit."""
    column, colon, unit = said.rpartition(":")
    return (column, unit) if colon and unit in UNITS else (said, "")


def read_table(file: File, columns: dict[str, str], eye: str) -> Table | None:
    """A table of any separator, known by its columns' names; what the user says of a column comes first."""
    if (grid := file.grid) is None:
        return None
    layout = next((each for each in LAYOUTS if all(_find(grid, name) is not None for name in each.needs)), GENERIC)
    where, time = {}, dict(layout.time)
    for name, alternatives in layout.columns.items():
        if (place := _find(grid, alternatives)) is not None:
            where[name] = place
            if name in TIMES and (unit := _plain(grid.names[place])[1]):
                time[name] = unit
    for name, said in columns.items():
        column, unit = column_and_unit(said)
        where.pop(name, None)
        if column and column not in grid.names:
            raise DataFileError(f"{file.name} has no column {column!r}; it has {', '.join(grid.names)}")
        if column:
            where[name] = grid.names.index(column)
            time |= {name: unit} if unit else {}
    if not any(pair <= where.keys() for pair in ({"x", "y"}, {"lx", "ly"}, {"rx", "ry"}, {"lpoint"})):
        names = ", ".join(grid.names[:30])
        raise DataFileError(
            f"{file.name}: {'none of its columns is known' if not where else 'no columns of positions are known'}: "
            f"{names}. Say which is which: --columns x=...,y=...,duration=...,onset=...,subject=...,stimulus=..."
        )
    rows = read_columns(file, where, NUMBERS)
    if mapped := [place for place, name in enumerate(grid.names) if _plain(name)[0] == "mapped fixation x"]:
        rows = _snapshots(file, grid, rows, where, mapped) if "x" not in columns else rows
    preamble = grid.preamble
    if "subject" in preamble and "subject" not in where:
        rows["subject"] = preamble["subject"]
    said = preamble.get("screen resolution") or preamble.get("calibration area", "")
    size = re.search(r"(\d+)\s*[x\s]\s*(\d+)", said)
    return Table(
        tidy(rows, layout, eye),
        f"{layout.label} ({'' if file.encoding == 'utf-8' else f'{file.encoding.upper()}, '}{_described(grid)})",
        layout.unit,
        layout.y_up,
        time,
        {name: grid.names[place] for name, place in where.items()},
        (float(size[1]), float(size[2])) if size else None,
        layout.mapped or bool(mapped),
        "" if "x" in columns else layout.stop,
    )


def tidy(rows: pd.DataFrame, layout: Layout = GENERIC, eye: str = "") -> pd.DataFrame:
    """The rows that count, each fixation once, with one position; missing ones are NaN."""
    for name, begins in layout.keep.items():
        if name in rows and (name != "kind" or "duration" in rows or layout.missing == 0):
            rows = rows[rows[name].str.casefold().str.startswith(begins)]
    for side in "lr":
        if f"{side}point" in rows:
            pair = rows[f"{side}point"].str.extract(r"^\(\s*([^,]+),\s*([^)]+)\)")
            rows = rows.assign(**{f"{side}{axis}": as_numbers(pair[number]) for number, axis in enumerate("xy")})
    for good in {"good", "lgood", "rgood"}.intersection(rows):
        bad = ~rows[good].str.casefold().isin(layout.good)
        side = good.removesuffix("good")
        rows = rows.assign(
            **{f"{side}{axis}": rows[f"{side}{axis}"].mask(bad) for axis in "xy" if f"{side}{axis}" in rows}
        )
    if "confidence" in rows:
        doubtful = rows["confidence"] < layout.minimum
        rows = rows.assign(**{x: rows[x].mask(doubtful) for x in {"x", "lx", "rx"}.intersection(rows)})
    pairs = [pair for pair in (("x", "y"), ("lx", "ly"), ("rx", "ry")) if set(pair) <= set(rows)]
    for x, y in pairs:
        if layout.missing is not None:  # 0 in both; -1 in either
            gone = (rows[[x, y]] == layout.missing).agg("all" if layout.missing == 0 else "any", axis=1)
            rows = rows.assign(**{x: rows[x].mask(gone)})
        rows = rows.assign(**{each: rows[each].mask(rows[[x, y]].isna().any(axis=1)) for each in (x, y)})
    if ("x", "y") not in pairs:
        sides = [pair for pair in pairs if pair[0][0] == eye[:1]] or pairs
        rows = rows.assign(x=rows[[x for x, _ in sides]].mean(axis=1), y=rows[[y for _, y in sides]].mean(axis=1))
    if layout.once and "id" in rows and "duration" in rows:
        rows = rows[rows["x"].notna() & ~rows["id"].isin(["", "-"])]
        told = rows[["id", *rows.columns.intersection(["subject"])]]
        begins = told.ne(told.shift()).any(axis=1)
        first, last = rows[begins], rows[begins.shift(-1, fill_value=True)]
        rows = first.assign(**{name: last[name].to_numpy() for name in ("x", "y", "duration")})
    return rows.reset_index(drop=True)


def _snapshots(file: File, grid: Grid, rows: pd.DataFrame, where: dict[str, int], mapped: list[int]) -> pd.DataFrame:
    """Gaze mapped on several snapshots has a pair of columns each, "Mapped fixation X [snapshot]"."""
    parts = []
    for place in mapped:
        name = grid.names[place]
        other = name.replace(" X", " Y", 1)
        if other in grid.names:
            part = read_columns(file, where | dict(x=place, y=grid.names.index(other)), NUMBERS)
            told = re.search(r"\[(.*)\]", name)
            parts.append(part.assign(stimulus=told[1] if told else name)[part["x"].notna()])
    return pd.concat(parts, ignore_index=True) if parts else rows


def _described(grid: Grid) -> str:
    kind = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "bars", " ": "spaces"}[grid.separator]
    return kind + ", decimal commas" * (grid.decimal == ",")


def _find(grid: Grid, alternatives: str) -> int | None:
    """The place of the first of these columns that there is; with its bracket ("... [dacs px]") or without."""
    for wanted in alternatives.split("|"):
        for place, name in enumerate(grid.names):
            if wanted in (_plain(name)[0], " ".join(re.sub(r"[\s_.-]+", " ", name.casefold()).split())):
                return place
    return None


def _plain(name: str) -> tuple[str, str]:
    """A column's name without brackets, and the unit of time that it tells: "Start_timestamp [ns]"."""
    inside = re.findall(r"[\[(]([^\])]*)", name)
    words = re.sub(r"[\s_.-]+", " ", re.sub(r"[\[(][^\])]*[\])]?", " ", name)).strip().casefold()
    units = [SPELLED[each.casefold()] for each in inside if each.casefold() in SPELLED]
    *first, last = words.split(" ")
    if first and last in SPELLED:
        return " ".join(first), SPELLED[last]
    return words, units[0] if units else ""
