"""What a run is, as types: its configuration, its size, and the specification that its key is a hash of.

A configuration holds everything that the result follows from besides the data. It is written as the JSON that version
0.3 wrote, so that every run keeps its key: what has its default is left out where it was left out then.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from fixlib import data
from fixlib.data.datasets import resolve_folder
from fixlib.registry import Registry
from fixlib.training import OLDER_NAMES, known_precision

DESCRIPTION = "description"  # the kind of a run that describes recordings, and predicts nothing
_LEFT_OUT = ("stride", "seed", "train_stride", "fold", "patience", "sigma")  # where they are None
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


@dataclass(frozen=True)
class Data:
    """Which windows a run sees."""

    dataset: str  #: a dataset's name, or a folder's name without its path
    rate_hz: float | None = 10.0  #: frames a second; None for one frame a fixation
    size: int = 32  #: side of the grid, px
    #: n_in, n_out: frames given, frames asked for
    n_in: int = 10
    n_out: int = 10
    #: train, val, test: windows at most (None: all there are)
    train: int | None = None
    val: int | None = None
    test: int | None = None
    stride: int | None = None  #: frames from a window's start to the next one's, where windows are cut from sequences
    seed: int | None = None  #: of lattice motion, which is drawn
    train_stride: int | None = None  #: the same of the training part alone; `stride` by default
    fold: int | None = None  #: which of the splits of `fixlib.data.open_rotated`; the dataset's own by default
    #: where a folder lies. It is no part of the configuration, and is not recorded
    location: str = field(default="", compare=False, repr=False)

    @classmethod
    def of(cls, dataset: str, **windows: Any) -> "Data":
        """The windows of a dataset's name or of a folder, however its path is spelt."""
        folder = resolve_folder(dataset).resolve()
        if dataset in data.DATASETS or not folder.is_dir():
            return cls(dataset, **windows)
        return cls(folder.name, **windows, location=str(folder))

    @property
    def source(self) -> str:
        """What opens it: the name, or where the folder lies."""
        return self.location or self.dataset

    @property
    def fingerprint(self) -> str:
        """Of the data as they are now; see `fixlib.data.fingerprint`."""
        return data.fingerprint(self.source, self.rate_hz, self.size)

    def to_json(self) -> dict[str, Any]:
        found = asdict(self)
        del found["location"]
        return {name: value for name, value in found.items() if name not in _LEFT_OUT or value is not None}


@dataclass(frozen=True)
class Model:
    """A network or baseline: its kind, a registered name, and the options of that kind."""

    kind: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Loss:
    """A registered loss and its options; no name where nothing is trained for one."""

    name: str = ""
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Training:
    """How a network is trained: options of `fixlib.training.train_model_with_loss`, and `mirror`, `earlier`, `sigma` of
    its `WindowLoader`; by default the original experiment's. No epochs: nothing is trained.
    """

    epochs: int = 0
    batch_size: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 1e-5
    clip_norm: float | None = 1.0
    plateau_patience: int = 5
    plateau_factor: float = 0.5
    precision: str = "float32"
    patience: int | None = None
    mirror: bool = False
    earlier: bool = False
    sigma: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "precision", known_precision(self.precision))

    def to_json(self) -> dict[str, Any]:
        found = {name: value for name, value in asdict(self).items() if name not in _LEFT_OUT or value is not None}
        found = {name: value for name, value in found.items() if value is not False}
        precision = found.pop("precision")
        if precision == "float32":
            return found
        recorded = {name: old for old, name in OLDER_NAMES.items()}
        return found | dict(precision=recorded.get(precision, precision))


@dataclass(frozen=True)
class Config:
    """Everything that a run's numbers follow from, besides the data."""

    data: Data
    model: Model
    loss: Loss = Loss()
    training: Training = Training()
    #: chapter 3's: the noises that a network goes through, one after the other, or that answers are for
    noises: tuple[float, ...] = ()
    #: the configuration of the network that this one starts from, instead of random weights
    start: "Config | None" = None

    @property
    def epochs(self) -> int:
        """Passes over the training windows in all; 0 where nothing is trained."""
        return self.training.epochs * max(1, len(self.noises))

    def in_precision(self, precision: str) -> "Config":
        """The same, trained in that precision, and so what it starts from."""
        start = self.start and self.start.in_precision(precision)
        return replace(self, training=replace(self.training, precision=precision), start=start)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        found: dict[str, Any] = dict(data=self.data.to_json())
        if self.model.kind == DESCRIPTION:
            found |= self.model.options
        else:
            found["model"] = dict(kind=self.model.kind, **self.model.options)
        if self.loss.name:
            found["loss"] = dict(name=self.loss.name, **self.loss.options)
        if self.epochs:
            found["training"] = self.training.to_json()
        if self.noises:
            found["noises"] = list(self.noises)
        if self.noises and self.epochs:
            found["start"] = self.start and self.start.to_json()
        return found

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Config":
        """What `to_json` was of; TypeError or KeyError for what is none."""
        rest = dict(content)
        where, loss, training = (dict(rest.pop(name, {})) for name in ("data", "loss", "training"))
        noises, start = rest.pop("noises", ()), rest.pop("start", None)
        model = dict(rest.pop("model", dict(kind=DESCRIPTION, **rest)))
        named = Model(model.pop("kind"), model), Loss(loss.pop("name", ""), loss)
        return cls(Data(**where), *named, Training(**training), tuple(noises), start and cls.from_json(start))


@dataclass(frozen=True)
class RunSpec:
    """What is run: the configuration, what it is called, and the fingerprint of the data.

    Raises ValueError for names that cannot be file names.
    """

    experiment: str
    dataset: str
    variant: str
    profile: str
    seed: int
    config: Config
    fingerprint: str

    def __post_init__(self) -> None:
        for name in ("experiment", "dataset", "variant", "profile"):
            if not _NAME.fullmatch(value := str(getattr(self, name))):
                raise ValueError(f"{name} {value!r} must be of letters, digits and _.+-: it is part of a file name")

    def located(self, folder: str) -> "RunSpec":
        """The same, with where the folder of its data lies."""
        return replace(self, config=replace(self.config, data=replace(self.config.data, location=folder)))

    @property
    def key(self) -> str:
        """10 hex digits that change with every field."""
        return sha256(self.to_json())[:10]

    @property
    def stem(self) -> str:
        """Of the names of its files."""
        return f"{self.variant}-{self.profile}-{self.seed}-{self.key}"

    @property
    def filename(self) -> str:
        return f"{self.stem}.json"

    def to_json(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)} | dict(config=self.config.to_json())

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "RunSpec":
        """What `to_json` was of; TypeError, ValueError or KeyError for what is none."""
        return cls(**content | dict(config=Config.from_json(content["config"])))


def canonical(value: Any) -> str:
    """JSON of one spelling; ValueError or TypeError where it has none."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256(value: Any) -> str:
    """Of the canonical JSON of a value."""
    return hashlib.sha256(canonical(value).encode("utf-8")).hexdigest()


def make_spec(experiment: str, variant: str, profile: "Profile", seed: int, config: Config) -> RunSpec:
    """A run's specification, with the fingerprint of the data it names."""
    where = config.data
    return RunSpec(experiment, where.dataset, variant, profile.name, seed, config, where.fingerprint)


@dataclass(frozen=True)
class Profile:
    """The size of a run, the same for every chapter."""

    name: str
    simvp: dict[str, Any]  # options of `SimVP` for predicting frames
    regression_hid_T: int  # the width of the hybrid's translator; its other options are those of `simvp`
    epochs: int  # at most
    train: int | None  # windows at most (None: all there are)
    val: int | None
    test: int | None
    patience: int | None = None

    @property
    def frames(self) -> Model:
        """The network that predicts frames."""
        return Model("simvp", self.simvp)

    @property
    def hybrid(self) -> Model:
        """The network that regresses the next point."""
        return Model("regression", self.simvp | dict(hid_T=self.regression_hid_T))

    @property
    def training(self) -> Training:
        return Training(self.epochs, patience=self.patience)

    def data(self, dataset: str, **windows: Any) -> Data:
        """Of a dataset: rate_hz, n_in, n_out and stride are the chapter's."""
        return Data.of(dataset, train=self.train, val=self.val, test=self.test, **windows)


PROFILES: Registry[Profile] = Registry("profile")
for _profile in (
    # For CI: nothing is learnt. For a laptop: enough to see which losses find the pixel. The original experiment. Each
    # loss at its best: all training windows, until validation no longer improves.
    Profile("smoke", dict(hid_S=4, hid_T=16, N_S=2, N_T=2), 16, epochs=2, train=16, val=8, test=16),
    Profile("quick", dict(hid_S=8, hid_T=32, N_S=4, N_T=2), 32, epochs=10, train=1000, val=200, test=600),
    Profile("paper", dict(hid_S=64, hid_T=256, N_S=4, N_T=8), 512, epochs=25, train=500, val=100, test=600),
    Profile("tuned", dict(hid_S=8, hid_T=32, N_S=4, N_T=2), 32, epochs=40, train=None, val=None, test=600, patience=6),
):
    PROFILES[_profile.name] = _profile
get_profile = PROFILES.__getitem__  # ValueError naming the known ones where there is none of that name
