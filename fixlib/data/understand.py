"""From files to fixations and samples on the grid; what is not clear, or looks wrong, becomes a finding that stops."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from fixlib.data.datasets import PREPARED_SIZE
from fixlib.data.gaze import DataFileError, Source
from fixlib.data.readers import PICTURE, READERS, TIMES, UNITS, File, Table, column_and_unit
from fixlib.data.reading import Reading, Said, numbers
from fixlib.data.recordings import COLUMNS, Recordings, Scanpaths
from fixlib.data.velocity import THRESHOLD, fixations_by_velocity

RATE_HZ = 10.0
LONGEST_MS = 4 * 3600 * 1000.0  # of a trial: longer ones are in another unit, or no trials
MOST_CELLS = 5_000_000  # trials x frames of the longest, which is how they are kept
FEWEST_HZ, DETECTED_HZ, SURE_HZ = 10, 60, 100  # for frames; for fixations; without a warning
MOST_LOST = 0.2  # of samples, for fixations
NO_PICTURE = ("no media", "calibration", "recalibration", "eyetracker calibration")  # Tobii's, between pictures


def understand(files: list[File], reading: Reading) -> None:
    """Everything up to fixations and samples on the grid; what is in the way becomes findings."""
    tables = _tables(files, reading)
    rows = _together(tables, reading)
    shares = _placed(rows, tables, reading)
    if shares is not None and not reading.findings:
        rows = _in_ms(rows.assign(x=shares["x"], y=shares["y"]), tables[0], reading)
    if not reading.findings:
        (_fixations if "duration" in rows else _samples)(rows, reading)


def _tables(files: list[File], reading: Reading) -> list[Table]:
    """Of each file what it holds; where formats differ, those of the one with most fixations (else samples)."""
    found: dict[str, list[Table]] = {}
    aside: list[str] = []
    stems = Counter(file.stem for file in files)
    for file in files:
        if file.sha256 in reading.files:
            reading.notes.append(f"{file.name} is the same as a file before it: left out")
            continue
        try:
            table = _table(file, reading.said)
            table.rows = _from_name(table.rows.assign(file=file.name), file, reading.said.columns)
        except (ValueError, KeyError, IndexError, TypeError, OverflowError) as error:
            known = isinstance(error, DataFileError)
            why = str(error) if known else f"{file.name} is not as its format says ({type(error).__name__}: {error})"
            if file.asked_for:
                raise error if known else DataFileError(why) from error
            aside.append(why)
            continue
        reading.files.append(file.sha256)
        if "subject" not in table.rows:
            table.rows["subject"] = file.stem if stems[file.stem] == 1 else file.name
        found.setdefault(table.format.partition(" (")[0], []).append(table)

    def rank(tables: list[Table]) -> tuple[bool, int]:
        return not {"duration", "end"}.isdisjoint(tables[0].rows), sum(len(table.rows) for table in tables)

    if not found:
        raise DataFileError("\n".join(aside[:5]))
    best = max(found.values(), key=rank)
    aside += [f"{len(each)} file(s) of {kind}: another format" for kind, each in found.items() if each is not best]
    reading.notes += [f"left aside: {why}" for why in aside[:5]]
    reading.notes += [f"left aside, too: {len(aside) - 5} more files"] * (len(aside) > 5)
    if len(found) > 1:
        reading.notes.append("several formats: each makes a dataset of its own, so name the files of one (*.asc)")
    return best


def _table(file: File, said: Said) -> Table:
    columns = {role: column for role, column in said.columns.items() if not column.startswith("@")}
    for read in READERS[-1:] if {"x", "y"} <= columns.keys() and file.grid else READERS:
        if (found := read(file, columns, said.eye)) is not None:
            return found
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


def _noted(tables: Iterable[Table]) -> list[str]:
    """The readers' notes; what several files share but for its numbers, once."""
    alike: dict[str, list[str]] = {}
    for table in tables:
        for note in table.notes:
            alike.setdefault(re.sub(r"\d+", "", note), []).append(f"{table.rows['file'].iloc[0]}: {note}")
    return [notes[0] + f" (and {len(notes) - 1} more files the like)" * (len(notes) > 1) for notes in alike.values()]


def _together(tables: list[Table], reading: Reading) -> pd.DataFrame:
    """One table, of the rows that count, each with the numbers of its file's table and of its trial (`scanpath`)."""
    for number, table in enumerate(tables):
        table.rows["table"] = number
        if table.stop and table.stop not in reading.findings:
            reading.findings.append(table.stop)
    reading.notes += _noted(table for table in tables if len(table.rows))
    rows = pd.concat([table.rows for table in tables], ignore_index=True)
    if not len(rows):
        raise DataFileError("there is no fixation and no sample in these files")
    if "stimulus" not in rows and "trial" in rows and rows["trial"].nunique() > 1:
        rows["stimulus"] = rows["trial"]
        reading.notes.append(
            "no column names the picture: each trial's label is taken for one. If the same picture has other labels, "
            "test and training share pictures: --columns stimulus=..."
        )
    for name, otherwise in (("subject", ""), ("stimulus", "all"), ("trial", "1")):
        rows[name] = (
            _texts(rows[name]) if name in rows else pd.Categorical.from_codes(np.zeros(len(rows), int), [otherwise])
        )
    between = rows["stimulus"].str.casefold().isin(NO_PICTURE)
    if between.any() and not between.all():
        reading.notes.append(f"{between.sum()} rows between pictures ({rows['stimulus'][between].iloc[0]}): left out")
        rows = rows[~between]
    if "eye" in rows:
        rows = _one_eye(rows, reading)
    for name in ("subject", "stimulus"):
        rows[name] = rows[name].cat.remove_unused_categories()
        names = pd.Series(rows[name].cat.categories)
        for _, same in names.groupby(names.str.replace(r"\s", "", regex=True).str.casefold()):
            if len(same) > 1:
                reading.notes.append(f"are {' and '.join(map(repr, same))} the same {name}? They are taken for two")
        shown = ", ".join([*names[:2], *(["..."] if len(names) > 3 else []), *names[2:][-1:]])
        unnamed = "of the files' names" if name == "subject" else "not told" if [*names] == ["all"] else "in the file"
        source = tables[0].found.get(name) or unnamed
        reading.lines.append(f"  {name:<10}{source}: {len(names)}: {shown:.200}")
        reading.names = pd.concat([reading.names, pd.DataFrame(dict(what=name, number=range(len(names)), name=names))])
    rows["scanpath"] = rows.groupby(["subject", "stimulus", "table", "trial"], observed=True).ngroup()
    also = ", ..." if len(tables) > 1 else ""
    reading.lines.insert(0, f"{len(tables)} file(s), {rows['file'].iloc[0]}{also}: {tables[0].format}")
    return rows.reset_index(drop=True)


def _texts(column: pd.Series) -> pd.Categorical:
    """Labels without spaces around them, sorted; "none" where there is none."""
    codes, names = pd.factorize(column)
    clean, labels = pd.factorize(np.array([str(name).strip() or "none" for name in [*names, "none"]]), sort=True)
    return pd.Categorical.from_codes(clean[codes], labels)


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
        return (*(numbers(unit, 2, "unit") or screen), 0.5)
    return {
        "px": (*screen, 0.0),
        "px:centre": (*screen, 0.5),
        "fraction": (1.0, 1.0, 0.0),
        "norm": (2.0, 2.0, 0.5),
        "height": (screen[0] / screen[1], 1.0, 0.5),
    }[unit]


def _screen(rows: pd.DataFrame, tables: list[Table], said: Said) -> tuple[pd.Series, pd.Series]:
    """Width and height (px) of each row's screen; NaN where nobody says it."""
    if not said.screen and {"screen_w", "screen_h"} <= set(rows):
        return rows["screen_w"], rows["screen_h"]
    sizes = np.array([said.screen or table.screen or (np.nan, np.nan) for table in tables])[rows["table"]]
    return pd.Series(sizes[:, 0], rows.index), pd.Series(sizes[:, 1], rows.index)


def _placed(rows: pd.DataFrame, tables: list[Table], reading: Reading) -> pd.DataFrame | None:
    """x, y as shares of the picture, y down; None where it cannot be told, and the findings say why."""
    said, unit = reading.said, reading.said.unit or tables[0].unit or "px"
    values = rows[["x", "y"]].dropna().to_numpy()
    if not len(values):
        raise DataFileError("no position in these files is a number")
    if not (said.unit or "width" in rows or tables[0].mapped):
        reading.findings += _doubts_of_unit(values, unit)
    wide, high = _screen(rows, tables, said)
    known = wide.notna()
    place = pd.DataFrame({side: rows.get(side, np.nan) for side in PICTURE}, rows.index)
    told = (place["width"] > 0) & (place["height"] > 0)
    if said.picture:
        place[list(PICTURE)], told = said.picture, told | True
    y_up = tables[0].y_up if said.y_up is None else said.y_up
    pixels_needed = unit in ("px", "px:centre", "height") or told.any()
    if pixels_needed and (~known & ((unit != "px") | y_up | ~told)).any() and not reading.findings:
        low, top = np.percentile(values, (0.5, 99.5), axis=0)
        reading.findings.append(
            f"the screen's size is in none of these files, and positions are in {unit} (x from {low[0]:g} to "
            f"{top[0]:g}, y from {low[1]:g} to {top[1]:g}): --screen WxH"
        )
    if reading.findings:
        return None
    wide, high = wide.fillna(1.0), high.fillna(1.0)
    sides = _sides(unit, (wide, high))
    for side, whole in zip(PICTURE, (0.0, 0.0, wide, high)):
        place[side] = place[side].fillna(0.0).where(told, whole)

    def shares(x: pd.Series, y: pd.Series) -> pd.DataFrame:
        x, y = (x / sides[0] + sides[2]) * wide, (y / sides[1] + sides[2]) * high
        y = high - y if y_up else y
        return pd.DataFrame(dict(x=(x - place["left"]) / place["width"], y=(y - place["top"]) / place["height"]))

    found = shares(rows["x"], rows["y"])
    reading.placed = found.assign(stimulus=rows["stimulus"], trial=rows["scanpath"])
    swapped = 1.0 if y_up else _outside(shares(rows["y"], rows["x"]))
    full = np.array([wide.iloc[0], high.iloc[0]])
    whole = "{:g} x {:g}".format(*full) if known.all() else "the screen"
    _check_place(found, swapped, bool(said.picture) or tables[0].mapped, bool(told.any()), full, whole, reading)
    columns = ", ".join(filter(None, map(tables[0].found.get, ("x", "y", "lx", "ly", "rx", "ry", "lpoint", "rpoint"))))
    direction = "y up: turned over" if y_up else "y down"
    why = "--unit" if said.unit else "by the format" if tables[0].unit else "taken so"
    reading.lines += [f"  {'x, y':<10}{columns}", f"  {'unit':<10}{unit} ({why}) of {whole}, {direction}"]
    if told.any():
        left, top, width, height = place[told].iloc[0]
        where = "--picture" if said.picture else "by the file"
        reading.lines.append(f"  {'picture':<10}{width:g} x {height:g} at {left:g}, {top:g} ({where})")
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


def _check_place(
    shares: pd.DataFrame, swapped: float, trusted: bool, told: bool, full: np.ndarray, whole: str, reading: Reading
) -> None:
    """Whether gaze lies in the picture and fills it; `full` is the screen's size, px, and `whole` that in words."""
    outside, points, stop = _outside(shares), shares.dropna(), reading.findings.append
    low, high = np.percentile(points, (0.5, 99.5), axis=0)
    corners = "{:.3g}, {:.3g} to {:.4g}, {:.4g}".format(*(low * full), *(high * full))
    sure = "if all is right as it is: --picture 0,0,{:g},{:g}".format(*full)
    if outside > 0.02 and swapped < outside / 4 and not trusted:
        stop(
            f"{outside:.1%} of positions are outside of {whole}, {swapped:.1%} if x and y change places: "
            f"--columns x=...,y=... the other way round; {sure}"
        )
    elif outside > 0.2 and not (trusted or told):
        stop(
            f"{outside:.0%} of positions are outside of {whole} (they reach from {corners}): another --screen WxH? "
            f"{sure}"
        )
    if len(points) >= 100 and (high - low).min() < 0.6 and outside < 0.2 and not (trusted or told):
        stop(
            f"gaze fills only {high[0] - low[0]:.0%} x {high[1] - low[1]:.0%} of {whole} (from {corners}): if the "
            f"picture was smaller than the screen, say where: --picture LEFT,TOP,WIDTH,HEIGHT; {sure}"
        )
    middle = points[points.ge(0).all(axis=1) & points.lt(1).all(axis=1)].mean()
    y_up = ". That is low for pictures: is y up? Nothing is turned over by guess: --y-up"
    reading.notes.append(
        f"{outside:.1%} outside of the picture; inside, gaze is on average {middle['x']:.0%} from the left and "
        f"{middle['y']:.0%} from the top" + y_up * bool(middle["y"] > 0.55 and len(points) >= 30)
    )


def _in_ms(rows: pd.DataFrame, table: Table, reading: Reading) -> pd.DataFrame:
    """Times in ms, and whether they can be."""
    said, stop = reading.said, reading.findings.append
    for name in TIMES:
        if name in rows:
            _, named = column_and_unit(said.columns.get(name, ""))
            unit = named or said.time or table.time.get(name, "ms")
            rows[name] *= UNITS[unit]
            reading.lines.append(f"  {name:<10}{table.found.get(name, name)} ({unit})")
    if "duration" not in rows and {"onset", "end"} <= set(rows):
        rows["duration"] = rows["end"] - rows["onset"]
    if "duration" not in rows and "onset" not in rows:
        stop("there is neither a duration nor a time: --columns duration=..., or onset=... of samples")
        return rows
    if "onset" in rows:
        rows = rows.sort_values(["scanpath", "onset"], kind="stable").reset_index(drop=True)
    step = rows.groupby("scanpath")["onset"].diff() if "onset" in rows else pd.Series(np.nan, rows.index)
    if "duration" not in rows:
        median = step[step > 0].median()
        if not 0.2 <= median <= 1000:
            stop(f"a sample would come every {median:g} ms: another unit? --time s, ms, us or ns")
        return rows
    low, median, high = rows["duration"].quantile([0.025, 0.5, 0.975])
    reading.lines.append(f"  {'':<10}median {median:.4g} ms, 95% between {low:.4g} and {high:.4g}")
    past = rows["duration"].shift()
    ratio = (step / past)[step.notna() & (past > 0)]
    early = (ratio < 0.5).mean() if len(ratio) >= 10 else 0.0
    if not 5 <= median <= 5000:
        stop(f"the median fixation would last {median:g} ms: another unit? --time s, ms, us or ns")
    elif 0.2 <= early <= 0.8:
        stop(
            f"{early:.0%} of fixations begin while the one before still lasts: both eyes (--columns eye=COLUMN), or "
            "two viewings in one trial (--columns trial=COLUMN)? If neither, leave onsets out: --columns onset="
        )
    elif len(ratio) >= 5 and not 0.1 <= ratio.median() <= 30:
        stop(
            "onsets and durations are in different units (from one onset to the next it takes "
            f"{ratio.median():.2g} of a duration): say it with the column, --columns onset=COLUMN:s, or leave onsets "
            "out: --columns onset="
        )
    return rows


def _too_long(longest_ms: float, trials: int, rows: int, reading: Reading) -> bool:
    """Whether frames of the trials, all kept as long as the longest, would take much more than the rows they are of."""
    if longest_ms <= LONGEST_MS and trials * longest_ms * RATE_HZ / 1000 <= max(MOST_CELLS, 4 * rows):
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
    _scanpaths(rows.sort_values("scanpath", kind="stable"), reading)


def _scanpaths(rows: pd.DataFrame, reading: Reading) -> None:
    """Sorted fixations, x and y as shares of the picture, on the grid."""
    rows = rows.assign(scanpath=pd.factorize(rows["scanpath"])[0])
    trials = rows.groupby("scanpath")
    if _too_long(float(trials["duration"].sum().max()), trials.ngroups, len(rows), reading):
        return
    who = {name: rows[name].cat.codes.astype(np.int64) for name in ("subject", "stimulus")}
    table = rows.assign(
        order=trials.cumcount(), duration_ms=rows["duration"], **who, **(rows[["x", "y"]] * PREPARED_SIZE)
    )
    columns = list(COLUMNS)
    table = table.rename(columns=dict(onset="onset_ms"))[[*columns, *(["onset_ms"] if "onset" in rows else [])]]
    table = table.reset_index(drop=True)
    reading.scanpaths = Scanpaths(table, PREPARED_SIZE, _source(reading, table[columns].to_numpy(float)))


def _samples(rows: pd.DataFrame, reading: Reading) -> None:
    """Samples; and where they are fast enough and few are lost, fixations told by velocity."""
    rows = rows[rows["onset"].notna() & ~rows.duplicated(["scanpath", "onset"])].reset_index(drop=True)
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
    if _too_long(longest, trials.ngroups, len(rows), reading):
        return
    points = rows[["x", "y"]].to_numpy() * PREPARED_SIZE
    table = np.column_stack([rows["onset"], np.where(valid.to_numpy()[:, None], points, 0), valid])
    pieces = np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows["scanpath"])) + 1)
    first = rows.iloc[[piece[0] for piece in pieces]][["subject", "stimulus"]].reset_index(drop=True)
    who = first.apply(lambda names: names.cat.codes.astype(np.int64))
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
        found.append(part.assign(scanpath=number))
    fixations = pd.concat(found, ignore_index=True).join(first, on="scanpath")
    unsure = ", with doubts below 100 samples a second" if rate < SURE_HZ * 0.95 else ""
    reading.notes.append(
        f"{len(fixations)} fixations made from samples by velocity ({THRESHOLD:g} px of the grid a second){unsure}"
    )
    if len(fixations):
        _scanpaths(fixations.assign(x=fixations["x"] / PREPARED_SIZE, y=fixations["y"] / PREPARED_SIZE), reading)
