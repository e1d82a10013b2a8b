"""Files from anywhere, read without trusting them: bounded, never unpickled, never unpacked outside a folder."""

import codecs
import csv
import glob
import gzip
import hashlib
import re
import stat
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, Literal, TextIO

import numpy as np
import pandas as pd

from fixlib.data.gaze import DataFileError

LIMIT = 4 * 2**30  # bytes: of a file, or of all that an archive holds
HEAD = 2**16  # characters that a format is told by
CHUNK = 200_000  # rows read at a time
LARGEST = 1e20  # ns since 1970 are less
BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@dataclass(frozen=True)
class Grid:
    """How a text file is a table."""

    separator: str  # " " stands for any white space
    skip: int  # lines up to and with the header
    names: tuple[str, ...]  # "1", "2", ... where there is no header
    decimal: str
    quoting: Literal[0, 3]  # of the csv module
    preamble: dict[str, str]  # "key: value" lines above the header, keys in small letters


@dataclass(frozen=True)
class File:
    """A file as it is read, what the user calls it, and where its neighbors are."""

    path: Path
    name: str
    origin: Path
    asked_for: bool = False  # by its own name, so that it is never left aside

    @cached_property
    def head(self) -> bytes:
        """Its first bytes."""
        with open(self.path, "rb") as file:
            return file.read(HEAD)

    @cached_property
    def encoding(self) -> str:
        """By its BOM; many zero bytes: UTF-16; else UTF-8 if all of it is; else Windows-1252 (only names suffer)."""
        for bom, name in BOMS.items():
            if self.head.startswith(bom):
                return name
        even, odd = self.head[::2].count(0), self.head[1::2].count(0)
        if even + odd > len(self.head) / 5:
            return "utf-16-le" if odd > even else "utf-16-be"
        decoder = codecs.getincrementaldecoder("utf-8")()
        with open(self.path, "rb") as file:
            try:
                while chunk := file.read(2**20):
                    decoder.decode(chunk)
                decoder.decode(b"", final=True)
            except UnicodeDecodeError:
                return "cp1252"
        return "utf-8"

    def open(self) -> TextIO:
        r"""Its text, with line ends \n; Python 2's \r\r\n becomes an empty line more, which no reader minds."""
        return open(self.path, encoding=self.encoding, errors="replace")

    @cached_property
    def lines(self) -> list[str]:
        """The first lines, whole."""
        with self.open() as file:
            text = file.read(HEAD)
            lines = text.split("\n")
            return lines[:-1] if file.read(1) and len(lines) > 1 else lines

    @cached_property
    def grid(self) -> Grid | None:
        """How it is a table; None where it is none."""
        return _sniff(self.lines)

    @property
    def stem(self) -> str:
        """Its name without folders and endings."""
        return PurePosixPath(self.name.replace("\\", "/")).name.split(".")[0]

    @cached_property
    def sha256(self) -> str:
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass
class Scratch:
    """A folder for what archives hold, and how many bytes may still be written there."""

    folder: Path
    left: int

    def unpack(self, file: IO[bytes] | gzip.GzipFile, parts: tuple[str, ...], name: str) -> Path:
        path = self.folder.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "xb") as copy:
            while chunk := file.read(2**20):
                self.left -= len(chunk)
                if self.left < 0:
                    raise DataFileError(f"{name} unpacks to more than {LIMIT / 2**30:g} GB: unpack it yourself")
                copy.write(chunk)
        return path


def collect(given: Iterable[Path | str], folder: Path) -> list[File]:
    """Files, those in folders, those that patterns name and those in archives, which are unpacked into `folder`.

    Raises:
        FileNotFoundError: there is nothing of that name.
        DataFileError: too large, or an archive that is damaged or would write elsewhere.
    """
    found: list[File] = []
    scratch = Scratch(folder, LIMIT)
    for each in given:
        path = Path(each).expanduser()
        paths = sorted(_inside(path)) if path.is_dir() else [path] if path.is_file() else []
        if not paths and not path.is_dir():
            paths = sorted(file for match in glob.glob(str(path), recursive=True) for file in _inside(Path(match)))
        if not paths:
            raise FileNotFoundError(f"no file at {each}")
        for file in paths:
            name = str(file.relative_to(path.parent)) if file.is_relative_to(path.parent) else file.name
            if file.stat().st_size > LIMIT:
                raise DataFileError(f"{file} has more than {LIMIT / 2**30:g} GB: export it in parts")
            kind = file.suffix.lower()
            read = {".zip": _unzip, ".gz": _gunzip}.get(kind)
            one = File(file, name, file, file == path)
            found += read(one, scratch, str(len(found))) if read else [one]
    return found


def _inside(path: Path) -> Iterator[Path]:
    """The files of a folder; hidden ones are not anybody's recordings."""
    if path.is_file():
        yield path
    for file in path.rglob("*") if path.is_dir() else ():
        parts = file.relative_to(path).parts
        if file.is_file() and not any(part.startswith((".", "__MACOSX", "~$")) for part in parts):
            yield file


def _unzip(archive: File, scratch: Scratch, place: str) -> list[File]:
    """The files of a .zip; of those only a .gz is unpacked further."""
    found: list[File] = []
    try:
        with zipfile.ZipFile(archive.path) as content:
            for member in sorted(content.infolist(), key=lambda member: member.filename):
                name = member.filename.replace("\\", "/")
                parts = PurePosixPath(name).parts
                link = stat.S_ISLNK(member.external_attr >> 16)
                if link or not parts or ".." in parts or ":" in parts[0] or parts[0] == "/":
                    what = "is a link" if link else "would be written outside of its folder"
                    raise DataFileError(f"{archive.name}: {member.filename!r} {what}; nothing of it was used")
                if member.is_dir() or any(part.startswith((".", "__MACOSX")) for part in parts):
                    continue
                with content.open(member) as file:
                    path = scratch.unpack(file, (place, *parts), f"{archive.name}: {name}")
                one = File(path, name, path)
                found += _gunzip(one, scratch, f"{place}.{len(found)}") if path.suffix.lower() == ".gz" else [one]
    except DataFileError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError, ValueError) as error:
        raise DataFileError(f"{archive.name} cannot be read as a .zip ({error}): unpack it yourself") from error
    return found


def _gunzip(archive: File, scratch: Scratch, place: str) -> list[File]:
    origin = archive.origin.with_suffix("")
    try:
        with gzip.open(archive.path) as file:
            path = scratch.unpack(file, (place, origin.name), archive.name)
    except (EOFError, zlib.error, OSError) as error:
        raise DataFileError(f"{archive.name} cannot be read as a .gz ({error}): unpack it yourself") from error
    return [File(path, archive.name[:-3], origin, archive.asked_for)]


def _sniff(lines: list[str]) -> Grid | None:
    """The separator under which most lines have the same number of fields; the header is the first of these."""
    shown = [(number, line) for number, line in enumerate(lines) if line.strip() and not line.startswith("##")]
    quoting: Literal[0, 3] = csv.QUOTE_NONE if any(line.count('"') % 2 for _, line in shown) else csv.QUOTE_MINIMAL
    best: tuple[int, str, int, list] = (0, "", 0, [])
    for separator in "\t;,| ":
        rows = [(number, fields(line, separator, quoting)) for number, line in shown]
        counts = Counter(len(row) for _, row in rows if len(row) > 1)
        width, many = counts.most_common(1)[0] if counts else (0, 0)
        if many > best[0] and (separator != " " or not best[0]):
            best = many, separator, width, rows
    many, separator, width, rows = best
    if not many:
        return None
    first = next(place for place, (_, row) in enumerate(rows) if len(row) == width)
    if first and width > 2 and len(rows[first - 1][1]) == width - 1 and not rows[first][1][-1]:
        first -= 1  # its rows end with a separator, the header does not
    number, header = rows[first]
    headless = all(re.fullmatch(r"\s*[-+\d.,eE]+\s*", field) for field in header)
    cells = [field.strip() for _, row in rows[first : first + 200] for field in row]
    commas, points = (sum(bool(re.fullmatch(rf"-?\d+{mark}\d+", cell)) for cell in cells) for mark in (",", r"\."))
    above = (re.match(r"#*\s*([^:]+):\s*(.*)", line) for line in lines[:number])
    return Grid(
        separator,
        number if headless else number + 1,
        tuple(str(place) for place in range(1, width + 1)) if headless else tuple(name.strip() for name in header),
        "," if commas > points else ".",
        quoting,
        {match[1].strip().lower(): match[2].strip() for match in above if match},
    )


def fields(line: str, separator: str, quoting: Literal[0, 3] = csv.QUOTE_MINIMAL) -> list[str]:
    """The cells of a line."""
    if separator == " ":
        return line.split()
    try:
        return next(csv.reader([line], delimiter=separator, quoting=quoting), [])
    except csv.Error:
        return []


def read_columns(file: File, where: dict[str, int], numbers: Iterable[str]) -> pd.DataFrame:
    """Columns of a table by their places, under names of ours; `numbers` as float64, NaN where there is none.

    Raises:
        DataFileError: a line has not the header's fields.
    """
    grid = file.grid
    assert grid is not None
    chunks = []
    with file.open() as handle, warnings.catch_warnings():
        warnings.simplefilter("ignore", pd.errors.ParserWarning)  # of a separator at the end of lines
        for _ in range(grid.skip):
            handle.readline()
        try:
            for chunk in pd.read_csv(
                handle,
                sep=r"\s+" if grid.separator == " " else grid.separator,
                header=None,
                names=list(range(len(grid.names))),
                index_col=False,
                usecols=sorted(set(where.values())),
                dtype=str,
                keep_default_na=False,
                quoting=grid.quoting,
                chunksize=CHUNK,
            ):
                chunks.append(
                    pd.DataFrame(
                        {
                            name: as_numbers(chunk[place], grid.decimal)
                            if name in numbers
                            else chunk[place].fillna("").str.strip().astype("category").astype(object)
                            for name, place in where.items()
                        }
                    )
                )
        except (pd.errors.ParserError, pd.errors.EmptyDataError, csv.Error) as error:
            raise DataFileError(f"{file.name} cannot be read as a table: {error}") from error
    if not chunks:
        raise DataFileError(f"{file.name} has a header and no row")
    return pd.concat(chunks, ignore_index=True)


def as_numbers(values: pd.Series, decimal: str = ".") -> np.ndarray:
    """float64; NaN for what is no number (".", "-", "n/a", "UNDEFINEDnull", ...), or too large."""
    if decimal == ",":
        values = values.astype(str).str.replace(",", ".", regex=False)
    found = pd.to_numeric(values, errors="coerce").to_numpy(float, na_value=np.nan)
    return np.where(np.abs(found) < LARGEST, found, np.nan)
