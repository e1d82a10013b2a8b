"""Files are written whole or not at all; a checkpoint is used by the training that wrote it and by no other."""

import errno
import io
import resource
import warnings
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from fixlib import training
from fixlib.data import cut_windows, simulate_scanpaths
from fixlib.runs.config import Config, Data, Model, RunSpec
from fixlib.runs.store import Results
from fixlib.system import atomic_write, remove_leftovers
from fixlib.training import Checkpoint, TrainingDiverged, WindowLoader, train_model_with_loss


@contextmanager
def full_disk(after: int):
    """No file grows beyond so many bytes: the system's own refusal to write more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class TestAtomicWriting:
    def test_a_file_is_replaced_whole_and_its_folder_made(self, tmp_path):
        path = tmp_path / "new" / "file"
        for content in (b"old", b"new content"):
            with atomic_write(path) as file:
                file.write(content)
        assert path.read_bytes() == b"new content" and list(path.parent.iterdir()) == [path]

    @pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
    def test_an_interruption_leaves_the_old_file_and_nothing_beside_it(self, tmp_path, error):
        path = tmp_path / "file"
        path.write_bytes(b"old")
        with pytest.raises(error), atomic_write(path) as file:
            file.write(b"half")
            raise error
        assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize("size", [300_000, 30_000])  # torch's own error differs with what did not fit
    def test_a_full_disk_leaves_the_old_file_and_says_so(self, tmp_path, size):
        path = tmp_path / "file.pt"
        path.write_bytes(b"old")
        with pytest.raises(OSError, match="file.pt could not be written .*what it held before is whole") as failure:
            with full_disk(after=100_000), atomic_write(path) as file:
                torch.save([torch.zeros(size), torch.zeros(2000)], file)
        assert failure.value.errno == errno.EFBIG
        assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]

    def test_results_and_data_files_survive_a_full_disk_too(self, tmp_path):
        spec = RunSpec("e", "d", "v", "quick", 0, Config(Data("d"), Model("m")), "f")
        payload = dict(metrics={}, data_label="x", simulated=False, note="x" * 5000)
        sequences = simulate_scanpaths(2, 6, seed=0).frames(10.0)
        with full_disk(after=2000):
            with pytest.raises(OSError, match="could not be written"):
                Results(tmp_path / "results").write(spec, payload)
            with pytest.raises(OSError, match="could not be written"):
                sequences.save(tmp_path / "data" / "train_data.pt")
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    def test_leftovers_of_a_killed_writer_are_removed_and_nothing_else(self, tmp_path):
        path = tmp_path / "run[1].json"
        for name in (".run[1].json.abc.tmp", ".run1.json.abc.tmp", "run[1].json", ".run[1].json.kept"):
            (tmp_path / name).touch()
        remove_leftovers(path)
        assert sorted(p.name for p in tmp_path.iterdir()) == [".run1.json.abc.tmp", ".run[1].json.kept", "run[1].json"]


def train(checkpoint, epochs=3, width=3, model=None, **options):
    if model is None:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, width), nn.Dropout(0.5), nn.Linear(width, 1))
    batches = [(torch.randn(4, 2, generator=torch.Generator().manual_seed(n)), torch.ones(4, 1)) for n in range(3)]
    return train_model_with_loss(
        model,
        batches,
        batches,
        options.pop("loss", nn.MSELoss()),
        epochs=epochs,
        checkpoint=checkpoint,
        progress=False,
        **options,
    )


def saved(state):
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def losses(history):
    return [(entry["train_loss"], entry["val_loss"]) for entry in history]


class TestWhoseCheckpoint:
    def test_its_own_training_goes_on_from_it(self, tmp_path):
        checkpoint = Checkpoint(tmp_path / "c", run="key")
        train(checkpoint, epochs=2)
        entries = []
        _, history = train(checkpoint, epochs=3, on_epoch=entries.append)
        assert [entry["epoch"] for entry in entries] == [3] and losses(history) == losses(train(None)[1])

    @pytest.mark.parametrize(
        "change, named",
        [
            (dict(run="other"), "run"),
            (dict(learning_rate=0.1), "settings"),
            (dict(width=5), "shapes"),
            (dict(loss=nn.L1Loss()), "loss"),
            (dict(version="9.9"), "torch"),
            (dict(processor="another"), "processor"),
            (dict(threads=77), "threads"),
        ],
    )
    def test_another_training_sets_it_aside_and_starts_anew(self, tmp_path, monkeypatch, change, named):
        path, change = tmp_path / "c", dict(change)
        train(Checkpoint(path, run="key"), epochs=2)
        before = path.read_bytes()
        elsewhere = {
            name: change.pop(key)
            for key, name in (("version", "torch"), ("processor", "processor"), ("threads", "threads"))
            if key in change
        }
        here = training.environment()
        monkeypatch.setattr(training, "environment", lambda device: here | elsewhere)
        with pytest.warns(UserWarning, match=f"different: .*{named}.*it is now c.set-aside-1, .* starts anew"):
            _, history = train(Checkpoint(path, run=change.pop("run", "key")), **change)
        assert losses(history) == losses(train(None, **change)[1])
        assert (tmp_path / "c.set-aside-1").read_bytes() == before  # moved, not lost

    @pytest.mark.parametrize("change", [dict(seed=1), dict(batch_size=3), dict(windows=5)])
    def test_a_training_on_other_windows_sets_it_aside(self, tmp_path, change):
        def train_on(windows=6, **options):
            sequences = cut_windows(simulate_scanpaths(2, 6, seed=0).frames(10.0), 2, 2, limit=windows)
            loader = WindowLoader(sequences, 1, inputs="points", targets="next_point", **dict(batch_size=2) | options)
            model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2))
            train_model_with_loss(model, loader, loader, nn.L1Loss(), 1, checkpoint=tmp_path / "c", progress=False)

        train_on()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            train_on()
        with pytest.warns(UserWarning, match="different: windows"):
            train_on(**change)

    def test_one_of_more_epochs_is_refused_and_kept(self, tmp_path):
        train(tmp_path / "c", epochs=3)
        before = (tmp_path / "c").read_bytes()
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5), nn.Linear(3, 1))
        start, random_state = [value.clone() for value in model.state_dict().values()], torch.get_rng_state()
        with pytest.raises(ValueError, match="is of 3 epochs, and 2 were asked for: ask for as many or more"):
            train(tmp_path / "c", epochs=2, model=model)
        assert (tmp_path / "c").read_bytes() == before
        assert all(map(torch.equal, start, model.state_dict().values()))
        assert torch.equal(random_state, torch.get_rng_state())

    @pytest.mark.parametrize(
        "damage",
        [
            lambda content: content[:-200],
            lambda content: b"",
            lambda content: b"nonsense",
            lambda content: saved(dict(owner="nobody's")),
        ],
    )
    def test_a_damaged_one_is_set_aside(self, tmp_path, damage):
        path = tmp_path / "c"
        train(Checkpoint(path), epochs=2)
        path.write_bytes(damage(path.read_bytes()))
        (tmp_path / "c.set-aside-1").write_text("an earlier one")
        with pytest.warns(UserWarning, match="cannot be read .*it is now c.set-aside-2"):
            _, history = train(Checkpoint(path))
        assert losses(history) == losses(train(None)[1])
        assert (tmp_path / "c.set-aside-1").read_text() == "an earlier one"

    def test_a_full_disk_ends_the_training_and_keeps_the_last_checkpoint(self, tmp_path):
        path = tmp_path / "c"
        train(Checkpoint(path), epochs=1)
        before = path.read_bytes()
        with full_disk(after=1000), pytest.raises(OSError, match="could not be written"):
            train(Checkpoint(path), epochs=3)
        assert path.read_bytes() == before
        assert losses(train(Checkpoint(path))[1]) == losses(train(None)[1])


class TestNotFinite:
    @staticmethod
    def loss(poison, call_number, of_gradient=False):
        calls = []

        def function(output, target):
            calls.append(1)
            value = nn.functional.mse_loss(output, target)
            if len(calls) == call_number and of_gradient:
                return torch.where(torch.tensor(False), value.sqrt() * poison, value)  # finite, its gradient is not
            return value * (poison if len(calls) == call_number else 1.0)

        return function

    # 3 training and 3 validation batches an epoch: the 8th call is epoch 2, batch 2; the 10th its first validation.
    @pytest.mark.parametrize("call, where", [(8, "epoch 2, batch 2: loss nan"), (10, "epoch 2, validation: loss nan")])
    def test_the_message_names_epoch_batch_and_the_last_good_checkpoint(self, tmp_path, call, where):
        path = tmp_path / "c"
        with pytest.raises(TrainingDiverged, match=f"{where}.*the last good checkpoint is {path}, of epoch 1"):
            train(Checkpoint(path), loss=self.loss(float("nan"), call))
        entries = []
        _, history = train(Checkpoint(path), loss=self.loss(1.0, call), on_epoch=entries.append)
        assert losses(history) == losses(train(None)[1]) and entries[0]["epoch"] == 2  # it is good

    def test_without_a_checkpoint_it_says_so(self):
        with pytest.raises(TrainingDiverged, match="epoch 1, batch 1: loss inf.*no checkpoint yet"):
            train(None, loss=self.loss(float("inf"), 1))

    def test_a_gradient_alone_stops_it_too(self):
        with pytest.raises(TrainingDiverged, match=r"epoch 1, batch 2: loss 0\.\d+|loss \d.*gradient norm nan"):
            train(None, loss=self.loss(float("nan"), 2, of_gradient=True))
