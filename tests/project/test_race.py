"""The race's machinery: who takes part, who is absent, who falls out, and that the report says so. No test times."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from bench.race import MAX_CONTEXT, MAX_REQUESTS, Race, interpreters
from bench.race_llama_cpp import shared_beginning
from bench.race_peers import OURS, PEERS, Peer
from bench.race_protocol import Setup
from bench.race_report import Entry, Report, Result, show
from bench.race_weights import write_folder, write_gguf
from bench.race_workloads import MEANING, workloads
from pagedlab import LLM, SamplingParams
from pagedlab.models.catalog import LoadedModel
from pagedlab.models.weights import load_folder, load_gguf
from tests.models import files
from tests.models.independent import random_llama

VOCABULARY = 64
NAMES = set(MEANING)

#: An engine that says {token} for every token. {surprise} happens before each answer, with ``calls`` made so far.
FAKE = """
import os, sys, time
from bench.race_protocol import serve
calls = []
def load(setup):
    print("an engine that is talkative")
    def generate(prompts, new_tokens):
        calls.append(len(prompts))
        time.sleep(0.002)
        {surprise}
        return [[{token}] * new_tokens for _ in prompts], [time.perf_counter() for _ in prompts]
    return generate, "fake, " + setup.folder
serve("{engine}", "rich", load)
"""


def fake(name: str, *, token: str = "7", surprise: str = "pass", engine: str = "json") -> Peer:
    return Peer(name, name, ("-c", FAKE.format(token=token, surprise=surprise, engine=engine)), "pip install it")


def race(*peers: Peer, rounds: int = 2, patience: float = 60, pythons: dict[str, str] | None = None) -> Report:
    race = Race(
        lambda peer: Setup("somewhere", "", "", 1, 64, 4), VOCABULARY, 1, pythons or {}, patience, Console(quiet=True)
    )
    entries, results = race.run(peers, rounds, quick=True)
    return Report({"quick": True, "rounds": rounds}, entries, results)


def entry(report: Report, name: str) -> Entry:
    return next(entry for entry in report.entries if entry.name == name)


def results(report: Report, name: str) -> dict[str, Result]:
    return {result.workload: result for result in report.results if result.peer == name}


def test_workloads_are_the_same_tokens_on_every_machine_and_others_in_every_round() -> None:
    first, again, second = workloads(0, 49_152), workloads(0, 49_152), workloads(1, 49_152)
    assert first == again
    assert [one.name for one in first] == list(MEANING)
    for one, other in zip(first, second, strict=True):
        assert not set(map(tuple, one.prompts)) & set(map(tuple, other.prompts))
        assert (one.num_prompt, one.num_output) == (other.num_prompt, other.num_output)
    assert first[0].prompts[0][:4] == [32_994, 24_746, 27_476, 19_368]


def test_workloads_are_as_large_as_they_are_said_to_be() -> None:
    decode, prefill, mixed, shared = workloads(0, 49_152)
    assert ([len(prompt) for prompt in decode.prompts], decode.new_tokens) == ([32], 128)
    assert ([len(prompt) for prompt in prefill.prompts], prefill.new_tokens) == ([512], 1)
    assert ([len(prompt) for prompt in mixed.prompts], mixed.new_tokens) == ([*range(32, 513, 32)], 64)
    assert ([len(prompt) for prompt in shared.prompts], shared.new_tokens) == ([288] * 64, 32)
    assert len({tuple(prompt[:256]) for prompt in shared.prompts}) == 1
    assert len({tuple(prompt[256:]) for prompt in shared.prompts}) == 64
    for one in (decode, prefill, mixed, shared):
        assert len(one.prompts) <= MAX_REQUESTS
        assert max(map(len, one.prompts)) + one.new_tokens <= MAX_CONTEXT


def test_no_prompt_of_a_round_or_of_the_warm_up_comes_again() -> None:
    """Or a prefix cache would know it."""
    seen = [tuple(prompt) for number in range(-1, 6) for one in workloads(number, 49_152) for prompt in one.prompts]
    assert len(set(seen)) == len(seen)
    assert len({prompt[:16] for prompt in seen}) == 7 * (1 + 1 + 16 + 1), "but the system prompt within its round"


def test_every_contestant_serves_every_workload_in_every_round_and_is_compared_with_ours() -> None:
    report = race(fake("pagedlab"), fake("same"), fake("other", token="8"), rounds=3)
    for name, same in (("pagedlab", 1.0), ("same", 1.0), ("other", 0.0)):
        assert entry(report, name).state == "raced"
        assert entry(report, name).settings == "fake, somewhere"
        assert results(report, name).keys() == NAMES
        for result in results(report, name).values():
            assert result.rounds == [0, 1, 2]
            assert len(result.seconds) == len(result.first_token) == 3
            assert result.same_outputs == same
            assert result.ours_times_as_fast is not None and result.ours_times_as_fast > 0
    assert all(result.ours_times_as_fast == 1 for result in results(report, "pagedlab").values())


def test_the_share_of_equal_outputs_counts_prompts() -> None:
    # Of the quick workloads `mixed` and `shared` have three prompts, the others one.
    report = race(fake("pagedlab"), fake("nearly", token="7 if len(prompts) < 3 or _ is prompts[0] else 8"), rounds=1)
    same = {name: result.same_outputs for name, result in results(report, "nearly").items()}
    assert same == {"decode": 1.0, "prefill": 1.0, "mixed": 0.3333, "shared": 0.3333}


def test_a_peer_that_dies_is_out_with_its_last_words_and_the_others_race_on() -> None:
    dying = fake("dying", surprise="if len(calls) == 6: sys.stderr.write('out of paper'); os._exit(3)")
    report = race(fake("pagedlab"), dying, fake("other"), rounds=2)
    out = entry(report, "dying")
    assert out.state == "failed"
    assert "round 1 of prefill" in out.why and "code 3" in out.why and "out of paper" in out.why
    assert results(report, "dying").keys() == {"decode"}  # what it did before stands
    assert all(result.rounds == [0, 1] for result in results(report, "other").values())
    assert results(report, "other").keys() == NAMES


def test_a_peer_that_errs_or_cheats_is_out() -> None:
    errs = fake("errs", surprise="raise ValueError('no such token')")
    cheats = fake("cheats", surprise="new_tokens = 1")
    report = race(fake("pagedlab"), errs, cheats, rounds=1)
    assert "ValueError: no such token" in entry(report, "errs").why
    assert "tokens in decode" in entry(report, "cheats").why
    assert not results(report, "errs") and not results(report, "cheats")


def test_a_silent_peer_is_not_waited_for_for_ever() -> None:
    report = race(fake("pagedlab"), fake("silent", surprise="time.sleep(600)"), rounds=1, patience=5)
    assert entry(report, "silent").state == "failed"
    assert "silent for 5 s" in entry(report, "silent").why
    assert results(report, "pagedlab").keys() == NAMES


def test_without_ours_the_others_are_still_timed_and_compared_with_nobody() -> None:
    report = race(fake("other"), rounds=1)
    for result in results(report, "other").values():
        assert result.seconds and result.ours_times_as_fast is None and result.same_outputs is None


def test_an_absent_peer_is_named_with_the_reason_and_what_to_install(tmp_path: Path) -> None:
    nowhere = tmp_path / "python"
    report = race(
        fake("pagedlab"),
        fake("missing", engine="no_such_engine"),
        fake("elsewhere"),
        pythons={"elsewhere": str(nowhere)},
        rounds=1,
    )
    assert [one.state for one in report.entries] == ["raced", "absent", "absent"]
    assert "no_such_engine" in entry(report, "missing").why
    assert str(nowhere) in entry(report, "elsewhere").why
    said = io.StringIO()
    show(report, Console(file=said, width=200))
    for name in ("missing", "elsewhere"):
        assert f"{name}: absent" in said.getvalue()
    assert "To race it: pip install it" in said.getvalue()


def test_every_peer_of_the_list_says_what_to_install() -> None:
    assert PEERS[0] is OURS
    assert len({peer.name for peer in PEERS}) == len(PEERS)
    assert all(peer.install for peer in PEERS)


def test_the_report_reads_back_and_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    report = race(fake("pagedlab"), fake("missing", engine="no_such_engine"), rounds=1)
    report.save(tmp_path / "race.json")
    assert Report.load(tmp_path / "race.json") == report
    text = (tmp_path / "race.json").read_text(encoding="utf-8")
    (tmp_path / "bad.json").write_text(text.replace('"median_seconds"', '"mean_seconds"'), encoding="utf-8")
    with pytest.raises(TypeError, match="mean_seconds"):
        Report.load(tmp_path / "bad.json")


def test_an_interpreter_for_an_environment_that_no_peer_has_is_refused() -> None:
    assert interpreters(["vllm=/a=b", "llama.cpp=c"]) == {"vllm": "/a=b", "llama.cpp": "c"}
    for wrong in ("vlm=/a", "vllm"):
        with pytest.raises(ValueError, match=r"vllm, llama\.cpp"):
            interpreters([wrong])


def test_pagedlab_takes_part_through_its_runner_with_the_weights_of_the_folder(
    tmp_path: Path, tiny_model: LoadedModel
) -> None:
    write_folder(tiny_model, tmp_path)
    written = load_folder(tmp_path, progress=False)
    assert written.config == replace(tiny_model.config)
    ours, theirs = tiny_model.model.state_dict(), written.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)

    race = Race(lambda peer: Setup(str(tmp_path), "", "", 1, 64, 4), 256, 1, {}, 120, Console(quiet=True))
    entries, results = race.run([OURS], 1, quick=True)
    assert entries[0].state == "raced", entries[0]
    llm = LLM(tiny_model, num_pages=32, trace=False)
    for workload in workloads(0, 256, quick=True):
        params = SamplingParams(max_tokens=workload.new_tokens, temperature=0, ignore_eos=True)
        expected = [one.outputs[0].token_ids for one in llm.generate(workload.prompts, params, progress=False)]
        assert race.answers["pagedlab", workload.name, 0].outputs == expected
    assert {result.workload for result in results} == NAMES


def test_the_gguf_file_for_llama_cpp_holds_the_numbers_of_the_narrower_one_in_float32(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    source = files.write_gguf(tmp_path / "source.gguf", random_llama(), weight_type=gguf.GGMLQuantizationType.F16)
    write_gguf(source, tmp_path / "race.gguf")
    kinds = {tensor.tensor_type for tensor in gguf.GGUFReader(tmp_path / "race.gguf").tensors}
    assert kinds == {gguf.GGMLQuantizationType.F32}
    narrow, plain = (load_gguf(path, progress=False) for path in (source, tmp_path / "race.gguf"))
    assert narrow.config == plain.config
    weights = plain.model.state_dict()
    assert all(torch.equal(weight, weights[name]) for name, weight in narrow.model.state_dict().items())
    assert plain.tokenizer is not None and narrow.tokenizer is not None
    assert plain.tokenizer.encode("pages") == narrow.tokenizer.encode("pages")


def test_llama_cpp_computes_once_what_all_prompts_begin_with_and_leaves_each_a_token() -> None:
    assert shared_beginning([[1, 2, 3, 4], [1, 2, 5]]) == [1, 2]
    assert shared_beginning([[1, 2], [1, 2]]) == [1]
    assert shared_beginning([[1], [2]]) == []


def test_the_runners_of_peers_import_no_engine_before_they_are_asked() -> None:
    """So that one without its engine can say so."""
    for peer in PEERS:
        module = peer.command[1]
        source = (Path(__file__).parents[2] / Path(*module.split("."))).with_suffix(".py").read_text(encoding="utf-8")
        top = [line for line in source.splitlines() if line.startswith(("import ", "from "))]
        allowed = {"bench.race_protocol", "__future__", *sys.stdlib_module_names}
        assert all(line.split()[1] in allowed or line.split()[1].split(".")[0] in allowed for line in top), module


def test_workloads_that_are_not_asked_for_are_not_raced() -> None:
    one = Race(
        lambda peer: Setup("somewhere", "", "", 1, 64, 4), VOCABULARY, only=["mixed"], console=Console(quiet=True)
    )
    _, results = one.run([fake("pagedlab")], 1, quick=True)
    assert [result.workload for result in results] == ["mixed"]


def test_the_picture_in_the_readme_shows_the_race_that_was_kept(tmp_path: Path) -> None:
    from tools.pictures import IMAGES, draw_race

    assert draw_race(tmp_path).read_text(encoding="utf-8") == (IMAGES / "race.svg").read_text(encoding="utf-8")
