"""EyeLink's .asc files (what edf2asc makes of .edf): events, or samples. And .edf itself, by eyelinkio."""

import shutil
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from operator import itemgetter
from pathlib import Path

import numpy as np
import pandas as pd

from fixlib.data.gaze import DataFileError
from fixlib.data.readers.files import File
from fixlib.data.readers.formats import EYES, PICTURE, STIMULUS, Table, tidy

MISSING = 32768  # px: EyeLink's mark of a missing position, and what is beyond it
EDF = b"SR_RESEARCH_"
READ_EDF = """
import eyelinkio, numpy
found = eyelinkio.read_edf("rec.edf")["discrete"]
numpy.savez("rec.npz", messages=found["messages"], fixations=found["fixations"])
"""
NAMES = tuple(name.replace(" ", "_") for name in STIMULUS.split("|"))  # of trial variables that may name the picture


@dataclass
class Block:
    """From START to END: a trial, unless several TRIALIDs tell more."""

    trial: str = ""
    began: float = 0.0  # ms of the tracker's clock; when the picture came, where that is told
    shown: bool = False
    stimulus: str = ""
    picture: tuple[float, ...] | None = None


@dataclass
class Session:
    """The lines of a recording, taken one by one."""

    variable: str = ""  # the trial variable that names the picture
    samples_wanted: bool = True
    blocks: list[Block] = field(default_factory=list)
    coming: Block = field(default_factory=Block)
    recording: bool = False
    screen: tuple[float, float] | None = None
    both_eyes: bool = False
    fixations: list[tuple[int, str, float, float, float, float, float]] = field(default_factory=list)
    samples: array = field(default_factory=lambda: array("d"))  # block, time, x, y of left and of right eye

    @property
    def current(self) -> Block:
        """What a message is about: the trial being recorded, else the next one."""
        return self.blocks[-1] if self.recording else self.coming

    def take(self, kind: str, *words: str) -> None:
        """A line: an event, or (it begins with the time) a sample."""
        if kind[0].isdigit() and self.recording and self.samples_wanted:
            numbers = [_number(word) for word in (kind, *words[:6])]
            if len(numbers) >= (7 if self.both_eyes else 3):
                right = numbers[4:6] if self.both_eyes else [np.nan, np.nan]
                self.samples.extend([len(self.blocks) - 1, *numbers[:3], *right])
        elif kind == "EFIX" and self.blocks and len(words) >= 6:
            self.fixations.append((len(self.blocks) - 1, words[0], *map(_number, words[1:6])))  # type: ignore[arg-type]
        elif kind == "START" and words:
            block, self.coming = self.coming, Block()
            block.began = block.began if block.shown else _number(words[0])
            self.blocks.append(block)
            self.recording, self.both_eyes = True, {"LEFT", "RIGHT"} <= set(words)
        elif kind == "END":
            self.recording = False
        elif kind == "MSG" and len(words) > 1:
            self._message(_number(words[0]), words[1:])

    def _message(self, time: float, words: tuple[str, ...]) -> None:
        if words[0] in ("DISPLAY_COORDS", "GAZE_COORDS") and len(words) >= 5:
            left, top, right, bottom = map(_number, words[1:5])
            # They are the last pixel, but programs of PyGaze write the size; sizes are even.
            last = 1.0 if (right - left) % 2 == 1 == (bottom - top) % 2 else 0.0
            if right > left and bottom > top:
                self.screen = right - left + last, bottom - top + last
        elif words[0] == "TRIALID":
            if self.recording and self.blocks[-1].trial:
                self.blocks.append(Block(began=time))
            elif not self.recording:
                self.coming = Block()
            self.current.trial = " ".join(words[1:]) or str(len(self.blocks))
        elif words[-1] == "SYNCTIME" and not self.current.shown:
            offset = _number(words[0])
            self.current.began, self.current.shown = time + (offset if offset == offset else 0.0), True
        elif words[:2] == ("!V", "IMGLOAD") and len(words) >= 4:
            self._shown(words[2], words[3:])
        elif words[:2] == ("!V", "TRIAL_VAR") and len(words) >= 4 and (self.blocks or self.coming.trial):
            block = self.coming if self.coming.trial else self.blocks[-1]  # they come after END
            name = words[2].lower()
            if name == self.variable.lower() if self.variable else name in NAMES and not block.stimulus:
                block.stimulus = " ".join(words[3:])

    def _shown(self, how: str, words: tuple[str, ...]) -> None:
        block = self.current
        block.stimulus = block.stimulus or words[0].replace("\\", "/").rpartition("/")[2]
        x, y, width, height = ([_number(word) for word in words[1:5]] + [np.nan] * 4)[:4]
        if how == "CENTER" and width > 0 and height > 0:
            block.picture = x - width / 2, y - height / 2, width, height
        elif how == "TOP_LEFT" and width > 0 and height > 0:
            block.picture = x, y, width, height


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return np.nan


def eyelink_asc(file: File, columns: dict[str, str], eye: str) -> Table | None:
    """Fixations where it has any, else samples."""
    begins = {(line.split() or [""])[0] for line in file.lines}
    converted = any(line.startswith("** CONVERTED FROM") for line in file.lines[:3])
    if not (converted or ("START" in begins and begins & {"EFIX", "SAMPLES", "EVENTS"})):
        return None
    with file.open() as lines:
        events = any(line.startswith("EFIX") for line in lines)
    session = Session(columns.get("stimulus", ""), samples_wanted=not events)
    with file.open() as lines:
        for words in filter(None, map(str.split, lines)):
            session.take(*words)
    if not session.blocks:
        raise DataFileError(f"{file.name} has no START: nothing was recorded")
    return _table(session, file, eye)


def eyelink_edf(file: File, columns: dict[str, str], eye: str) -> Table | None:
    """A binary .edf: its messages and fixations, taken as those of an .asc; its samples are not used."""
    if not file.head.startswith(EDF):
        return None
    session = Session(columns.get("stimulus", ""))
    for _, words in sorted(_edf_lines(file), key=itemgetter(0)):
        known = [fixation[0] for fixation in session.fixations[-1:]]
        waiting = session.blocks and session.blocks[-1].trial and known != [len(session.blocks) - 1]
        if words[2:3] == ("RECCFG",) and not waiting:  # it comes with each START, which eyelinkio does not tell
            session.take("START", words[1])
        session.take(*words)
    return _table(session, file, eye)


def _edf_lines(file: File) -> Iterator[tuple[float, tuple[str, ...]]]:
    """Time and words of fixations and messages, as edf2asc would write them."""
    otherwise = f"convert it: edf2asc {file.name}"
    if find_spec("eyelinkio") is None:
        raise DataFileError(
            f"{file.name}: reading EyeLink's binary files needs eyelinkio (pip install 'fixlib[eyelink]'), or "
            f"{otherwise}"
        )
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copy(file.path, Path(scratch) / "rec.edf")  # it takes names in ASCII only
        # In a process of its own: it calls a closed library, which a damaged file could bring down.
        ended = subprocess.run([sys.executable, "-c", READ_EDF], cwd=scratch, capture_output=True, text=True)
        if ended.returncode:
            why = (ended.stderr.strip().splitlines() or [f"it ended with {ended.returncode}"])[-1]
            raise DataFileError(f"{file.name} cannot be read by eyelinkio ({why:.200}): {otherwise}")
        with np.load(Path(scratch) / "rec.npz", allow_pickle=False) as found:
            messages, fixations = found["messages"], found["fixations"]
    for side, begin, end, *point in fixations.tolist():
        place = [str(value) if abs(value) < MISSING else "." for value in point]
        yield end, ("EFIX", "LR"[int(side)], *map(str, (1000 * begin, 1000 * end, 1000 * (end - begin))), *place)
    for time, message in messages.tolist():
        yield time, ("MSG", str(1000 * time), *message.decode("ascii", "replace").split())


def _table(session: Session, file: File, eye: str) -> Table:
    events, notes = bool(session.fixations), []
    kind = "EyeLink .edf" if file.head.startswith(EDF) else "EyeLink"
    if events:
        rows = pd.DataFrame(session.fixations, columns=["block", "eye", "onset", "end", "duration", "x", "y"])
    else:
        samples = np.frombuffer(session.samples).reshape(-1, 6)
        rows = pd.DataFrame(samples, columns=["block", "onset", *EYES]).astype(dict(block=int))
    if not len(rows):
        raise DataFileError(f"{file.name} has neither fixations (EFIX) nor samples")
    blocks = pd.DataFrame(
        [(b.trial, b.began, b.stimulus, *(b.picture or [np.nan] * 4)) for b in session.blocks],
        columns=["trial", "began", "stimulus", *PICTURE],
    )
    blocks["trial"] = [trial or str(number + 1) for number, trial in enumerate(blocks["trial"])]
    if blocks["trial"].duplicated().any():  # many write the condition there
        blocks["trial"] = [f"{number + 1} {trial}" for number, trial in enumerate(blocks["trial"])]
    rows = rows.join(blocks, on="block")
    what, ends = ("fixations", "end") if events else ("samples", "onset")
    early = rows[ends] <= rows["began"]
    if early.any():
        notes.append(f"{early.sum()} {what} ended before their picture was shown (SYNCTIME): dropped")
    rows = rows[~early].reset_index(drop=True)
    rows["onset"] -= rows["began"]
    if not (rows["stimulus"] != "").any():
        rows = rows.drop(columns="stimulus")
    rows = rows.drop(columns=["began", "block", "end"], errors="ignore")
    found = dict(x="EFIX", duration="EFIX", onset="EFIX, from the trial's begin") if events else {}
    rows, time = tidy(rows.assign(subject=file.stem), eye=eye), dict(onset="ms", duration="ms")
    return Table(
        rows, f"{kind}, {'events' if events else 'samples'}", "px", False, time, found, session.screen, notes=notes
    )
