"""Does a sweep survive being killed? SIGKILL to all of its processes at random moments, again and again."""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fixlib import data
from fixlib.runs.store import Results
from fixlib.runs.study import OWN_RESULTS
from fixlib.runs.verify import differences

LOSSES = "mse,dice,weighted_mse"
# A kill comes this many seconds at most after the first sign of work: a smoke run takes about one.
LONGEST_WAIT = 4.0


def make_dataset(folder: Path) -> Path:
    """A few simulated scanpaths as a folder of prepared files."""
    for part, (subjects, seed) in dict(train=(3, 1), val=(2, 2), test=(2, 3)).items():
        scanpaths = data.simulate_scanpaths(subjects, 6, seed=seed)
        scanpaths.frames(10.0).save(folder / f"{part}_data.pt")
    return folder


def start_sweep(root: Path, dataset: Path, *more: str) -> subprocess.Popen:
    """A `smoke` sweep of two workers in a process group of its own, in a project folder of its own."""
    what = f"run loss_comparison --profile smoke --losses {LOSSES} --workers 2 --dataset".split()
    command = [sys.executable, "-m", "fixlib", *what, str(dataset), *more]
    here = str(Path(__file__).resolve().parents[1])
    env = os.environ | {"FIXLIB_ROOT": str(root), "PYTHONPATH": here, "OMP_NUM_THREADS": "1"}
    root.mkdir(parents=True, exist_ok=True)
    output = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return subprocess.Popen(command, env=env, start_new_session=True, cwd=root, **output)


def kill_at_random(sweep: subprocess.Popen, root: Path, moments: random.Random) -> bool:
    """SIGKILL to the whole group some time after it began to work; False if it had ended by itself."""
    before = _signs(root)
    while sweep.poll() is None and _signs(root) == before:
        time.sleep(0.02)
    time.sleep(moments.uniform(0, LONGEST_WAIT))
    ended = sweep.poll() is not None
    if not ended:
        os.killpg(sweep.pid, signal.SIGKILL)
    sweep.communicate()
    return not ended


def _signs(root: Path) -> tuple[int, int]:
    """What changes when a sweep begins to work."""
    return len([*root.glob("build/locks/*")]), sum(log.stat().st_size for log in root.glob("logs/*"))


def finish(sweep: subprocess.Popen) -> str:
    """Wait for a sweep; its output. RuntimeError if it fails."""
    output, _ = sweep.communicate(timeout=600)
    if sweep.returncode:
        raise RuntimeError(f"the sweep ended with {sweep.returncode}:\n{output[-2000:]}")
    return output


def compare(reference: Path, root: Path) -> tuple[int, list[str]]:
    """How many runs there are, and what is wrong: runs missing or different, files left over."""
    wrong = [f"left over: {path.relative_to(root)}" for path in root.rglob("*.tmp")]
    wrong += [f"left over: {path.relative_to(root)}" for path in (root / "build" / "checkpoints").glob("*")]
    runs, results = Results(reference / OWN_RESULTS).runs(), Results(root / OWN_RESULTS)
    for run in runs:
        if not results.has(run.spec):
            wrong.append(f"missing: {run.spec.filename}")
        elif different := differences(run, results.read(run.spec)):
            wrong.append(f"{run.spec.filename} differs in {different[0]}")
    return len(runs), wrong


def run(quick: bool, threads: int, dataset: str) -> list[dict]:
    """One row."""
    return [measure(4, "0") if quick else measure(50, "0-5")]


def measure(kills: int, seeds: str) -> dict:
    """Kill sweeps so often in all, let each come to its end, and compare with a sweep left in peace."""
    moments, done, sweeps, runs, wrong = random.Random(0), 0, 0, 0, []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset = make_dataset(folder / "gaze")
        finish(start_sweep(folder / "peace", dataset, "--seeds", seeds))
        while done < kills:
            root = folder / "killed"
            while done < kills and kill_at_random(start_sweep(root, dataset, "--seeds", seeds), root, moments):
                done += 1
                recorded = len(Results(root / OWN_RESULTS).runs())  # ResultError if a file is half-written
                print(f"kill {done}: {recorded} runs recorded", flush=True)
            finish(start_sweep(root, dataset, "--seeds", seeds))
            runs, found = compare(folder / "peace", root)
            wrong, sweeps = wrong + found, sweeps + 1
            shutil.rmtree(root)
    return dict(kills=done, sweeps=sweeps, runs=runs, wrong=wrong)
