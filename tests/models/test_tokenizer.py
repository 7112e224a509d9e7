"""Text to ids and back: against a BPE written from its definition, and against transformers' chat templates."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import regex
import tokenizers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import render_jinja_template

from pagedlab.errors import CorruptFile, InvalidRequest, UnsupportedModel
from pagedlab.models.catalog import LoadedModel
from pagedlab.models.chat_template import ChatTemplate
from pagedlab.models.config import ModelConfig
from pagedlab.models.gguf import GGUFFile
from pagedlab.models.tiny import byte_tokenizer
from pagedlab.models.tokenizer import Tokenizer, byte_letters

HARD_TEXTS = [
    "🎉👩‍👩‍👧‍👦 fin",
    "漢字かな交じり文",
    "e\u0301 a\u0308 combining",
    "नमस्ते",
    "\ufffd really \ufffd",
    "12 345,67",
    "  \n\t ",
]
TEXT = st.text(max_size=40) | st.sampled_from(HARD_TEXTS)

MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "1 < 2 & 'so on'?\n\n"},
    {"role": "assistant", "content": "Ja — natürlich 🙂"},
    {"role": "user", "content": ""},
]


@pytest.fixture(scope="module")
def metadata(smollm2_path: Path) -> dict[str, object]:
    return GGUFFile(smollm2_path).metadata


@pytest.fixture(scope="module")
def config(metadata: dict[str, object]) -> ModelConfig:
    return ModelConfig.from_gguf(metadata, tie_word_embeddings=True)


@pytest.fixture(scope="module")
def tokenizer(metadata: dict[str, object], config: ModelConfig) -> Tokenizer:
    """SmolLM2's."""
    return Tokenizer.from_gguf(metadata, config)


class BytePairEncoding:
    """The definition, without any cleverness: split, then merge the pair of lowest rank until none is left."""

    #: llama.cpp's patterns for the pre-tokenizer "smollm": single digits first, then GPT-2's.
    DIGIT = regex.compile(r"\p{N}")
    WORD = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")

    def __init__(self, metadata: dict[str, object]) -> None:
        tokens, merges = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.merges"]
        assert isinstance(tokens, list)
        assert isinstance(merges, list)
        self.ids = {token: id for id, token in enumerate(tokens)}
        self.ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(merges)}

    def encode(self, text: str) -> list[int]:
        ids = []
        for part in self._split(text):
            letters = byte_letters()
            pieces = [letters[byte] for byte in part.encode() if letters[byte] in self.ids]
            while ranked := [(self.ranks[pair], at) for at, pair in enumerate(pairwise(pieces)) if pair in self.ranks]:
                _, at = min(ranked)
                pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
            ids += [self.ids[piece] for piece in pieces]
        return ids

    def _split(self, text: str) -> list[str]:
        parts, start = [], 0
        for digit in self.DIGIT.finditer(text):
            parts += [*self.WORD.findall(text[start : digit.start()]), digit[0]]
            start = digit.end()
        return parts + self.WORD.findall(text[start:])


@pytest.fixture(scope="module")
def definition(metadata: dict[str, object]) -> BytePairEncoding:
    return BytePairEncoding(metadata)


@settings(max_examples=400, deadline=None)
@given(text=TEXT | st.text("aehino rst'ABC019.,\n ²½", max_size=60))
@example(text="It's 2026, I'll pay 1,234.50€ for  3 spaces\n\n\n  and 'quotes'")
def test_smollm2_encodes_as_the_definition_of_its_bpe_says(
    tokenizer: Tokenizer, definition: BytePairEncoding, text: str
) -> None:
    assert tokenizer.encode(text) == definition.encode(text)


def test_every_digit_is_a_token_of_its_own(tokenizer: Tokenizer) -> None:
    assert [tokenizer.piece(token) for token in tokenizer.encode("in 1234")] == ["in", " ", "1", "2", "3", "4"]


@settings(max_examples=200, deadline=None)
@given(text=TEXT)
def test_text_comes_back_as_it_was_but_for_bytes_that_the_vocabulary_lacks(tokenizer: Tokenizer, text: str) -> None:
    lacking = {"\x04", "\x06", "\x13", "\x14", "\x16", "\x1d"}
    kept = "".join(c for c in text if c not in lacking and c.encode()[0] not in (0xF1, 0xF2))
    assert tokenizer.decode(tokenizer.encode(kept)) == kept
    assert byte_tokenizer().decode(byte_tokenizer().encode(text)) == text


@settings(max_examples=200, deadline=None)
@given(data=st.data(), skip=st.booleans())
def test_pushes_and_the_flush_together_are_the_decoded_text(
    tokenizer: Tokenizer, data: st.DataObject, skip: bool
) -> None:
    for subject in (tokenizer, byte_tokenizer()):
        ids = data.draw(TEXT.map(subject.encode) | st.lists(st.integers(0, subject.vocab_size - 1), max_size=40))
        stream = subject.stream(skip_special_tokens=skip)
        pushed = [stream.push(token) for token in ids]
        assert "".join(pushed) + stream.flush() == subject.decode(ids, skip_special_tokens=skip)
        assert stream.flush() == ""


@settings(max_examples=200, deadline=None)
@given(text=TEXT.filter(lambda text: "\ufffd" not in text))
@example(text="👩‍👩‍👧‍👦")
def test_a_stream_never_shows_half_a_character_and_never_takes_text_back(text: str) -> None:
    stream, shown = byte_tokenizer().stream(), ""
    for token in byte_tokenizer().encode(text):
        shown += stream.push(token)
        assert text.startswith(shown)
    assert shown == text


def test_a_stream_shows_a_character_with_the_token_that_completes_it() -> None:
    stream = byte_tokenizer().stream()
    assert [stream.push(byte) for byte in "aé🙂".encode()] == ["a", "", "é", "", "", "", "🙂"]


def test_a_tokenizer_with_spaces_as_letters_streams_exactly_too() -> None:
    vocab = {
        letter: id for id, letter in enumerate(["<unk>", "▁", "a", "b", "▁a", *(f"<0x{b:02X}>" for b in range(256))])
    }
    backend = tokenizers.Tokenizer(models.BPE(vocab, [("▁", "a")], unk_token="<unk>", byte_fallback=True))
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    subject = Tokenizer(backend, bos_id=None, eos_ids=())
    ids = [4, 3, 4, 1, *(5 + byte for byte in "é🙂".encode()), 4, 2, 5 + 0xF0]
    stream = subject.stream()
    pushed = [stream.push(token) for token in ids]
    assert "".join(pushed[:-1]) == "ab a é🙂 aa"
    assert "".join(pushed) + stream.flush() == subject.decode(ids)


def test_special_tokens_are_recognised_in_text_and_left_out_of_it_again(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("<|im_start|>user\nhi<|im_end|>")
    assert (ids[0], ids[-1]) == (1, 2)
    assert tokenizer.decode(ids) == "user\nhi"
    assert tokenizer.decode(ids, skip_special_tokens=False) == "<|im_start|>user\nhi<|im_end|>"
    assert (tokenizer.bos_id, tokenizer.eos_ids, tokenizer.vocab_size) == (1, (2,), 49152)


def test_bytes_of_the_tiny_tokenizer_are_its_ids() -> None:
    subject = byte_tokenizer()
    assert subject.encode("é!<|im_end|>") == [0xC3, 0xA9, ord("!"), 258]
    assert [subject.piece(token) for token in (0xC3, ord("!"), 258)] == ["<0xC3>", "!", "<|im_end|>"]


def test_every_token_has_a_piece(tokenizer: Tokenizer) -> None:
    assert all(tokenizer.piece(token) for token in range(tokenizer.vocab_size))
    assert tokenizer.piece(tokenizer.vocab_size) == ""


def test_half_a_surrogate_pair_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(InvalidRequest, match="Unicode"):
        tokenizer.encode("\ud83d")


@pytest.mark.parametrize("add_generation_prompt", [True, False])
def test_a_chat_is_rendered_as_transformers_renders_it(
    tokenizer: Tokenizer, tiny_model: LoadedModel, add_generation_prompt: bool
) -> None:
    assert tiny_model.tokenizer is not None
    for subject in (tokenizer, tiny_model.tokenizer):
        assert subject.chat_template is not None
        rendered, _ = render_jinja_template(
            [MESSAGES], chat_template=subject.chat_template.source, add_generation_prompt=add_generation_prompt
        )
        assert subject.apply_chat_template(MESSAGES, add_generation_prompt) == rendered[0]


def test_smollm2_chats_in_its_own_words(tokenizer: Tokenizer) -> None:
    assert tokenizer.apply_chat_template([{"role": "user", "content": "hi"}]) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    "source",
    [
        "  {% for m in messages %}\n  {{ m.content | tojson }}\n{% if loop.last %}{% break %}\n{% endif %}{% endfor %}",
        "{{ bos_token }}{% if tools is not none %}tools{% endif %}{{ {'a': '<ü>'} | tojson(indent=2) }}{{ eos_token }}",
        "{%- set ns = namespace(n=0) -%}{%- for m in messages -%}{%- set ns.n = ns.n + 1 -%}{%- endfor -%}{{ ns.n }}",
    ],
)
def test_templates_find_what_transformers_gives_them(source: str) -> None:
    special = {"bos_token": "<s>", "eos_token": "</s>"}
    rendered, _ = render_jinja_template([MESSAGES], chat_template=source, add_generation_prompt=True, **special)
    assert ChatTemplate(source, special).render(MESSAGES) == rendered[0]


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('roles must alternate') }}",
        "{{ messages[0]['content'] + 1 }}",
        "{% for m in messages %}",
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ ''.__class__.__base__ }}",
        "{% for i in range(1000000000) %}x{% endfor %}",
    ],
)
def test_a_template_that_fails_or_breaks_out_is_an_invalid_request(source: str) -> None:
    with pytest.raises(InvalidRequest, match="chat template cannot render"):
        ChatTemplate(source, {}).render(MESSAGES)


def test_a_tokenizer_without_a_template_says_so() -> None:
    subject = byte_tokenizer()
    subject.chat_template = None
    with pytest.raises(InvalidRequest, match="no chat template"):
        subject.apply_chat_template(MESSAGES)


@pytest.mark.parametrize("place", ["tokenizer_config.json", "a list there", "chat_template.jinja"])
def test_a_folder_brings_tokenizer_and_template(
    tokenizer: Tokenizer, config: ModelConfig, place: str, tmp_path: Path
) -> None:
    source = "{{ bos_token }}{{ messages[0]['content'] }}"
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer._backend, bos_token="<|im_start|>", eos_token="<|im_end|>"
    )
    fast.save_pretrained(tmp_path)
    settings_file = tmp_path / "tokenizer_config.json"
    settings = json.loads(settings_file.read_text())
    if place == "chat_template.jinja":
        (tmp_path / place).write_text(source)
    elif place == "tokenizer_config.json":
        settings["chat_template"] = source
    else:
        settings["chat_template"] = [{"name": "tools", "template": "x"}, {"name": "default", "template": source}]
        settings["bos_token"] = {"content": "<|im_start|>", "lstrip": False}
    settings_file.write_text(json.dumps(settings))
    loaded = Tokenizer.from_folder(tmp_path, config)
    text = "Numbers: 123, ünïcode <|im_end|>"
    assert loaded.encode(text) == tokenizer.encode(text)
    assert loaded.apply_chat_template([{"role": "user", "content": "hi"}]) == "<|im_start|>hi"


def test_bos_is_put_in_front_once_even_if_a_template_wrote_it(metadata: dict[str, object], config: ModelConfig) -> None:
    subject = Tokenizer.from_gguf(metadata | {"tokenizer.ggml.add_bos_token": True}, config)
    assert subject.encode("hi") == subject.encode("<|im_start|>hi")
    assert subject.encode("hi")[:1] == [1]


def test_settings_to_cut_or_fill_texts_are_left_behind(config: ModelConfig, tmp_path: Path) -> None:
    backend = tokenizers.Tokenizer(models.BPE({"a": 0, "b": 1}, []))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.enable_truncation(2)
    backend.enable_padding(length=8)
    backend.save(str(tmp_path / "tokenizer.json"))
    assert Tokenizer.from_folder(tmp_path, config).encode("a b a b") == [0, 1, 0, 1]


def test_a_tokenizer_that_cannot_be_rebuilt_is_unsupported(metadata: dict[str, object], config: ModelConfig) -> None:
    for change in ({"tokenizer.ggml.model": "llama"}, {"tokenizer.ggml.pre": "qwen2"}):
        with pytest.raises(UnsupportedModel, match=r"tokenizer\.json instead"):
            Tokenizer.from_gguf(metadata | change, config)


@pytest.mark.parametrize(
    "change",
    [
        {"tokenizer.ggml.tokens": ["a", "a"], "tokenizer.ggml.token_type": [1, 1]},
        {"tokenizer.ggml.tokens": "abc"},
        {"tokenizer.ggml.tokens": [1, 2, 3]},
        {"tokenizer.ggml.token_type": [1]},
        {"tokenizer.ggml.merges": ["abc"]},
        {"tokenizer.ggml.merges": ["no suchtoken"]},
        {"tokenizer.ggml.merges": None},
    ],
)
def test_a_vocabulary_that_contradicts_itself_is_corrupt(
    metadata: dict[str, object], config: ModelConfig, change: dict[str, object]
) -> None:
    with pytest.raises(CorruptFile):
        Tokenizer.from_gguf(metadata | change, config)


def test_a_damaged_tokenizer_file_is_corrupt(config: ModelConfig, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"')
    with pytest.raises(CorruptFile, match=r"tokenizer\.json"):
        Tokenizer.from_folder(tmp_path, config)
