"""Figures of a run: their spread, and the file that an acceptance run leaves behind.
It must not know what was measured.
"""

import json
import os
import statistics
from pathlib import Path
from typing import Any


def spread(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {"samples": 0}
    ordered = sorted(seconds)
    return {
        "samples": len(ordered),
        "median": round(statistics.median(ordered), 3),
        "p99": round(ordered[int(len(ordered) * 0.99)], 3),
        "max": round(ordered[-1], 3),
    }


def keep(name: str, figures: dict[str, Any]) -> None:
    """Print them, and write them down where an acceptance run was told to."""
    print(f"\n{name}: {json.dumps(figures)}", flush=True)
    folder = os.environ.get("TASKS_ACCEPTANCE_OUT")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")


def count(name: str, default: int) -> int:
    """How often an acceptance test repeats, from the environment."""
    return int(os.environ.get(name) or default)
