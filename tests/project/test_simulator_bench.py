"""What the simulator's benches leave behind: how near it comes to the real engine, and how fast it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from bench.calibration import CASES

ROOT = Path(__file__).parents[2]


def kept(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "bench" / "results" / f"{name}.json").read_text(encoding="utf-8"))


def test_the_simulator_came_within_ten_per_cent_of_the_real_engine_on_loads_it_was_not_fitted_to() -> None:
    report = kept("calibration")
    assert not report["about"]["quick"]
    assert [row["workload"] for row in report["workloads"]] == [case.name for case in CASES]
    assert len(CASES) >= 6
    errors = []
    for row in report["workloads"]:
        assert row["simulated"].keys() == row["real"].keys() == row["errors"].keys()
        for name, real in row["real"].items():
            assert row["errors"][name] == row["simulated"][name] / real - 1
            errors.append(abs(row["errors"][name]))
    assert report["error_median"] == median(errors) < 0.10


def test_the_simulators_speed_is_measured_and_what_is_not_looked_at_changes_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.simulator", "--quick", "--json", str(tmp_path / "report.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    plain, fast, *_ = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["rows"]
    assert (plain["name"], fast["name"]) == ("plain", "fast")
    assert plain["digest"] == fast["digest"]


def test_in_the_results_that_are_kept_memory_is_flat_and_what_is_not_looked_at_is_faster() -> None:
    report = kept("simulator")
    assert not report["about"]["quick"]
    plain, fast, *many = report["rows"]
    assert plain["digest"] == fast["digest"]
    assert fast["cpu_seconds"] < plain["cpu_seconds"]
    by_system = {}
    for row in many:
        by_system.setdefault(row["system"], []).append(row)
    for system, rows in by_system.items():
        assert [round(row["requests"], -5) for row in rows] == [100_000, 1_000_000], system
        grown = rows[1]["peak_mib"] - rows[0]["peak_mib"]
        assert grown * 2**20 / (rows[1]["requests"] - rows[0]["requests"]) < 200, "no more than its row in the results"
