"""Recorded runs: one small JSON file each, written once, read only where the key fits.

A run is what was asked for (`RunSpec`) and what came out (a payload). The key is a hash of the first, so that a change
of configuration or data can never be answered with an old result: `Results().read(spec).metrics["error_median"]`.
"""

import base64
import hashlib
import json
import math
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fixlib.runs.config import RunSpec, canonical, sha256
from fixlib.system import atomic_write, root

FORMAT_VERSION = 1
_OURS = ("format_version", "key", "spec")
# Parts of a payload in which null is a number that is not defined.
NUMBERS = ("metrics", "by_horizon", "history", "intervals", "rates", "autocorrelation")
# Columns of Evaluation.per_window that a run keeps: what paired comparisons, error histograms and errors by
# amplitude need. The others have their value and interval in the summary, and would double the file.
PER_WINDOW = (
    *("subject", "stimulus", "frames", "changed_frames", "amplitude", "white_pixel_recall", "hit_1px", "hit_3px"),
    *("hit_5px", "error", "error_argmax", "error_median", "changed_error", "changed_error_median", "undershoot"),
    *("information_gain_reference", "bits", "bits_stay", "bits_near", "bits_back", "bits_elsewhere"),
)


class ResultError(RuntimeError):
    """A results file that cannot be trusted: corrupt, edited, or not of the run it is named after."""


@dataclass(frozen=True)
class Run:
    """A recorded run: arrays in the payload are numpy arrays again, undefined numbers are NaN."""

    spec: RunSpec
    path: Path
    payload: dict[str, Any]

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """metric -> dict(value, low, high)."""
        return self.payload["metrics"]

    @property
    def by_horizon(self) -> dict[str, list[float]]:
        return self.payload.get("by_horizon", {})

    @property
    def history(self) -> list[dict[str, float]]:
        """One dict an epoch."""
        return self.payload.get("history", [])

    @property
    def per_window(self) -> dict[str, np.ndarray]:
        return self.payload.get("per_window", {})

    @property
    def metrics_version(self) -> int:
        """Of the code that computed the metrics; records of before there was one are of the first."""
        return self.payload.get("metrics_version", 1)


class Results:
    """The recorded runs in a folder of the project, "results" by default; their networks are kept in `weights`."""

    def __init__(self, folder: str | Path | None = None, weights: Path | None = None) -> None:
        self.folder = (root() / (folder or "results")).resolve()
        self.weights = weights or root() / "build" / "weights"

    @property
    def place(self) -> str:
        """6 hex digits, of the names of files that are about runs recorded here."""
        return hashlib.sha256(str(self.folder).encode()).hexdigest()[:6]

    def path(self, spec: RunSpec) -> Path:
        return self.folder / spec.experiment / spec.dataset / spec.filename

    def has(self, spec: RunSpec) -> bool:
        return self.path(spec).is_file()

    def read(self, spec: RunSpec) -> Run:
        """The run of exactly this spec.

        Raises:
            FileNotFoundError: it has not been recorded.
            ResultError: its file is corrupt, was edited, or holds another run.
        """
        path = self.path(spec)
        if not path.is_file():
            command = f"fixlib run {spec.experiment} --profile {spec.profile}"
            raise FileNotFoundError(f"no recorded run {path}: record it with `{command}`")
        return replace(_read(path), spec=spec)  # equal, for its key is in the file's name; but it knows its location

    def write(self, spec: RunSpec, payload: dict[str, Any], scored_anew: bool = False) -> Path:
        """Record a run: the whole file or none of it, and over another only where the same run was scored anew.

        Args:
            payload: JSON values, numpy arrays and tensors at any depth (packed, floats as float16; `pack`
                them yourself for more), NaN where undefined.

        Raises:
            FileExistsError: the run is recorded already.
        """
        path = self.path(spec)
        if path.exists() and not scored_anew:
            raise FileExistsError(f"{path} is recorded already: runs are written once. Delete it to run it again")
        content = dict(format_version=FORMAT_VERSION, key=spec.key, spec=spec.to_json(), **_to_json(payload))
        content["checksum"] = sha256(content)
        # One line a key: small, and a reader (or git) can still see what is in it.
        lines = ",\n".join(f"{json.dumps(name)}: {canonical(value)}" for name, value in content.items())
        with atomic_write(path) as file:
            file.write(f"{{\n{lines}\n}}\n".encode())
        return path

    def runs(self, experiment: str | None = None, dataset: str | None = None, profile: str | None = None) -> list[Run]:
        """Every recorded run, in the order of file names; ResultError if any file is not to be trusted."""
        found = map(_read, sorted(self.folder.glob(f"{experiment or '*'}/{dataset or '*'}/*.json")))
        return [run for run in found if profile in (None, run.spec.profile)]


def _read(path: Path) -> Run:
    """A file that agrees with itself: its checksum, its key and its name."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        checksum = content.pop("checksum")
        unchanged = checksum == sha256(content)
        version, key, spec = (content.pop(name) for name in _OURS)
        spec = RunSpec.from_json(spec)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        why = f"is not a recorded run ({type(error).__name__}: {error})"
        raise ResultError(f"{path} {why}. Delete the file and run it again") from error
    for wrong, why in (
        (version != FORMAT_VERSION, f"has format version {version}, this fixlib reads {FORMAT_VERSION}"),
        (not unchanged, "was changed after it was recorded (its checksum does not fit)"),
        (key != spec.key or path.name != spec.filename, f"should be named {spec.filename}, by what it holds"),
    ):
        if wrong:
            raise ResultError(f"{path} {why}. Restore it, or delete it and run it again")
    return Run(spec, path, {name: _from_json(value, name in NUMBERS) for name, value in content.items()})


def largest_difference(run: Run, other: Run) -> float:
    """Of the metrics that both have: the largest relative difference, 0 where one is undefined."""
    names = run.metrics.keys() & other.metrics.keys()
    pairs = [(run.metrics[name]["value"], other.metrics[name]["value"]) for name in names]
    return max((abs(a - b) / max(abs(a), abs(b)) for a, b in pairs if a != b and a == a and b == b), default=0)


def weights_file(spec: RunSpec, stage: str = "", folder: Path | None = None) -> Path:
    """Where the weights of a run's network are kept, on the machine that trained it."""
    return (folder or root() / "build" / "weights") / f"{spec.stem}{stage and '.' + stage}.pt"


def payload_of(evaluation: Any) -> dict[str, Any]:
    """What a run keeps of an `Evaluation`: metrics, by_horizon, per_window (of `PER_WINDOW`), pr_curve."""
    per_window = {name: evaluation.per_window[name] for name in PER_WINDOW if name in evaluation.per_window}
    kept = dict(metrics=evaluation.summary, by_horizon=evaluation.by_horizon, per_window=per_window)
    if evaluation.pr_curve is not None:
        kept["pr_curve"] = {name: np.asarray(values) for name, values in evaluation.pr_curve.items()}
    return kept


def pack(array: Any, dtype: str = "float16") -> dict[str, Any]:
    """An array or tensor as a small JSON object; `unpack` gives it back, in that dtype.

    Bytes of equal significance are put side by side before zlib: the high bytes of similar numbers repeat.
    Raises ValueError where a finite number does not survive the dtype (overflow; for integers, any change).
    """
    array = np.asarray(array)
    with np.errstate(over="ignore", invalid="ignore"):
        stored = np.ascontiguousarray(array.astype(np.dtype(dtype).newbyteorder("<")))
    kept = np.isfinite(stored) == np.isfinite(array) if stored.dtype.kind == "f" else stored == array
    if not np.all(kept):
        within = f"an array of {array.dtype} in [{array.min()}, {array.max()}]"
        raise ValueError(f"{dtype} cannot hold all numbers of {within}: pack it with a wider dtype")
    planes = stored.reshape(-1, 1).view(np.uint8).T.tobytes()
    text = base64.b85encode(zlib.compress(planes, 9)).decode()
    return dict(packed=text, dtype=str(np.dtype(dtype)), shape=list(array.shape))


def unpack(packed: dict[str, Any]) -> np.ndarray:
    """The array that `pack` was given."""
    dtype = np.dtype(packed["dtype"]).newbyteorder("<")
    planes = np.frombuffer(zlib.decompress(base64.b85decode(packed["packed"])), np.uint8)
    values = np.ascontiguousarray(planes.reshape(dtype.itemsize, -1).T).view(dtype)
    return values.reshape(packed["shape"]).astype(packed["dtype"])


def _to_json(value: Any) -> Any:
    """Arrays packed, as float16 (three digits) or the smallest integers that do; numbers of 7 digits, as float32."""
    if isinstance(value, dict):
        return {str(name): _to_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray) and value.ndim:
        if value.dtype.kind == "f":
            return pack(value, "float16")
        ends = [np.min_scalar_type(end) for end in (value.min(), value.max())] if value.size else [value.dtype]
        return pack(value, str(value.dtype if value.dtype.kind == "b" else np.result_type(*ends)))
    if isinstance(value, np.generic | np.ndarray):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else None  # JSON has no NaN
    return value


def _from_json(value: Any, numbers: bool) -> Any:
    """Arrays unpacked; null is NaN where only numbers are expected."""
    if isinstance(value, dict):
        return unpack(value) if "packed" in value else {k: _from_json(v, numbers) for k, v in value.items()}
    if isinstance(value, list):
        return [_from_json(item, numbers) for item in value]
    return math.nan if value is None and numbers else value
