"""The command line: `fixlib …`, also `python -m fixlib …`."""

import argparse
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fixlib.system import EXPECTED_ERRORS

HELP = "docs/troubleshooting.md explains messages; FIXLIB_TRACEBACK=1 shows where this one was raised"


def main(arguments: list[str] | None = None) -> int:
    """Run a command; 0 if it did what it says, 1 with a one-line reason on stderr otherwise; 2: see `data prepare`."""
    options = vars(_parser().parse_args(arguments))
    command = options.pop("command")
    with _terminated_as_interrupted():
        try:
            return command(**options) or 0
        except EXPECTED_ERRORS as error:
            if os.environ.get("FIXLIB_TRACEBACK"):
                raise
            print(f"fixlib: {error}\n({HELP})", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print(
                "fixlib: interrupted; runs are kept, and the same `fixlib run` or `fixlib book` goes on from there",
                file=sys.stderr,
            )
            return 130


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM does what Ctrl-C does: by default only this process would end, and its workers train on unseen."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("fixlib", description="Predicting extremely sparse events in video, on real gaze.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    data = commands.add_parser("data", help="prepare recordings or simulated scanpaths")
    kinds = data.add_subparsers(required=True, metavar="COMMAND")
    prepare = _command(kinds, "prepare", _prepare, "prepare a dataset by its name, or your own eye tracker's exports")
    prepare.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="osie, crowd or gazecom (then perhaps your copy); or files, folders, .zip",
    )
    own = prepare.add_argument_group("your own recordings", "None is needed where the files know; see docs/")
    own.add_argument("--name", help="of the dataset, data/NAME (default: that of the files' folder)")
    own.add_argument("--screen", metavar="WxH", help="px")
    own.add_argument("--picture", metavar="X,Y,W,H", help="where it was, px of the screen (default: all of it)")
    own.add_argument("--columns", metavar="x=..,y=..,duration=..,subject=..", help="which column is which")
    own.add_argument("--unit", help="of positions: px, px:centre, fraction, norm, height, degrees:WxH")
    own.add_argument("--y-up", action="store_true", default=None, help="y grows upwards")
    own.add_argument("--y-down", action="store_false", dest="y_up", help="y grows downwards")
    own.add_argument("--time", choices=("s", "ms", "us", "ns"), help="unit of times")
    own.add_argument("--eye", choices=("left", "right"), help="of both (default: the one with more fixations)")
    own.add_argument("--images", metavar="FOLDER", help="the pictures, to draw gaze on one")
    own.add_argument(
        "--split", choices=("both", "viewers", "pictures", "time"), help="(default: by how many there are)"
    )
    own.add_argument("--look", action="store_true", default=None, help="read, report and draw; write no data")
    simulate = _command(kinds, "simulate", _prepare, "make the simulated scanpaths")
    simulate.set_defaults(files=["simulated"])
    for each in (prepare, simulate):
        each.add_argument("--out", help="folder to write to (default: data/NAME)")

    run = _command(commands, "run", _run, "carry out an experiment: runs recorded are read, the others trained")
    run.add_argument("experiment", help="a chapter's runs, e.g. loss_comparison; an unknown name lists those there are")
    run.add_argument("--dataset", default="osie", help="a dataset's name or a folder of prepared files (default: osie)")
    run.add_argument("--profile", default="quick", help="smoke, quick (default), paper or tuned")
    run.add_argument("--seeds", type=_numbers, default=(0,), metavar="0-2 or 0,3", help="default: 0")
    run.add_argument("--losses", type=_names, metavar="mse,focal,…", help="of loss_comparison and loss_tuning")
    run.add_argument("--framings", type=_names, metavar="fixations,10hz", help="of hybrid_regression")
    run.add_argument("--tasks", type=_names, metavar="10to10,…", help="of how_predictable, rotated, simulated_control")
    run.add_argument("--networks", type=_names, metavar="hybrid_l1,…", help="of hybrid_regression and how_predictable")
    run.add_argument("--parts", type=_names, metavar="newest,…", help="of confounds and targets")
    run.add_argument("--grids", type=_numbers, metavar="8,16,…", help="of imbalance; px")
    run.add_argument("--dask", default="", metavar="ADDRESS", help="a Dask scheduler's address, or `local`")
    run.add_argument("--precision", default="float32", help="float32 (default), bf16, or tf32 on a GPU")

    verify = _command(commands, "verify", _verify, "repeat recorded runs and compare; ends with 1 if one differs")
    how_many = verify.add_mutually_exclusive_group()
    how_many.add_argument("--sample", type=int, metavar="N", help="draw N of them (default: 5, unless runs are named)")
    how_many.add_argument("--all", action="store_true", help="every one of them")
    score = _command(commands, "score", _score, "compute the metrics of recorded runs anew, from their kept networks")
    for each in (verify, score):
        each.add_argument(
            "runs", nargs="*", help="keys or beginnings of file names (default: all that fit the options)"
        )
        each.add_argument("--experiment", help="only its runs")
        each.add_argument("--dataset", help="only runs on it; needed where it is a folder")
        each.add_argument("--profile", help="only runs of that size")
    for each in (run, verify, score):
        each.add_argument("--results", dest="results_dir", default="", metavar="DIR", help="default: results")
    for each in (run, verify):
        each.add_argument("--workers", type=int, help="processes (default: one per processor core)")

    book = _command(commands, "book", _book, "execute the chapters, with the parameters -p, into build/book/")
    book.add_argument("chapters", nargs="*", help="e.g. 01_sparsity_analysis (default: all)")
    book.add_argument("-p", "--parameter", dest="parameters", action="append", default=[], metavar="NAME=VALUE")
    book.add_argument("--results", metavar="DIR", help="read and record runs there, not in results/")
    book.add_argument("--update", action="store_true", help="replace the committed chapters by the executed ones")

    figures = _command(commands, "figures", _figures, "rebuild every figure of the book from the recorded runs")
    figures.add_argument("--out", default="figures", help="folder to write to (default: figures)")
    figures.add_argument("--profile", default="quick", help="of the runs shown (default: quick)")
    _command(commands, "doctor", _doctor, "check this environment and what data is at hand; changes nothing")
    return parser


def _command(commands, name: str, function: Callable[..., int | None], what: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=what, description=what)
    parser.set_defaults(command=function)
    return parser


def _numbers(text: str) -> tuple[int, ...]:
    """'0-2' or '0,3' as numbers, each once."""
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if not match:
            raise argparse.ArgumentTypeError(f"{text!r} is not like 0-2 or 0,3")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise argparse.ArgumentTypeError(f"{part!r} holds no number; write the smaller one first")
        found += range(first, last + 1)
    return tuple(dict.fromkeys(found))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _prepare(files: list[str], out: str | None, **options: Any) -> int:
    from fixlib.data import DATASETS, Unsettled, prepare, prepare_recordings

    given = {name: value for name, value in options.items() if value is not None}
    if files[0] in DATASETS:
        if len(files) > 2 or given:
            raise ValueError(
                f"{files[0]!r} is a dataset of the project and takes one path: your own file is ./{files[0]}"
            )
        print(f"prepared in {prepare(files[0], out, *files[1:])}")
        return 0
    try:
        reading = prepare_recordings(files, out=out, **given)
    except Unsettled as error:
        reading = error.reading
    print(reading.report, end="")
    return 2 if reading.findings else 0


def _run(experiment: str, **options: Any) -> None:
    from fixlib.runs import ExperimentError, obtain
    from fixlib.runs.sweep import experiment_module

    try:
        study = obtain(experiment, **{name: value for name, value in options.items() if value is not None})
    except ExperimentError as error:
        _print_study(error.study)
        raise
    _print_study(study)
    if finish := getattr(experiment_module(experiment), "finish", None):
        finish(study)


def _print_study(study: Any) -> None:
    print(study.notice)
    if study.runs:
        print(study.table().dropna(axis="columns", how="all").to_string(index=False, float_format="%.4g"))


def _verify(runs: list[str], sample: int | None, all: bool, results_dir: str, workers: int | None, **only: Any) -> int:
    from fixlib.runs.study import results_of
    from fixlib.runs.verify import choose, table, verify

    if sample is not None and sample < 1:
        raise ValueError(f"--sample must be at least 1, not {sample}")
    how_many = None if all or (runs and sample is None) else sample or 5
    checks = verify(choose(results_of(only["dataset"] or "", results_dir), runs, how_many, **only), workers)
    print(table(checks).to_string(index=False))
    wrong = [check for check in checks if check.wrong]
    for check in wrong:
        print(f"{check.run.path}:\n  " + "\n  ".join(check.wrong[:10]))
    print(f"{len(checks) - len(wrong)} of {len(checks)} runs repeat as recorded")
    return int(bool(wrong))


def _score(runs: list[str], results_dir: str, **only: Any) -> int:
    from fixlib.runs.execute import METRICS_VERSION, rescore
    from fixlib.runs.store import largest_difference
    from fixlib.runs.study import results_of
    from fixlib.runs.verify import choose

    recorded, scored, elsewhere = results_of(only["dataset"] or "", results_dir), 0, 0
    for run in choose(recorded, runs, **only):
        try:
            anew = rescore(run)
        except FileNotFoundError:
            elsewhere += 1
            continue
        scored += 1
        if run.metrics_version != METRICS_VERSION:
            recorded.write(run.spec, anew.payload, scored_anew=True)
        print(f"{run.path.name}: largest relative difference {largest_difference(anew, run):.2g}")
    print(f"{scored} runs scored; {elsewhere} have no network here: `fixlib verify KEY` trains one again and keeps it")
    return int(not scored)


def _book(**options: Any) -> None:
    from fixlib.book import make_book

    make_book(**options)


def _figures(**options: str) -> None:
    from fixlib.chapters import rebuild

    print(*rebuild(**options), sep="\n")


def _doctor() -> int:
    from fixlib.doctor import examine

    return examine()
