"""Measure: one command, one table a part; every ratio from one interleaved run.

    python -m benchmarks                  # everything
    python -m benchmarks steps --quick    # one part, a few cases and turns

Each part is a module of this folder with TITLE, `run(quick, threads, dataset)`, which gives rows of JSON values one by
one, and `table(rows)`, what is printed of them. Every row is written to build/benchmarks/PART.json as soon as it is
measured, with the machine it was measured on.
"""

from __future__ import annotations

import argparse
import json
import os
from importlib import import_module
from pathlib import Path

import pandas as pd

from fixlib.system import environment
from fixlib.training import best_device

PARTS = ("steps", "losses", "frames", "startup", "workers", "kills")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="few cases, few turns")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of each process (default: every core)")
    parser.add_argument("--dataset", default="osie", help="whose windows are the input (default: osie)")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"))
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; choose of {', '.join(PARTS)}")
    where = environment(best_device()) | dict(threads=options.threads)
    print(" · ".join(f"{name} {value}" for name, value in where.items()))
    for name in options.parts or PARTS:
        part = import_module(f"benchmarks.{name}")
        options.out.mkdir(parents=True, exist_ok=True)
        rows = []
        for row in part.run(options.quick, options.threads, options.dataset):
            rows.append(row | dict(load_average=os.getloadavg()[0]))
            record = dict(part=name, dataset=options.dataset, quick=options.quick, machine=where, rows=rows)
            (options.out / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
            print(".", end="", flush=True)
        print(f"\n### {part.TITLE}\n\n{markdown(part.table(rows))}\n")


def markdown(rows: list[dict]) -> str:
    frame = pd.DataFrame(rows)
    lines = [list(frame.columns), ["---"] * len(frame.columns), *frame.astype(str).values.tolist()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
