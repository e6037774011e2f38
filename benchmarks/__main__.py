"""The command line of the benchmarks: `python -m benchmarks [--only NAME] [--runs N] [--full] [--out DIR]`.

It must not know how a case measures.
"""

import argparse
import asyncio
import importlib
import os
import platform
import sqlite3
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.measure import JUDGED_BELOW, Case, Options, Reading, Report

CASES = {
    "raw": "benchmarks.raw:RAW",
    "create": "benchmarks.local:CREATE",
    "claim": "benchmarks.local:CLAIM",
    "engine": "benchmarks.local:ENGINE",
    "next_depth": "benchmarks.local:NEXT_DEPTH",
    "http": "benchmarks.http:HTTP",
    "temporal": "benchmarks.temporal:TEMPORAL",
    "idle": "benchmarks.idle:IDLE",
}


def main() -> int:
    arguments = _parser().parse_args()
    with ExitStack() as stack:
        out = None
        if arguments.out is not None:
            arguments.out.mkdir(parents=True, exist_ok=True)
            out = stack.enter_context((arguments.out / "benchmarks.jsonl").open("a", encoding="utf-8"))
        report = Report(out)
        options = Options(arguments.runs, arguments.full, arguments.directory)
        _introduce(options)
        for name in arguments.only or CASES:
            asyncio.run(_run(_load(name), options, report))
    print("\nmissed:", *(report.missed or ["nothing"]), sep="\n  ")
    return 1 if report.missed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="See benchmarks/README.md.")
    parser.add_argument("--only", action="append", choices=tuple(CASES), help="one case; may be repeated")
    parser.add_argument("--runs", type=int, default=5, help="rounds per case; medians are of these (5)")
    parser.add_argument("--full", action="store_true", help="1,000,000 finished rows in next_depth, a minute of http")
    parser.add_argument("--out", type=Path, help="append every reading as a JSON line to DIR/benchmarks.jsonl")
    parser.add_argument(
        "--directory", type=Path, default=Path(tempfile.gettempdir()), help="the disk to measure (the temporary one)"
    )
    return parser


def _introduce(options: Options) -> None:
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    print(
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {os.cpu_count()} CPUs, load {load};"
        f" a fixed loop takes {_speed():.0f} ms.\nMedian (min–max) of {options.runs} rounds, peers in turn within each."
        f" Ratios to raw SQLite are judged up to {JUDGED_BELOW:.0f} raw commits/s; CPU: this process, per operation."
    )


def _speed() -> float:
    """Milliseconds of CPU for a million additions: the clock speed of a shared machine drifts."""
    started, total = time.process_time(), 0
    for number in range(1_000_000):
        total += number
    return (time.process_time() - started) * 1e3


def _load(name: str) -> Case:
    module, _, attribute = CASES[name].partition(":")
    case = getattr(importlib.import_module(module), attribute)
    assert isinstance(case, Case)
    return case


async def _run(case: Case, options: Options, report: Report) -> None:
    rounds: list[list[Reading]] = []
    async for readings in case.rounds(options):
        report.write(case, len(rounds), readings)
        rounds.append(readings)
    report.show(case, rounds)


if __name__ == "__main__":
    sys.exit(main())
