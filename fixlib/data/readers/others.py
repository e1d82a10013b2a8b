"""Formats that are no single table: SMI events, jsPsych, BIDS, FixaTons."""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fixlib.data.gaze import DataFileError
from fixlib.data.readers.files import File, as_numbers, fields, read_columns
from fixlib.data.readers.formats import GENERIC, NUMBERS, PICTURE, UNITS, Table, tidy

FIXATIONS = "Table Header for Fixations"  # in SMI's events
# Where jsPsych experiments write who it was.
WHO = ("subject_id", "subject", "participant_id", "participant", "PROLIFIC_PID", "workerId", "run_id")
JSON_LIMIT = 2**28  # bytes: what is parsed whole takes several times its size


def smi_events(file: File, columns: dict[str, str], eye: str) -> Table | None:
    """BeGaze's or IDF Converter's events: four tables in one file, each described under "Table Header for ..."."""
    if not any(line.startswith(FIXATIONS) for line in file.lines):
        return None
    rows: list[list[str]] = []
    names: list[str] = []
    stimulus, subject = "", file.stem
    with file.open() as lines:
        for line in lines:
            line = line.rstrip("\n")
            if line.startswith(FIXATIONS):
                header = next(lines, "")
                separator = "\t" if "\t" in header else ","
                names = [name.strip().casefold() for name in fields(header.rstrip("\n"), separator)]
            elif line.startswith("Subject:"):
                subject = line.partition(":")[2].strip() or subject
            elif line.startswith("UserEvent") and "Message:" in line:
                stimulus = line.partition("Message:")[2].strip()
            elif line.startswith("Fixation") and names:
                cells = fields(line, separator)
                if len(cells) >= len(names):
                    rows.append([*cells[: len(names)], stimulus])
    wanted = dict(x="location x", y="location y", duration="duration", onset="start")
    if missing := [name for name in wanted.values() if name not in names]:
        raise DataFileError(f"{file.name}: its table of fixations lacks {', '.join(missing)}")
    if not rows:
        raise DataFileError(f"{file.name} describes fixations and holds none")
    table = pd.DataFrame(rows, columns=[*names, "stimulus"], dtype=object)
    found = pd.DataFrame({name: as_numbers(table[column]) for name, column in wanted.items()})
    found["eye"] = table[names[0]].str.split().str[-1]
    found["trial"] = table["trial"] if "trial" in names else "1"
    found["subject"], found["stimulus"] = subject, table["stimulus"].replace("", "none")
    rows, time = tidy(found, replace(GENERIC, missing=0.0)), dict(duration="us", onset="us")
    return Table(rows, "SMI, events", "px", time=time, found=wanted)


def jspsych(file: File, columns: dict[str, str], eye: str) -> Table | None:
    """Trials with `webgazer_data`, as .json or as .csv with JSON in its cells; x, y are px of the page."""
    text = "\n".join(file.lines) or file.head.decode("utf-8", "replace")
    if not (re.match(r"\s*\[\s*\{", text) or (file.grid and "webgazer_data" in file.grid.names)):
        return None
    if file.path.stat().st_size > JSON_LIMIT:
        raise DataFileError(f"{file.name} has more than {JSON_LIMIT >> 20} MB: save each participant's data apart")
    parts, left_out = [], 0
    for number, trial in enumerate(_trials(file)):
        samples = trial.get("webgazer_data")
        if not isinstance(samples, list) or not samples or "calibrat" in str(trial.get("trial_type")):
            left_out += isinstance(samples, list) or "raw_gaze" in trial
            continue
        samples = [each for each in samples if isinstance(each, dict)]
        part = pd.DataFrame(
            {
                name: as_numbers(pd.Series([each.get(key) for each in samples], dtype=object))
                for name, key in (("onset", "t"), ("x", "x"), ("y", "y"))
            }
        )
        targets = trial.get("webgazer_targets")
        target = next(iter(targets.values()), None) if isinstance(targets, dict) else None
        if isinstance(target, dict):
            for name, key in zip(PICTURE, ("x", "y", "width", "height")):
                part[name] = as_numbers(pd.Series([target.get(key)], dtype=object))[0]
        who = next((str(trial[key]) for key in WHO if trial.get(key) not in (None, "")), file.stem)
        parts.append(part.assign(subject=who, trial=str(number), stimulus=_picture(trial, number)))
    if not parts:
        raise DataFileError(f"{file.name} is JSON, but no trial of it has webgazer_data")
    rows = pd.concat(parts, ignore_index=True)
    notes = [f"{left_out} trials of calibration or without gaze: left out"] if left_out else []
    time, found = dict(onset="ms"), dict(x="webgazer_data", subject="subject_id", stimulus="stimulus")
    return Table(rows, "jsPsych, WebGazer", "px", time=time, found=found, notes=notes)


def _trials(file: File) -> Iterator[dict[str, Any]]:
    if file.head.lstrip(b"\xef\xbb\xbf\xff\xfe\x00 \r\n\t")[:1] != b"[":
        assert file.grid is not None
        before = csv.field_size_limit(JSON_LIMIT)
        try:
            with file.open() as lines:
                for row in csv.DictReader(lines, delimiter=file.grid.separator):
                    yield {key: _parsed(text) if str(key).startswith("webgazer") else text for key, text in row.items()}
        except csv.Error as error:
            raise DataFileError(f"{file.name} cannot be read as a table: {error}") from error
        finally:
            csv.field_size_limit(before)
        return
    with file.open() as text:
        found = _parsed(text.read())
    if not isinstance(found, list):
        raise DataFileError(f"{file.name} cannot be read as a JSON list of trials: it is damaged or cut off")
    yield from (trial for trial in found if isinstance(trial, dict))


def _parsed(text: str | None) -> Any:
    """JSON; None where it is none. Nested too deeply is none, too."""
    try:
        return json.loads(text or "null")
    except (ValueError, RecursionError):
        return None


def _picture(trial: dict[str, Any], number: int) -> str:
    """The name of a trial's picture; `stimulus` is often HTML around it, or (of sounds) not what is seen."""
    stimulus = trial.get("stimulus")
    if not isinstance(stimulus, str):
        return f"trial {number}"
    inside = re.search(r"""src\s*=\s*["']([^"']+)""", stimulus)
    return (inside[1] if inside else re.sub(r"<[^>]*>", " ", stimulus)).strip().rpartition("/")[2] or f"trial {number}"


def bids(file: File, columns: dict[str, str], eye: str) -> Table | None:
    """`..._physio.tsv(.gz)`: no header, its columns are named in a .json beside it or in a folder above."""
    told, events = _inherited(file.origin, "physio"), _inherited(file.origin, "events")
    if not file.name.endswith("_physio.tsv") or "x_coordinate" not in told.get("Columns", ()):
        return None
    names, grid = [str(name) for name in told["Columns"]], file.grid
    if grid is None or len(grid.names) != len(names) or "timestamp" not in names:
        raise DataFileError(f"{file.name}: its .json names {len(names)} columns ({', '.join(names)}), it has others")
    wanted = dict(x="x_coordinate", y="y_coordinate", onset="timestamp")
    where = {name: names.index(column) for name, column in wanted.items() if column in names}
    rows = read_columns(file, where, NUMBERS)
    shown, where_x, clock = (
        facts if isinstance(facts, dict) else {}
        for facts in (events.get("StimulusPresentation"), told.get("x_coordinate"), told.get("timestamp"))
    )
    size, rate, step = shown.get("ScreenResolution"), told.get("SamplingFrequency"), rows["onset"].diff().median()
    pixels = isinstance(size, list) and len(size) == 2 and all(isinstance(each, int | float) for each in size)
    unit = str(clock.get("Units"))
    if isinstance(rate, int | float) and rate > 0 and step > 0:
        # Official examples have ms in one and s in another: the rate tells which.
        unit = min(UNITS, key=lambda each: abs(np.log(step * UNITS[each] * rate / 1000)))
    rows["subject"] = next((part for part in file.stem.split("_") if part.startswith("sub-")), file.stem)
    return Table(
        _with_events(rows, file, UNITS.get(unit, 1.0)),
        "BIDS physio",
        "px" if str(where_x.get("Units")).lower() in ("px", "pixel", "pixels") else "",
        str(shown.get("ScreenOrigin")).startswith("['bottom"),
        dict(onset="ms"),
        wanted,
        (size[0] + size[0] % 2, size[1] + size[1] % 2) if pixels and size else None,  # one example: [1919, 1079]
    )


def _inherited(path: Path, kind: str) -> dict[str, Any]:
    """The facts of all .json files that are about a recording, the nearest first."""
    parts, found = set(path.name.split(".")[0].split("_")[:-1]), dict[str, Any]()
    for folder in [*path.parents][:4][::-1]:
        for file in sorted(folder.glob(f"*{kind}.json"), key=lambda each: len(each.name)):
            about = set(file.name.split(".")[0].split("_")[:-1])
            if about <= parts and file.stat().st_size < 2**20:
                facts = _parsed(file.read_text("utf-8-sig", "replace"))
                found |= facts if isinstance(facts, dict) else {}
    return found


def _with_events(rows: pd.DataFrame, file: File, in_ms: float) -> pd.DataFrame:
    """Samples in ms, of the events (trials) they fall in; all of one trial where no events.tsv is there."""
    time = rows["onset"] * in_ms
    table = file.origin.with_name(file.origin.name.replace("_physio.tsv", "_events.tsv"))
    table = table if table.is_file() else file.origin.with_name(re.sub("_recording-[^_]+", "", table.name))
    events = File(table, table.name, table) if table.is_file() else None
    if events is None or events.grid is None or not {"onset", "duration"} <= set(events.grid.names):
        return rows.assign(onset=time - time.min(), trial="1")
    names = [name for name in ("onset", "duration", "stim_file") if name in events.grid.names]
    found = read_columns(events, {name: events.grid.names.index(name) for name in names}, NUMBERS)
    found = found[(found["duration"] > 0) & found["onset"].notna()]
    parts = []
    for number, (_, event) in enumerate(found.iterrows()):
        since = time - 1000 * event["onset"]
        picture = str(event.get("stim_file", "")) or f"trial {number}"
        inside = (since >= 0) & (since < 1000 * event["duration"])
        parts.append(rows[inside].assign(onset=since[inside], trial=str(number), stimulus=picture))
    if not parts or not any(map(len, parts)):
        raise DataFileError(f"{file.name}: no sample falls in an event of {table.name}, whose onsets are in s")
    return pd.concat(parts, ignore_index=True)


def fixatons(file: File, columns: dict[str, str], eye: str) -> Table | None:
    """SCANPATHS/PICTURE/viewer: lines of x, y, begin and end (s); the picture's size is not in it."""
    if "SCANPATHS" not in file.origin.parts[-4:-2] or not file.grid or file.grid.names != ("1", "2", "3", "4"):
        return None
    where = dict(x=0, y=1, onset=2, end=3)
    rows = read_columns(file, where, NUMBERS)
    rows = rows.assign(subject=file.origin.name, stimulus=file.origin.parent.name)
    found = {name: str(place + 1) for name, place in where.items()}
    return Table(rows, "FixaTons", "px", time=dict(onset="s", end="s"), found=found)
