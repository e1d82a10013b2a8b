"""The command line: `fixlib …`, also `python -m fixlib …`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from fixlib.system import EXPECTED_ERRORS


def main(arguments: list[str] | None = None) -> int:
    """Run a command; 0 if it did what it says, 1 with a one-line reason on stderr otherwise."""
    options = _parser().parse_args(arguments)
    with _terminated_as_interrupted():
        try:
            return options.command(options) or 0
        except EXPECTED_ERRORS as error:
            if os.environ.get("FIXLIB_TRACEBACK"):
                raise
            print(f"fixlib: {error}\n(set FIXLIB_TRACEBACK=1 to see where it was raised)", file=sys.stderr)
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
    parser = argparse.ArgumentParser(
        prog="fixlib", description="Predicting extremely sparse events in video, on real gaze."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    data = commands.add_parser("data", help="prepare recordings or simulated scanpaths")
    data_commands = data.add_subparsers(required=True, metavar="COMMAND")
    prepare = data_commands.add_parser(
        "prepare", help="download (or read from PATH or FIXLIB_DATA_MIRROR) and prepare a dataset"
    )
    prepare.add_argument("name", help="osie or gazecom")
    prepare.add_argument(
        "path",
        nargs="?",
        help="your own copy of the recordings: GazeCom's folder of .coord files or "
        "an archive of it, OSIE's fixations.mat (default: fetch them)",
    )
    prepare.add_argument("--out", help="folder to write to (default: data/NAME)")
    prepare.set_defaults(command=_prepare)
    simulate = data_commands.add_parser("simulate", help="make the simulated scanpaths")
    simulate.add_argument("--out", help="folder to write to (default: data/simulated)")
    simulate.set_defaults(command=_prepare, name="simulated", path=None)

    run = commands.add_parser("run", help="carry out an experiment: runs recorded are read, the others trained")
    run.add_argument("experiment", help="a chapter's runs, e.g. loss_comparison; an unknown name lists those there are")
    run.add_argument("--dataset", default="osie", help="a dataset's name or a folder of prepared files (default: osie)")
    run.add_argument("--profile", default="quick", help="smoke, quick (default) or paper")
    run.add_argument("--seeds", type=_seeds, default=(0,), metavar="0-2 or 0,3", help="default: 0")
    run.add_argument("--losses", type=_names, metavar="mse,focal,…", help="loss_comparison only; default: all seven")
    run.add_argument("--framings", type=_names, metavar="fixations,10hz", help="hybrid_regression only; default: both")
    run.add_argument("--networks", type=_names, metavar="hybrid_l1,…", help="hybrid_regression only; default: all six")
    run.add_argument("--results", default="", metavar="DIR", help="where runs are recorded (default: results)")
    run.add_argument("--workers", type=int, help="processes (default: one a processor core)")
    run.add_argument(
        "--dask",
        default="",
        metavar="ADDRESS",
        help="run on the Dask cluster whose scheduler has this address, or on a `local` one",
    )
    run.add_argument("--precision", default="float32", help="float32 (default), bf16, or tf32 on a GPU")
    run.set_defaults(command=_run)

    verify = commands.add_parser("verify", help="repeat recorded runs and compare; fails if one differs")
    verify.add_argument("runs", nargs="*", help="keys or beginnings of file names (default: all that fit the options)")
    how_many = verify.add_mutually_exclusive_group()
    how_many.add_argument("--sample", type=int, metavar="N", help="draw N of them (default: 5, unless runs are named)")
    how_many.add_argument("--all", action="store_true", help="every one of them")
    verify.add_argument("--experiment", help="only its runs")
    verify.add_argument("--dataset", help="only runs on it")
    verify.add_argument("--profile", help="only runs of that size")
    verify.add_argument("--results", default="", metavar="DIR", help="where the runs are recorded (default: results)")
    verify.add_argument("--workers", type=int, help="processes (default: one a processor core)")
    verify.set_defaults(command=_verify)

    book = commands.add_parser(
        "book", help="execute the chapters in order with papermill; copies and HTML under build/"
    )
    book.add_argument("chapters", nargs="*", help="e.g. 01_sparsity_analysis (default: all)")
    book.add_argument(
        "-p",
        "--parameter",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a chapter's parameter, VALUE a Python literal (text may go unquoted); may be repeated",
    )
    book.add_argument("--results", metavar="DIR", help="read and record runs there, not in results/")
    book.add_argument("--update", action="store_true", help="replace the committed chapters by the executed ones")
    book.set_defaults(command=_book)

    figures = commands.add_parser("figures", help="rebuild every figure of the book from the recorded runs")
    figures.add_argument("--out", default="figures", help="folder to write to (default: figures)")
    figures.add_argument("--profile", default="quick", help="of the runs shown (default: quick)")
    figures.set_defaults(command=_figures)

    commands.add_parser("doctor", help="check this environment and what data is at hand").set_defaults(command=_doctor)
    return parser


def _seeds(text: str) -> tuple[int, ...]:
    """'0-2' or '0,3' as numbers."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            raise argparse.ArgumentTypeError(f"{text!r} is not like 0-2 or 0,3")
        if int(last or first) < int(first):
            raise argparse.ArgumentTypeError(f"{part!r} holds no seed; write the smaller one first")
        found += range(int(first), int(last or first) + 1)
    return tuple(dict.fromkeys(found))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _prepare(options) -> None:
    from fixlib.data import prepare

    print(f"prepared in {prepare(options.name, options.out, path=options.path)}")


def _run(options) -> None:
    from fixlib.runs import ExperimentError, obtain
    from fixlib.runs.sweep import experiment_module

    choices = {name: getattr(options, name) for name in ("losses", "framings", "networks") if getattr(options, name)}
    try:
        study = obtain(
            options.experiment,
            options.dataset,
            options.profile,
            options.seeds,
            options.results,
            options.workers,
            options.dask,
            options.precision,
            **choices,
        )
    except ExperimentError as error:
        _print_study(error.study)
        raise
    _print_study(study)
    if finish := getattr(experiment_module(options.experiment), "finish", None):
        finish(study)


def _print_study(study) -> None:
    print(study.notice)
    print(study.table().dropna(axis="columns", how="all").to_string(index=False, float_format="%.4g"))


def _verify(options) -> int:
    from fixlib import system
    from fixlib.runs.store import Results
    from fixlib.runs.verify import choose, table, verify

    if options.sample is not None and options.sample < 1:
        raise ValueError(f"--sample must be at least 1, not {options.sample}")
    everything = options.all or (options.runs and options.sample is None)
    runs = choose(
        Results(system.root() / options.results if options.results else None),
        options.runs,
        None if everything else options.sample or 5,
        options.experiment,
        options.dataset,
        options.profile,
    )
    checks = verify(runs, options.workers)
    print(table(checks).to_string(index=False))
    wrong = [check for check in checks if check.wrong]
    for check in wrong:
        print(f"{check.run.path}:\n  " + "\n  ".join(check.wrong[:10]))
    print(f"{len(checks) - len(wrong)} of {len(checks)} runs repeat as recorded")
    return int(bool(wrong))


def _book(options) -> None:
    from fixlib.book import make_book

    make_book(options.chapters, options.parameter, results=options.results, update=options.update)


def _figures(options) -> None:
    from fixlib.chapters import rebuild

    for path in rebuild(options.out, options.profile):
        print(path)


def _doctor(options) -> int:
    from fixlib.doctor import examine

    return examine()
