"""P3: one step at batch 1, of a layer alone and of a whole language model."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unspool.bench.batches import TORCH, Scale, Told
from unspool.bench.harness import Effort, agree, measure, measure_steps, percentile
from unspool.bench.onnx_peers import onnx_missing, onnx_stepper
from unspool.bench.results import Figure, Row, Verdict
from unspool.cells import CELLS
from unspool.data.samples import sample_text
from unspool.data.settings import DataSettings
from unspool.data.tokens import fit_tokenizer
from unspool.engine.stream import Stream
from unspool.layers.recurrent import Recurrent
from unspool.models.language_model import LanguageModel
from unspool.models.settings import RecurrentSettings
from unspool.predictor import Predictor

CALL = 3.9e-6  # seconds of a safe call from Python, the other half of the bound
FLOORS = {"lstm": 10.0, "gru_reset_after": 2.0, "rnn": 2.0}  # over torch, at every H
ONNX_FLOOR = 1.2
Steps = Mapping[str, Callable[[], Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How many steps are timed.

    Attributes:
        rounds: blocks of each contender.
        steps: in a block.
    """

    rounds: int = 12
    steps: int = 100


def streamed(scale: Scale, pace: Pace, tell: Told) -> Figure:
    """P3: beside torch's step loop and onnxruntime, with the bound that can be hoped for."""
    missing = onnx_missing()
    rows, verdicts = [], []
    for name in scale.cells:
        cells = [_layer_row(name, H, pace, missing is None) for H in scale.hidden]
        wholes = [_whole_row(name, H, pace) for H in scale.hidden]
        for row in (*cells, *wholes):
            told = ", ".join(f"{peer} {each.median:.1f}" for peer, each in row.ratios.items())
            tell(f"P3 {row.case}: {told}")
        rows += [*cells, *wholes]
        verdicts += _verdicts(name, cells, wholes)
    return Figure(
        name="P3",
        title="One streamed step at batch 1, beside `torch.nn` and onnxruntime",
        how="D = H. Ratios are of medians (p50), block by block, and of the 99th percentiles (p99) "
        "over all steps. Each step is given a new input and feeds its state back. onnxruntime has "
        "the better of one thread and all. The bound is the peer's p50 over 3.9 µs for a safe call "
        "from Python plus the time to read all weights once, measured here. A whole step is "
        "embedding, layer, output and sampling of the next character, by `Predictor.stream`.",
        rows=tuple(rows),
        verdicts=tuple(verdicts),
        skipped=(missing,) if missing else (),
    )


def _verdicts(name: str, cells: list[Row], wholes: list[Row]) -> list[Verdict]:
    floor = FLOORS[name]
    found = [
        Verdict(what=f"{name}, {what}, over torch, worst H, {share}", value=value, floor=floor)
        for what, rows in (("layer", cells), ("whole step", wholes))
        for share, value in (
            ("p50", min(row.ratios["torch.nn"].median for row in rows)),
            ("p99", min(row.more["p99 torch.nn"] for row in rows)),
        )
    ]
    if all("onnxruntime" in row.ratios for row in cells):
        worst = min(row.ratios["onnxruntime"].median for row in cells)
        tail = min(row.more["p99 onnxruntime"] for row in cells)
        share = min(
            row.ratios["onnxruntime"].median / row.more["bound onnxruntime"] for row in cells
        )
        found += [
            Verdict(what=f"{name}, over onnxruntime, worst H, p50", value=worst, floor=ONNX_FLOOR),
            Verdict(what=f"{name}, over onnxruntime, worst H, p99", value=tail, floor=ONNX_FLOOR),
            Verdict(what=f"{name}, share of the bound over onnxruntime", value=share, reach=0.7),
        ]
    else:
        found.append(Verdict(what=f"{name}, over onnxruntime", value=None, floor=ONNX_FLOOR))
    return found


@torch.inference_mode()
def _layer_row(name: str, H: int, pace: Pace, onnx: bool) -> Row:
    torch.manual_seed(0)
    module = TORCH[name](H, H, batch_first=True).eval()
    inputs = torch.randn(64, 1, H)
    case = f"{name} layer, H {H}"
    makers: dict[str, Callable[[], Callable[[int], Any]]] = {
        "unspool": lambda: _our_step(module, inputs),
        "torch.nn": lambda: _torch_step(module, inputs),
    }
    if onnx:
        threads = _better_threads(name, module, inputs)
        makers["onnxruntime"] = lambda: _onnx_step(name, module, inputs, threads)
    first = {key: _first_outputs(make()) for key, make in makers.items()}
    for key in list(first)[1:]:
        agree(f"{case}, {key}", {"outputs": first["unspool"]}, {"outputs": first[key]})
    read = reading_seconds(sum(value.numel() for value in module.parameters()))
    steps = {key: _endless(make(), len(inputs)) for key, make in makers.items()}
    return step_row(case, steps, pace, CALL + read)


def step_row(case: str, steps: Steps, pace: Pace, least: float | None = None) -> Row:
    """A row from single steps.

    Args:
        case: its name.
        steps: contenders, ours first.
        pace: how many steps.
        least: seconds that a step cannot go below, for the bound.
    """
    times = measure_steps(steps, pace.rounds, pace.steps)
    blocks = {key: [statistics.median(block) for block in found] for key, found in times.items()}
    every = {key: list(itertools.chain(*found)) for key, found in times.items()}
    ours, *peers = steps
    more = {}
    for peer in peers:
        tail = percentile(every[peer], 0.99) / percentile(every[ours], 0.99)
        more[f"p99 {peer}"] = tail
        if least is not None:
            more[f"bound {peer}"] = percentile(every[peer], 0.5) / least
    return Row.of(case, blocks, more)


def reading_seconds(numbers: int) -> float:
    """Measured time to read so many float32 numbers once, where they lie after a first reading."""
    values = np.ones(numbers, np.int32)  # the largest of integers: nothing but reading
    few = values[:16]
    contenders = {"all": values.max, "call": few.max}
    times = measure(contenders, Effort(seconds=0.1, least=5, most=9, block=0.002))
    return max(min(times["all"]) - min(times["call"]), 0.0)


def _first_outputs(step: Callable[[int], Any]) -> Tensor:
    """The first outputs, copied: a stream uses its memory again."""
    found = [torch.as_tensor(step(k)).reshape(-1).clone() for k in range(20)]
    return torch.stack(found)


def _endless(step: Callable[[int], Any], inputs: int) -> Callable[[], Any]:
    turns = itertools.cycle(range(inputs))
    return lambda: step(next(turns))


def _our_step(module: nn.RNNBase, inputs: Tensor) -> Callable[[int], Any]:
    layer = Recurrent.from_torch(module)
    stream = Stream(
        layer.cell, dict(layer.weights["l0"].items()), module.hidden_size, module.input_size
    )
    rows = list(inputs.unbind())

    def step(k: int) -> Tensor:
        stream.x.copy_(rows[k])
        return stream.step()

    return step


def _torch_step(module: nn.RNNBase, inputs: Tensor) -> Callable[[int], Any]:
    rows = list(inputs[:, None].unbind())
    state = None

    def step(k: int) -> Tensor:
        nonlocal state
        outputs, state = module(rows[k], state)
        return outputs

    return step


def _onnx_step(name: str, module: nn.RNNBase, inputs: Tensor, threads: int) -> Callable[[int], Any]:
    run = onnx_stepper(name, module, threads)
    rows = list(inputs[:, None].numpy())
    return lambda k: run(rows[k])


def _better_threads(name: str, module: nn.RNNBase, inputs: Tensor) -> int:
    """Threads that serve onnxruntime best: one, or as many as torch has."""
    choices = sorted({1, torch.get_num_threads()})
    if len(choices) == 1:
        return choices[0]
    steps = {
        str(each): _endless(_onnx_step(name, module, inputs, each), len(inputs)) for each in choices
    }
    times = measure_steps(steps, rounds=3, steps=50)
    medians = {key: statistics.median(itertools.chain(*found)) for key, found in times.items()}
    return int(min(medians, key=lambda key: medians[key]))


def _whole_row(name: str, H: int, pace: Pace) -> Row:
    tokenizer = fit_tokenizer(sample_text("english"), DataSettings())
    rng = torch.Generator().manual_seed(0)
    model = LanguageModel(tokenizer.size, RecurrentSettings(hidden=H), CELLS[name], rng).eval()
    predictor = Predictor(model, tokenizer, Path())
    case = f"{name} whole step, H {H}"
    likeliest = {
        "unspool": predictor.stream("The ", 30, temperature=0.0),
        "torch.nn": _torch_characters(predictor, "The ", temperature=0.0),
    }
    ours, theirs = ("".join(itertools.islice(each, 30)) for each in likeliest.values())
    agree(f"{case}, torch.nn", {"text": _codes(ours)}, {"text": _codes(theirs)}, 0.0)
    endless = predictor.stream("The ", 10**9)
    peer = _torch_characters(predictor, "The ")
    return step_row(case, {"unspool": lambda: next(endless), "torch.nn": lambda: next(peer)}, pace)


def _codes(text: str) -> Tensor:
    return torch.tensor([ord(character) for character in text])


def _torch_characters(predictor: Predictor, prompt: str, temperature: float = 1.0) -> Iterator[str]:
    """The plain way: modules of torch in a loop."""
    encoder = predictor.model.encoder.to_torch().eval()
    embedding, head = predictor.model.embedding, predictor.model.head
    alphabet = [predictor.tokenizer.decode([each]) for each in range(predictor.tokenizer.size)]
    rng = torch.Generator().manual_seed(0)
    tokens = torch.as_tensor(predictor.tokenizer.encode(prompt))[None]
    state = None
    while True:
        with torch.inference_mode():
            h, state = encoder(embedding(tokens), state)
            logits = head(h[:, -1])
            if temperature:
                chances = torch.softmax(logits / temperature, -1)
                tokens = torch.multinomial(chances, 1, generator=rng)
            else:
                tokens = logits.argmax(-1, keepdim=True)
            character = alphabet[int(tokens)]
        yield character
