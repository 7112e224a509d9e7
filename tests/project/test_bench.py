"""The benches run, and what they leave behind has the shape that they promise. How fast they are, no test says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from bench import limits, notebooks, prefix_caching, sharing, soak
from bench.control_plane_load import GROW, MATCH
from bench.control_plane_report import Figure, Report, Setting
from bench.race_workloads import MEANING, Workload
from pagedlab.arithmetic import Chunk, decode_cost, step_cost

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench" / "results"


def run(module: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def check(report: Report) -> None:
    assert {"subject", "version", "python", "processor", "quick", "calibration_microseconds"} <= report.about.keys()
    assert report.figures
    for figure in report.figures:
        assert figure.setting, figure
        assert figure.rounds >= 2
        assert figure.microseconds.keys() == figure.calibrations.keys() != set()
        assert all(value > 0 for value in (*figure.microseconds.values(), *figure.calibrations.values())), figure


def parts(report: Report) -> dict[str, set[str]]:
    """Series -> what was timed in it."""
    return {figure.series: set(figure.microseconds) for figure in report.figures}


def test_the_control_plane_is_measured_and_the_report_reads_back(tmp_path: Path) -> None:
    done = run("bench.control_plane", "--quick", "--json", str(tmp_path / "report.json"))
    assert done.returncode == 0, done.stderr
    report = Report.load(tmp_path / "report.json")
    check(report)
    for series, timed in parts(report).items():
        assert series in done.stdout
        if series.startswith("decode"):
            assert timed == {"schedule", "tables", "commit", "total"}
    report.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "report.json").read_bytes()


def test_without_vllm_its_bench_says_what_is_missing() -> None:
    if find_spec("vllm"):
        pytest.skip("vLLM is installed")
    done = run("bench.control_plane_vllm", "--quick")
    assert done.returncode == 1
    assert "needs vLLM" in done.stderr


def test_a_report_with_a_field_that_no_figure_has_is_refused(tmp_path: Path) -> None:
    figure = {"series": "s", "per": "p", "setting": {}, "rounds": 2, "microseconds": {}, "calibrations": {}, "more": 1}
    (tmp_path / "bad.json").write_text(json.dumps({"about": {}, "figures": [figure]}))
    with pytest.raises(TypeError, match="more"):
        Report.load(tmp_path / "bad.json")


@pytest.mark.parametrize("name", ["control_plane", "control_plane_vllm"])
def test_the_results_that_are_kept_are_those_of_a_whole_run(name: str) -> None:
    report = Report.load(RESULTS / f"{name}.json")
    check(report)
    assert report.about["quick"] is False
    assert {figure.setting["sequences"] for figure in report.figures if figure.series == GROW} == {1, 64, 512, 4096}


def test_both_engines_were_measured_under_the_same_settings_and_part_by_part() -> None:
    ours, theirs = (Report.load(RESULTS / f"{name}.json") for name in ("control_plane", "control_plane_vllm"))

    def measured(report: Report) -> list[tuple[str, Setting, set[str]]]:
        figures = [f for f in report.figures if f.series in (GROW, MATCH) and f.setting.get("prefix_cache") != "radix"]
        return [(figure.series, figure.setting, set(figure.microseconds)) for figure in figures]

    assert measured(ours) == measured(theirs)


def test_in_the_results_that_are_kept_a_sequence_costs_less_than_the_bar_whatever_the_pool() -> None:
    figures = Report.load(RESULTS / "control_plane.json").figures
    at_512 = [figure for figure in figures if figure.series in ("decode, by batch", "decode, by pool")]
    at_512 = [figure for figure in at_512 if figure.setting["sequences"] == 512]
    assert len({figure.setting["pool_pages"] for figure in at_512}) >= 4
    assert max(figure.microseconds["total"] for figure in at_512) < 5


def test_in_the_results_that_are_kept_growing_looking_up_and_coming_and_going_cost_less_than_in_vllm() -> None:
    ours, theirs = (Report.load(RESULTS / f"{name}.json").figures for name in ("control_plane", "control_plane_vllm"))

    def same_load(figure: Figure, other: Figure) -> bool:
        keys = other.setting.keys() - {"prefix_cache"}
        return figure.series == other.series and all(figure.setting[key] == other.setting[key] for key in keys)

    for other in theirs:
        for figure in (figure for figure in ours if same_load(figure, other)):
            for part in {"total", "look up", "come and go"} & other.calibrations.keys():
                assert figure.calibrations[part] < other.calibrations[part], (part, figure.setting)


def test_in_the_results_that_are_kept_beams_share_more_than_samples_and_many_more_than_few() -> None:
    results = json.loads((RESULTS / "sharing.json").read_text(encoding="utf-8"))["results"]
    saved = {(one["workload"], one["kind"], one["width"]): one["saved_percent"] for one in results}
    for lengths in sharing.WORKLOADS:
        samples = [saved[lengths.name, "parallel sampling", width] for width in sharing.WIDTHS]
        beams = [saved[lengths.name, "beam search", width] for width in sharing.WIDTHS]
        assert samples == sorted(samples) and beams == sorted(beams)
        assert all(few < many for few, many in zip(samples, beams, strict=True))


def test_how_long_each_notebook_takes_stands_in_the_readme_as_it_was_measured() -> None:
    seconds = json.loads((RESULTS / "notebooks.json").read_text(encoding="utf-8"))["seconds"]
    assert list(seconds) == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert notebooks.table(seconds) in (ROOT / "bench" / "README.md").read_text(encoding="utf-8")


def test_a_prefix_cache_is_measured_where_nothing_and_where_much_is_shared(tmp_path: Path) -> None:
    done = run("bench.prefix_caching", "--quick", "--json", str(tmp_path / "report.json"))
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    results = {(one["workload"], one["prefix_cache"]): one for one in report["results"]}
    assert results.keys() == {(it.name, cache) for it in prefix_caching.TINY for cache in prefix_caching.CACHES}
    found = {key: one["hit_rate"] for key, one in results.items()}
    assert found["chats of two turns", "hash"] == found["chats of two turns", "radix"] > 0
    assert sum(rate > 0 for rate in found.values()) == 2


def test_a_prefix_cache_that_changes_an_answer_fails_its_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    def served(model: None, workload: Any, cache: str, seed: int) -> prefix_caching.Served:
        return prefix_caching.Served(1.0, 0.1, 0.0, 10, [[1, 2]] if (cache, seed) != ("radix", 1) else [[1, 3]])

    monkeypatch.setattr(prefix_caching, "load_model", lambda *_, **__: None)
    monkeypatch.setattr(prefix_caching, "serve", served)
    workload = prefix_caching.Workload("w", requests=1, shared=0, own=8, rounds=1)
    assert [one.same_answers for one in prefix_caching.measure((workload,))] == [1, 1, 1]
    with pytest.raises(AssertionError, match="w, round 1: the radix cache changed an answer"):
        prefix_caching.measure((replace(workload, rounds=2),))


def test_a_prefix_cache_is_compared_within_each_round() -> None:
    ours = [prefix_caching.Served(seconds, 0.3, 0.5, 100, [[1]]) for seconds in (1.0, 10.0, 2.0)]
    none = [prefix_caching.Served(seconds, 0.1, 0.0, 100, [[1]]) for seconds in (2.0, 40.0, 6.0)]
    one = prefix_caching.compared("w", "hash", ours, none)
    assert (one.times_as_fast, one.between, one.hit_rate) == (3.0, (2.0, 4.0), 0.5)
    assert one.control_microseconds_more == pytest.approx(2000)
    assert one.control_percent_more == pytest.approx(100 * 0.2 / 6, abs=1e-4)


def test_in_the_results_that_are_kept_a_prefix_cache_costs_little_and_brings_what_its_hits_allow() -> None:
    report = json.loads((RESULTS / "prefix_caching.json").read_text(encoding="utf-8"))
    assert report["about"]["quick"] is False and report["about"]["threads"] == 1
    assert report["published"] == prefix_caching.PUBLISHED
    assert len(report["results"]) == len(prefix_caching.WORKLOADS) * len(prefix_caching.CACHES)
    for one in (one for one in report["results"] if one["prefix_cache"] != "none"):
        if one["workload"] == "nothing shared":
            assert one["hit_rate"] == 0 and one["control_percent_more"] < 1
        else:
            assert one["hit_rate"] > 0.5 and 1.5 < one["times_as_fast"] < 1 / (1 - one["hit_rate"])


def soaked(report: dict[str, Any]) -> None:
    assert report.keys() == {"about", "minutes", "end", "verdict"}
    assert report["verdict"].keys() == {"ok", "failure", "megabytes_per_hour", "left"}
    for minute in (*report["minutes"], report["end"]):
        soak.Minute(**minute)


def test_a_soak_of_seconds_serves_random_load_and_leaves_nothing_behind(tmp_path: Path) -> None:
    done = run("bench.soak", "--minutes", "0.05", "--every", "1", "--json", str(tmp_path / "soak.json"))
    assert '"failure": null' in done.stdout, done.stdout + done.stderr
    report = json.loads((tmp_path / "soak.json").read_text(encoding="utf-8"))
    soaked(report)
    assert report["verdict"]["failure"] is None
    assert report["verdict"]["left"] == {}
    end = report["end"]
    assert end["counts"]["ended"] > 0 and end["counts"]["checks"] > 0
    assert (end["used"], end["cached"], end["free"]) == (0, 0, report["about"]["num_pages"])


def test_a_soak_that_sees_memory_grow_or_requests_left_says_no() -> None:
    def at(second: float, megabytes: float, objects: dict[str, int]) -> soak.Minute:
        return soak.Minute(second, 0, megabytes, objects, 0, 0, 0, 0, 0, 0, 0, 0, {})

    flat = [at(60.0 * minute, 300, {}) for minute in range(60)]
    growing = [at(60.0 * minute, 300 + minute, {}) for minute in range(60)]
    assert soak.verdict(flat, at(3600, 300, {"PageTable": 3}), None)["ok"]
    assert not soak.verdict(growing, at(3600, 360, {}), None)["ok"]
    assert soak.verdict(growing, at(3600, 360, {}), None)["megabytes_per_hour"] == 60
    assert soak.verdict(flat, at(3600, 300, {"Sequence": 1}), None)["left"] == {"Sequence": 1}
    assert not soak.verdict(flat, at(3600, 300, {"Sequence": 1}), None)["ok"]
    assert not soak.verdict(flat, at(3600, 300, {}), "step 3: pages leaked")["ok"]


def test_the_hour_that_is_kept_was_flat_and_right() -> None:
    report = json.loads((RESULTS / "soak.json").read_text(encoding="utf-8"))
    soaked(report)
    assert report["verdict"]["ok"]
    assert report["about"]["minutes"] >= 60


def test_attention_on_a_cpu_as_it_was_measured_is_near_the_bandwidth_and_ahead_of_memory_without_pages() -> None:
    results = json.loads((RESULTS / "attention.json").read_text(encoding="utf-8"))["results"]
    assert min(result["ratios"]["contiguous"] for result in results) >= 0.99  # as fast, within what a run differs by
    decode = [result for result in results if result["shape"]["rows"] == 1]
    assert min(one["ratios"]["contiguous"] for one in decode) >= 1.5
    in_the_middle = [one for one in decode if (one["shape"]["batch"], one["shape"]["context"]) == (8, 4096)]
    assert len(in_the_middle) == 2 and min(one["of_read_bandwidth"] for one in in_the_middle) >= 0.7
    gathered: dict[str, list[float]] = {"SmolLM2-135M": [], "Llama-3-8B": []}
    for one in decode:
        if one["shape"]["context"] > 512:
            gathered[one["shape"]["model"]].append(one["ratios"]["gather"])
    # Five times was aimed at. For small heads it was not reached: a gather that reads at full speed takes four times.
    assert min(gathered["Llama-3-8B"]) >= 5 and min(gathered["SmolLM2-135M"]) >= 3


def test_the_cost_of_a_page_table_is_measured_on_one_kernel(tmp_path: Path) -> None:
    done = run("bench.page_table_cost", "--quick", "--json", str(tmp_path / "report.json"))
    assert done.returncode == 0, done.stderr
    kept = json.loads((RESULTS / "page_table_cost.json").read_text(encoding="utf-8"))
    assert not kept["quick"] and len(kept["results"]) == 4
    for one in kept["results"] + json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["results"]:
        assert one["turns"] >= 3 and one["milliseconds"].keys() == {"pages of 16", "one page"} and one["ratio"] > 0


def test_in_the_results_that_are_kept_narrow_pages_hold_more_requests_and_serve_more_a_second() -> None:
    kept = json.loads((RESULTS / "kv_formats.json").read_text(encoding="utf-8"))
    wide, int8, int4 = kept["results"]
    assert not kept["about"]["quick"] and (wide["kv_dtype"], wide["gain"]) == ("bfloat16", 1)
    assert wide["live"] < int8["live"] < int4["live"] and 1 < int8["gain"] < int4["gain"]
    assert (int8["lmdeploy"], int4["lmdeploy"]) == ([1.27, 1.28], [1.39, 1.39])


def test_a_profile_says_where_the_time_of_prefill_and_decode_went(tmp_path: Path) -> None:
    done = run("bench.profile", "--quick", "--json", str(tmp_path / "profile.json"))
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "profile.json").read_text(encoding="utf-8"))["results"]
    assert [one["name"] for one in results] == ["prefill of 64", "decode of 1", "decode of 4"]
    for one in results:
        assert sum(one["by_kind"].values()) == pytest.approx(one["profiled_milliseconds"], abs=0.01)
        assert one["by_kind"]["matrices"] > 0 < one["milliseconds"]


def test_in_the_profile_that_is_kept_more_sequences_bring_decode_nearer_to_prefill() -> None:
    results = json.loads((RESULTS / "profile.json").read_text(encoding="utf-8"))["results"]
    decode = [one for one in results if one["kind"] == "decode"]
    rates = [one["flops"] / one["milliseconds"] for one in decode]
    assert rates == sorted(rates) and [one["size"] for one in decode] == [1, 2, 4, 8, 16, 32, 64]
    assert all(one["by_kind"]["matrices"] > one["by_kind"]["attention over pages"] for one in results)


def test_the_least_time_counts_a_shared_beginning_once_and_a_step_for_each_token() -> None:
    prefix, own = list(range(100)), [[1000 + number] * 7 for number in range(3)]
    steps = limits.perfect_steps(Workload("shared", [prefix + tokens for tokens in own], 5), 32)
    assert len(steps) == 5
    prompts = [Chunk(0, 107), Chunk(100, 7), Chunk(100, 7)]
    assert steps[0] == step_cost(limits.MODEL, prompts, 32, 32)
    assert steps[1] == decode_cost(limits.MODEL, [107, 107, 107], 32, 32)
    assert steps[4] == decode_cost(limits.MODEL, [110, 110, 110], 32, 32)


def test_nothing_in_the_kept_race_was_quicker_than_the_arithmetic_allows() -> None:
    done = run("bench.limits")
    assert done.returncode == 0, done.stderr
    shares = [int(share) for share in re.findall(r"(\d+)%\s*$", done.stdout, re.MULTILINE)]
    assert len(shares) == 2 * len(MEANING) and all(0 < share <= 105 for share in shares), done.stdout
