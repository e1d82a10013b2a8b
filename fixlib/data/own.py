"""Recordings of one's own: exports of an eye tracker become a dataset, and a report says how they were understood.

Nothing is asked and nothing forced: what is not clear stops, and names the option that settles it.
"""

import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from fixlib import system
from fixlib.data.datasets import DATASETS
from fixlib.data.gaze import PARTS, DataFileError, Gaze
from fixlib.data.readers import collect
from fixlib.data.reading import Reading, Said, Unsettled, numbers, one_of
from fixlib.data.recordings import cut_by_time, deal
from fixlib.data.understand import RATE_HZ, understand

WINDOW = 20  # frames, 10 in and 10 out
FEWEST_FIXATIONS = 5  # of a window: 4 in and 1 out
VAL_SHARE = 0.15  # of a trial that is cut by time
SHARES = dict(subject=(8 / 15, 3 / 15, 4 / 15), stimulus=(0.6, 0.15, 0.25))  # of train, val and test, as OSIE's


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
    size, place = numbers(screen, 2, "screen"), numbers(picture, 4, "picture")
    said = Said(size, place, _columns(columns), unit, y_up, time, eye)
    with tempfile.TemporaryDirectory() as scratch:
        if isinstance(files, pd.DataFrame):
            table = Path(scratch) / f"{name or 'table'}.csv"
            files.to_csv(table, index=False)
            files = table
        given = [files] if isinstance(files, str | Path) else list(files)
        reading = Reading(_name(name, given), said, images=Path(images) if images else None)
        try:
            understand(collect(given, Path(scratch)), reading)
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
    one_of("split", split, RULES)
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


def _columns(value: str | dict[str, str]) -> dict[str, str]:
    if isinstance(value, dict):
        return value
    pairs = [part.partition("=") for part in value.split(",") if part]
    if any(not mark for _, mark, _ in pairs):
        raise ValueError(f"columns {value!r} is not like x=gx,y=gy,duration=dur")
    return {key.strip(): column.strip() for key, _, column in pairs}


def _name(name: str, given: Sequence[Any]) -> str:
    first = Path(given[0]).expanduser() if given else Path("lab")
    name = name or re.sub(r"\W+", "_", first.name if first.is_dir() else first.resolve().parent.name)
    if not re.fullmatch(r"[\w-]+", name) or name in DATASETS:
        raise ValueError(f"{name!r} cannot be a dataset's name of your own: choose letters, --name lab")
    return name


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
        seconds, shortest = WINDOW / RATE_HZ, 2 * WINDOW / RATE_HZ / VAL_SHARE  # of a trial that is cut by time
        reading.findings.append(
            f"too little for train, val and test: split by {RULES[rule][0]}, the {PARTS[counts.index(0)]} part has no "
            f"trial with {seconds:g} s ({WINDOW} frames) of gaze in the picture; the longest of all has "
            f"{int(lasting.max()) / RATE_HZ:g} s. Enough are three such trials, of three viewers or on three pictures, "
            f"or one of {shortest:.0f} s" + (": another --split?" if asked else "; --look draws what there is")
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
        others = ", ".join(map(str, _windows(_dealt(whole["."], "pictures", whole["."]))))
        reading.lines[-1] += f". FEW: --split pictures gives {others} (same viewers in all parts)"
    if "fixations" in parts and min(_windows(parts["fixations"], FEWEST_FIXATIONS)) == 0:
        del parts["fixations"]
        reading.notes.append(
            f"not every part has {FEWEST_FIXATIONS} fixations in a row: what needs fixations is left out"
        )
    if rule != "time":
        for count, one, others in ((viewers, "viewer", "pictures"), (pictures, "picture", "viewers")):
            if count == 1:
                reading.notes.append(f"one {one}: intervals are over {others}, and say nothing of other {one}s")
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
        return cut_by_time(gaze, WINDOW if gaze.rate_hz else FEWEST_FIXATIONS)
    keep = np.ones((len(PARTS), len(gaze)), bool)
    generator = np.random.default_rng(0)
    for name, by in (("subject", "viewers"), ("stimulus", "pictures")):
        if rule in ("both", by):
            part = deal(all_of[name].numpy(), SHARES[name], generator)
            keep &= [[part[number] == wanted for number in gaze[name].tolist()] for wanted in range(len(PARTS))]
    return {part: gaze.rows(torch.from_numpy(mask)) for part, mask in zip(PARTS, keep)}


def _windows(parts: dict[str, Gaze], length: int = WINDOW) -> list[int]:
    """How many each part has."""
    masks = [torch.nn.functional.pad(parts[part].fixation_mask, (0, length)) for part in PARTS]
    return [int(mask.unfold(1, length, length).all(dim=-1).sum()) for mask in masks]


def _keep(reading: Reading, parts: dict[str, dict[str, Gaze]], folder: Path) -> Path:
    """Writes the dataset. Parts come last, so that what an interruption leaves does not open as a dataset."""
    old = [folder / sub / f"{part}_data.pt" for sub in (".", "fixations") for part in PARTS]
    marker = folder / "source.json"
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
    chapter = "01_sparsity_analysis" if "fixations" in parts else "04_loss_comparison"
    reading.lines.append(
        f"prepared in {_shown(folder)}: fixlib book {chapter} -p dataset={_shown(folder)}; all chapters: make book "
        f"DATASET={_shown(folder)}"
    )
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
