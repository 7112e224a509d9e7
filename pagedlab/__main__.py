"""The command line: `pagedlab`, or `python -m pagedlab`."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from pagedlab.errors import PagedLabError
from pagedlab.learn.cli import app as learn
from pagedlab.simulate.cli import simulate

# torch takes seconds to import: each command imports what it needs.

app = typer.Typer(
    help="A real LLM engine whose KV memory is paged, visible and provably correct.",
    no_args_is_help=True,
    add_completion=False,
)
app.add_typer(learn, name="learn")
app.command()(simulate)


@app.command()
def demo() -> None:
    """Serve 24 requests with a real model while you watch its pages; then the figures. About a minute."""
    from pagedlab.demo import run

    run()


@app.command()
def doctor() -> None:
    """Say what works on this machine, and what to do where something does not."""
    from rich.console import Console
    from rich.text import Text

    from pagedlab.doctor import examine

    console, failed = Console(), False
    for finding in examine():
        failed |= not finding.ok
        line = Text.assemble(
            ("OK    ", "green") if finding.ok else ("FAIL  ", "bold red"), f"{finding.name:<16}", finding.detail
        )
        console.print(line, soft_wrap=True)
        if finding.mend:
            console.print(Text(f"      -> {finding.mend}"), soft_wrap=True)
    raise typer.Exit(int(failed))


@app.command()
def fetch(name: Annotated[str, typer.Argument(help="A model of the catalogue.")] = "smollm2-135m") -> None:
    """Download a model, check it, and keep it in your cache. Quick when it is there already."""
    from pagedlab.models.catalog import CATALOG
    from pagedlab.models.catalog import fetch as fetch_model

    if name not in CATALOG:
        raise typer.BadParameter(f"{name!r} is not in the catalogue; there is {', '.join(CATALOG)}")
    print(f"{name}: {fetch_model(name)}")


@app.command()
def generate(
    prompts: Annotated[list[str], typer.Argument(help="One or more prompts, served together.")],
    model: Annotated[str, typer.Option(help="Name, folder, .gguf file or hub id.")] = "smollm2-135m",
    chat: Annotated[bool, typer.Option(help="Ask in the model's chat format.")] = True,
    max_tokens: Annotated[int, typer.Option(help="New tokens for each prompt.")] = 128,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.0,
    top_k: Annotated[int, typer.Option(help="Keep the k likeliest tokens; 0 keeps all.")] = 0,
    top_p: Annotated[float, typer.Option(help="Keep the likeliest tokens that reach this probability.")] = 1.0,
    min_p: Annotated[float, typer.Option(help="Drop tokens below this share of the likeliest.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Same seed, same tokens.")] = 0,
    page_size: Annotated[int, typer.Option(help="Token slots in a page.")] = 16,
    num_pages: Annotated[int, typer.Option(help="Pages in the pool.")] = 512,
    max_tokens_per_step: Annotated[int, typer.Option(help="Tokens one step may compute.")] = 512,
    max_sequences: Annotated[int, typer.Option(help="Sequences that may run at once.")] = 64,
    max_context: Annotated[int | None, typer.Option(help="Tokens in a sequence; by default the model's limit.")] = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    prefix_cache: Annotated[str, typer.Option(help="hash, radix or none.")] = "hash",
    attention: Annotated[
        str | None, typer.Option(help="cpu, triton or reference; by default what suits the device.")
    ] = None,
) -> None:
    """Answer prompts with a real model. A single answer appears as it is written."""
    from pagedlab import LLM, SamplingParams

    params = SamplingParams(max_tokens=max_tokens, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    llm = LLM(
        model,
        dtype=_dtype(dtype),
        page_size=page_size,
        num_pages=num_pages,
        max_tokens_per_step=max_tokens_per_step,
        max_sequences=max_sequences,
        max_context=max_context,
        prefix_cache=prefix_cache,
        attention=attention,
        seed=seed,
    )
    if chat:
        conversations = [[{"role": "user", "content": prompt}] for prompt in prompts]
        prompts = [llm.tokenizer.apply_chat_template(conversation) for conversation in conversations]
    if len(prompts) == 1:
        for piece in llm.stream(prompts[0], params):
            print(piece.text, end="", flush=True)
        print()
        return
    for number, output in enumerate(llm.generate(prompts, params), start=1):
        print(f"[{number}] {output.outputs[0].text.strip()}\n")


@app.command()
def version() -> None:
    """Print the version."""
    from pagedlab import __version__

    print(__version__)


def _dtype(name: str) -> Any:
    if name not in ("float32", "bfloat16", "float16"):
        raise typer.BadParameter(f"{name!r} is no dtype of a model; there are float32, bfloat16 and float16")
    import torch

    return getattr(torch, name)


def main() -> None:
    try:
        app()
    except PagedLabError as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
