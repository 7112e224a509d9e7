"""15,500 damaged files: whatever is in them, loading ends well or in a ModelError, and takes no memory to speak of."""

from __future__ import annotations

import json
import math
import random
import tracemalloc
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pagedlab.errors import ModelError
from pagedlab.models.config import ModelConfig
from pagedlab.models.lora import load_adapter
from pagedlab.models.tiny import TINY_CONFIG, random_model
from pagedlab.models.weights import load_folder, load_gguf
from tests.models.files import write_gguf
from tests.models.hub_configs import ON_THE_HUB
from tests.models.independent import random_llama
from tests.models.test_lora import write_adapter

BATCHES, CASES_A_BATCH = 10, 1000
#: Every hundredth case is watched with tracemalloc, which would slow all of them down.
WATCHED = 100
MOST_BYTES = 2**24

NUMBERS = [*range(4), 7, 8, 9, 31, 32, 33, 255, *(2**bits for bits in (15, 16, 31, 40, 62, 63)), 2**31 - 1, 2**64 - 1]
VALUES: list[Any] = [None, True, -1, 1.5, float("nan"), float("inf"), 10**30, "", "llama", "I8", [], [[]], {}, {"a": 1}]
WORDS = [b"nan", b"Infinity", b"-1", b"1e999", b"null", b"[]", b"{}", b'"', b"\\", b"99999999999999999999", b"true"]


def mutated(data: bytes, header_size: int, rng: random.Random) -> bytes:
    """One to four wounds, nearly all of them in the header."""
    damaged = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if not damaged:
            break
        at = rng.randrange(min(header_size, len(damaged)) if rng.random() < 0.95 else len(damaged))
        match rng.randrange(7):
            case 0:
                damaged[at] ^= 1 << rng.randrange(8)
            case 1:
                damaged[at] = rng.randrange(256)
            case 2:
                width = rng.choice([1, 2, 4, 8])
                damaged[at : at + width] = (rng.choice(NUMBERS) % 256**width).to_bytes(width, "little")
            case 3:
                word = rng.choice(WORDS)
                damaged[at : at + len(word)] = word
            case 4:
                del damaged[at : at + rng.randint(1, 40)]
            case 5:
                source = rng.randrange(header_size)
                damaged[at:at] = damaged[source : source + rng.randint(1, 40)]
            case 6 if rng.random() < 0.3:
                del damaged[at + 1 :]
    return bytes(damaged)


def with_other_values(text: bytes, rng: random.Random) -> bytes:
    """JSON that is still JSON, in which one to three values, at any depth, are others."""
    document = json.loads(text)
    for _ in range(rng.randint(1, 3)):
        at: dict[Any, Any] | list[Any] = document
        while at:
            key = rng.choice(list(at)) if isinstance(at, dict) else rng.randrange(len(at))
            if isinstance(at[key], dict | list) and at[key] and rng.random() < 0.8:
                at = at[key]
                continue
            at[key] = deepcopy(rng.choice([*VALUES, *NUMBERS]))
            break
    return json.dumps(document).encode()


def damaged_safetensors(sound: bytes, rng: random.Random) -> bytes:
    header_end = 8 + int.from_bytes(sound[:8], "little")
    if rng.random() < 0.5:
        return mutated(sound, header_end, rng)
    header = with_other_values(sound[8:header_end], rng)
    return len(header).to_bytes(8, "little") + header + sound[header_end:]


def damaged_json(sound: bytes, rng: random.Random) -> bytes:
    return mutated(sound, len(sound), rng) if rng.random() < 0.5 else with_other_values(sound, rng)


def survive(load: Callable[[], object], case: int) -> bool:
    """Whether a damaged file still loads. Anything else than a ModelError fails the test, with the case's number."""
    watched = case % WATCHED == 0
    if watched:
        tracemalloc.start()
    try:
        load()
    except ModelError:
        return False
    except Exception as error:
        raise AssertionError(f"case {case} raised {error!r}") from error
    finally:
        if watched:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < MOST_BYTES, f"case {case} took {peak} bytes"
    return True


@pytest.mark.parametrize("name", ON_THE_HUB)
def test_a_damaged_config_of_any_family_is_a_model_error_or_still_a_config(name: str) -> None:
    sound = json.dumps(ON_THE_HUB[name]).encode()

    def load(damaged: bytes) -> None:
        config = ModelConfig.from_huggingface(json.loads(damaged))
        assert all(map(math.isfinite, [config.rope.magnitude, *config.rope.frequencies(config.head_dim)]))

    cases = range(500)
    survivors = sum(survive(partial(load, with_other_values(sound, random.Random(case))), case) for case in cases)
    assert 0 < survivors < len(cases)


def test_a_damaged_adapter_is_a_model_error_or_still_an_adapter(tmp_path: Path) -> None:
    write_adapter(tmp_path, random_model(TINY_CONFIG))
    sound = {name: (tmp_path / name).read_bytes() for name in ("adapter_config.json", "adapter_model.safetensors")}
    survivors = dict.fromkeys(sound, 0)
    for case in range(1000):
        rng = random.Random(case)
        name = rng.choice(list(sound))
        damage = damaged_json if name.endswith("json") else damaged_safetensors
        (tmp_path / name).unlink()  # a survivor may still have the old file mapped
        (tmp_path / name).write_bytes(damage(sound[name], rng))
        survivors[name] += survive(lambda: load_adapter(tmp_path, TINY_CONFIG), case)
        (tmp_path / name).unlink()
        (tmp_path / name).write_bytes(sound[name])
    assert all(0 < count < 500 for count in survivors.values()), survivors


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    model = random_llama(
        num_hidden_layers=1,
        hidden_size=8,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=4,
        intermediate_size=8,
    )
    write_gguf(folder / "model.gguf", model)
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("batch", range(BATCHES))
def test_a_damaged_file_is_a_model_error_or_still_a_model(batch: int, files: Path, tmp_path: Path) -> None:
    sound = {name: (files / name).read_bytes() for name in ("model.gguf", "model.safetensors", "config.json")}
    gguf_header = sound["model.gguf"].index(b"token_embd") + 800
    kinds: list[tuple[str, Callable[..., bytes], Callable[[], object]]] = [
        (
            "model.gguf",
            partial(mutated, header_size=gguf_header),
            lambda: load_gguf(tmp_path / "model.gguf", progress=False),
        ),
        ("model.safetensors", damaged_safetensors, lambda: load_folder(tmp_path, progress=False)),
        ("config.json", damaged_json, lambda: load_folder(tmp_path, progress=False)),
    ]
    for name, data in sound.items():
        (tmp_path / name).write_bytes(data)
    survivors = dict.fromkeys(sound, 0)
    for case in range(batch * CASES_A_BATCH, (batch + 1) * CASES_A_BATCH):
        rng = random.Random(case)
        [(name, damage, load)] = rng.choices(kinds, weights=[6, 3, 1])
        path = tmp_path / name
        path.unlink()  # a survivor may still have the old file mapped
        path.write_bytes(damage(sound[name], rng=rng))
        survivors[name] += survive(load, case)
        path.unlink()
        path.write_bytes(sound[name])
    # Damage that everything survives, or nothing does, would prove little.
    assert all(0 < count < CASES_A_BATCH for count in survivors.values()), survivors
