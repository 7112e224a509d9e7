"""`pagedlab simulate`, as it is typed."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from pagedlab.__main__ import app


def run(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["simulate", *words], env={"COLUMNS": "120"}, catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


def test_figures_of_several_systems_stand_side_by_side():
    shown = run("chat", "--sessions", "20", "--system", "vllm", "--system", "lmdeploy", "--price", "2.5")
    assert "vllm" in shown
    assert "lmdeploy" in shown
    for title in ("TTFT p99, ms", "requests a second in time", "dollars a million tokens"):
        assert title in shown


def test_json_and_csv_hold_the_same_requests(tmp_path):
    table = tmp_path / "requests.csv"
    figures = json.loads(run("few-shot", "--sessions", "30", "--json", "--csv", str(table), "--seed", "3"))
    rows = pd.read_csv(table)
    assert figures["vllm"]["requests"] == len(rows) == 30
    assert rows["ttft"].max() >= figures["vllm"]["ttft_p99"] > 0
    assert set(rows["system"]) == {"vllm"}
    again = json.loads(run("few-shot", "--sessions", "30", "--json", "--seed", "3"))
    assert again == figures


def test_all_five_are_compared_with_one_word():
    figures = json.loads(run("sampling", "--sessions", "5", "--system", "all", "--json"))
    assert list(figures) == ["vllm", "tensorrt_llm", "sglang", "lmdeploy", "tgi"]


def test_replicas_share_the_load_and_cost_more():
    words = ("chat", "--sessions", "40", "--json", "--price", "2")
    one, four = (json.loads(run(*words, "--replicas", number))["vllm"] for number in ("1", "4"))
    assert one["requests"] == four["requests"]
    assert four["utilisation"] < one["utilisation"]
    assert four["dollars_per_million_tokens"] > one["dollars_per_million_tokens"]


def test_a_recorded_trace_takes_the_place_of_a_workload(tmp_path):
    trace = tmp_path / "trace.csv"
    lines = [f"2023-11-16 18:15:{second:02}.0000000,{100 + second},{10 + second}" for second in range(10)]
    trace.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *lines]) + "\n", encoding="utf-8")
    figures = json.loads(run("--trace", str(trace), "--json"))["vllm"]
    assert figures["requests"] == 10
    assert figures["seconds"] >= 9


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("poetry",), "is no workload"),
        (("--rate", "0"), "must be finite and above 0"),
        (("--gpu", "abacus"), "there are L4"),
        (("--replicas", "2", "--router", "oracle"), "there are 'random'"),
    ],
)
def test_what_does_not_exist_is_refused_with_what_there_is(words, said):
    done = CliRunner().invoke(app, ["simulate", *words], env={"COLUMNS": "200"})
    assert done.exit_code
    assert said in done.output + str(done.exception)
