"""Damaged exports: each must be read as data that pass the checks, be stopped with a finding, or be refused."""

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from fixlib.data import DataFileError, read_recordings
from tests import own_exports

NASTY = [b"\x00", b"\xff", b"\xfe\xff", *(bytes([each]) for each in b"\n\r\t,;\"'-."), b"nan", b"inf", b"1e308"]
NASTY += [b"-1e308", b"9" * 30, b"0", b"-1", b"{", b"[" * 3000, b"null", b"\xc3\x28", b"START 1\n", b"EFIX L "]


def run(quick: bool, threads: int, dataset: str) -> Iterable[dict]:
    """20,000 files (quick: 500)."""
    total, step, begun = 500 if quick else 20_000, 500, time.perf_counter()
    for first in range(0, total, step):
        with tempfile.TemporaryDirectory() as folder:
            found = outcomes(Path(folder), range(first, first + step))
        yield dict(files=first + step, seconds=round(time.perf_counter() - begun)) | dict(found)


def outcomes(folder: Path, seeds: Iterable[int]) -> Counter:
    """How reading ended: "read", "stopped" (a finding), "refused" (the documented error), or what else was raised."""
    found: Counter = Counter()
    kinds, given = list(own_exports.WRITERS), {}
    gaze = own_exports.gaze(viewers=("anna",), pictures=("dog.jpg", "sea.jpg"), n=5)
    for kind in kinds:
        place = folder / f"{kinds.index(kind)}"
        place.mkdir()
        given[kind] = place, own_exports.write(kind, gaze, place)
    for seed in seeds:
        kind = kinds[seed % len(kinds)]
        place, (files, options) = given[kind]
        if kind == "a data frame":
            continue
        rng = np.random.default_rng(seed)
        victim = rng.choice(sorted(path for path in place.rglob("*") if path.is_file()))
        whole = victim.read_bytes()
        victim.write_bytes(damaged(whole, rng))
        begun = time.perf_counter()
        try:
            reading = read_recordings(files, "fuzz", **options)
            table = reading.recordings or reading.scanpaths
            end = "stopped" if reading.findings else "read"
            if end == "read":
                assert table is not None
                table.frames(10.0)
        except DataFileError:
            end = "refused"
        except Exception as error:  # what must not be
            end = f"{type(error).__name__}: {error!s:.100} ({kind}, seed {seed})"
        if (took := time.perf_counter() - begun) > 20:
            end = f"slow: {took:.0f} s ({kind}, seed {seed})"
        found[end] += 1
        victim.write_bytes(whole)
    shutil.rmtree(folder)
    return found


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """A few of: bytes changed, pieces cut, doubled or moved, the end cut off, nasty ones put in, lines swapped."""
    for _ in range(rng.integers(1, 4)):
        a, b = sorted(rng.integers(0, len(content) + 1, 2))
        match rng.integers(0, 7):
            case 0:
                changed = bytearray(content)
                for place in rng.integers(0, max(1, len(content)), 5):
                    if changed:
                        changed[place] = rng.integers(0, 256)
                content = bytes(changed)
            case 1:
                content = content[:a] + content[min(b, a + 200) :]
            case 2:
                content = content[:b] + content[a:b] + content[b:]
            case 3:
                content = content[:b]
            case 4:
                for place in sorted(rng.integers(0, len(content) + 1, rng.integers(1, 6)))[::-1]:
                    content = content[:place] + NASTY[rng.integers(len(NASTY))] + content[place:]
            case 5:
                lines = content.split(b"\n")
                first, second = rng.integers(0, len(lines), 2)
                lines[first], lines[second] = lines[second], lines[first]
                content = b"\n".join(lines)
            case 6:
                one, other = rng.choice([b",", b";", b"\t", b".", b"\n", b" ", b"0", b"1"], 2)
                content = content.replace(one, other, int(rng.integers(1, 50)))
    return content
