"""Measure: one command, one table a part; every ratio from one interleaved run.

    python -m benchmarks                  # everything
    python -m benchmarks steps --quick    # one part, a few cases and turns

Each part is a module of this folder whose `run(quick, threads, dataset)` gives rows of plain values one by one. Every
row is written to build/benchmarks/PART.json as soon as it is measured, with the machine it was measured on.
"""

import argparse
import json
import os
from importlib import import_module

import pandas as pd

from fixlib import system
from fixlib.training import best_device

PARTS = ("steps", "kills", "coverage", "calibration", "fuzz", "mistakes")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="few cases, few turns")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of each process (default: every core)")
    parser.add_argument("--dataset", default="osie", help="whose windows are the input (default: osie)")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; choose of {', '.join(PARTS)}")
    where = system.environment(best_device()) | dict(threads=options.threads)
    print(" · ".join(f"{name} {value}" for name, value in where.items()))
    folder = system.root() / "build" / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    for name in options.parts or PARTS:
        rows = []
        for row in import_module(f"benchmarks.{name}").run(options.quick, options.threads, options.dataset):
            rows.append(row | dict(load=round(os.getloadavg()[0], 1)))
            record = dict(part=name, dataset=options.dataset, quick=options.quick, machine=where, rows=rows)
            (folder / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
            print(".", end="", flush=True)
        print(f"\n{name}\n{pd.DataFrame(rows).to_string(index=False, float_format='%.3g')}\n")


if __name__ == "__main__":
    main()
