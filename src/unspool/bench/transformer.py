"""P10: a transformer that writes, training and writing, beside others with the same weights."""

from __future__ import annotations

import importlib.util
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from unspool.bench.harness import Effort, agree, geometric_mean, measure
from unspool.bench.results import Figure, Row, Verdict
from unspool.bench.transformer_peers import NanoGPT, peers_of
from unspool.models.gpt2 import to_gpt2
from unspool.models.language_model import LanguageModel
from unspool.models.sampling import SamplingSettings, continuation
from unspool.models.settings import TransformerSettings
from unspool.training.optimisation import build_optimiser, limit_gradients
from unspool.training.settings import TrainSettings

Told = Callable[[str], None]
VOCABULARY = 65  # characters of tiny Shakespeare


@dataclass(frozen=True, kw_only=True, slots=True)
class TransformerScale:
    """Which sizes are measured, and how long.

    Attributes:
        trained: (features, blocks, heads, context, rows) of training steps.
        written: (features, blocks, heads) of what writes.
        length: tokens that are written at once.
        effort: of every case.
    """

    trained: tuple[tuple[int, int, int, int, int], ...] = (
        (128, 4, 4, 64, 12),
        (128, 4, 4, 256, 8),
        (256, 4, 4, 128, 8),
    )
    written: tuple[tuple[int, int, int], ...] = ((64, 2, 4), (128, 4, 4), (256, 4, 8))
    length: int = 200
    effort: Effort = field(default_factory=lambda: Effort(seconds=4.0, least=7, most=15))


def transformer(scale: TransformerScale, tell: Told) -> Figure:
    """P10: tokens a second of training steps, and of writing with a cache."""
    rows, skipped = [], set[str]()
    trained, written = [], []
    for sizes in scale.trained:
        row, reasons = _training_row(*sizes, scale.effort)
        tell(f"P10 {row.case}: " + ", ".join(f"{k} {v.median:.2f}" for k, v in row.ratios.items()))
        skipped.update(reasons)
        trained.append(row)
    missing = transformers_missing()
    if missing:
        skipped.add(missing)
    for width, layers, heads in () if missing else scale.written:
        row = _writing_row(width, layers, heads, scale)
        tell(f"P10 {row.case}: {row.ratio.median:.2f}")
        written.append(row)
    rows = [*trained, *written]
    verdicts = [
        Verdict(
            what="training step over the fastest peer, geometric mean",
            value=geometric_mean([row.ratio.median for row in trained]), floor=1.0, reach=1.3,
        ),
        Verdict(
            what="writing over `generate` of transformers, geometric mean",
            value=geometric_mean([row.ratio.median for row in written]) if written else None,
            floor=2.0, reach=5.0,
        ),
    ]  # fmt: skip
    return Figure(
        name="P10",
        title="A transformer that writes, beside a plain one, nanoGPT's and transformers' GPT-2",
        how="The same weights everywhere, losses, gradients and likeliest tokens compared before "
        "anything is timed. A training step is loss, gradients, clipping and AdamW; peers do it as "
        "nanoGPT's train.py. Writing draws "
        f"{scale.length} tokens after a prompt of 16 at temperature 1, one sequence, keys and "
        "values kept.",
        rows=tuple(rows),
        verdicts=tuple(verdicts),
        skipped=tuple(sorted(skipped)),
    )


def _training_row(
    width: int, layers: int, heads: int, context: int, batch: int, effort: Effort
) -> tuple[Row, tuple[str, ...]]:
    rng = torch.Generator().manual_seed(0)
    settings = TransformerSettings(
        hidden=width, layers=layers, heads=heads, positions="learned", context=context,
        dropout=0.0, tie=True, biases=False,
    )  # fmt: skip
    model = LanguageModel(VOCABULARY, settings, generator=rng)
    peers, skipped = peers_of(model)
    tokens = torch.randint(VOCABULARY, (batch, context + 1), generator=rng)
    case = f"training, {width} wide, {layers} blocks, context {context}, B {batch}"
    ours = _computed(model, tokens)
    for name, peer in peers.items():
        agree(f"{case}, {name}", ours, _computed(peer, tokens))
    steps = {"unspool": _our_step(model, tokens)}
    steps |= {name: _plain_step(peer, tokens) for name, peer in peers.items()}
    times = measure(steps, effort)
    rate = batch * context / min(times["unspool"])
    return Row.of(case, times, {"tokens a second": rate}), skipped


def mean_loss(model: nn.Module, tokens: Tensor) -> Tensor:
    """The mean cross-entropy of each token given those before it in its row.

    Args:
        model: ours or a peer.
        tokens: int64 ``[B T]``.
    """
    if isinstance(model, NanoGPT):
        return model.loss(tokens[:, :-1], tokens[:, 1:])
    logits, _ = model(tokens[:, :-1], None)
    return nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def _computed(model: nn.Module, tokens: Tensor) -> dict[str, Tensor]:
    """The loss, and the gradient that has gone the whole way down."""
    loss = mean_loss(model, tokens)
    table = next(p for p in model.parameters() if p.shape[0] == VOCABULARY)
    return {"loss": loss[None], "gradient": torch.autograd.grad(loss, table)[0]}


def _our_step(model: LanguageModel, tokens: Tensor) -> Callable[[], None]:
    """What the training loop does in an update."""
    settings = TrainSettings(learning_rate=1e-4)
    optimiser = build_optimiser(model, settings)
    parameters = list(model.parameters())

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        mean_loss(model, tokens).backward()
        limit_gradients(parameters, settings)
        optimiser.step()

    return step


def _plain_step(model: nn.Module, tokens: Tensor) -> Callable[[], None]:
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.99))

    def step() -> None:
        mean_loss(model, tokens).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return step


def transformers_missing() -> str | None:
    """Why transformers cannot be asked; None where it can."""
    if importlib.util.find_spec("transformers") is None:
        return "transformers: not installed (`pip install transformers`)"
    return None


def _writing_row(width: int, layers: int, heads: int, scale: TransformerScale) -> Row:
    rng = torch.Generator().manual_seed(0)
    settings = TransformerSettings(
        hidden=width, layers=layers, heads=heads, positions="learned", activation="gelu_tanh",
        context=scale.length + 16, dropout=0.0, tie=True,
    )  # fmt: skip
    model = LanguageModel(VOCABULARY, settings, generator=rng).eval()
    peer = _their_gpt2(model, settings)
    prompt = torch.randint(VOCABULARY, (16,), generator=rng)

    def ours(temperature: float = 1.0) -> list[int]:
        drawn = continuation(
            model, prompt.tolist(), SamplingSettings(temperature=temperature),
            torch.Generator().manual_seed(0),
        )  # fmt: skip
        return list(itertools.islice(drawn, scale.length))

    def theirs(sample: bool = True) -> list[int]:
        chances = {"top_k": 0} if sample else {}  # which is all of them
        with torch.inference_mode():
            found = peer.generate(
                prompt[None], attention_mask=torch.ones(1, 16), max_new_tokens=scale.length,
                do_sample=sample, use_cache=True, **chances,
            )  # fmt: skip
        return list(found[0, 16:].tolist())

    case = f"writing, {width} wide, {layers} blocks"
    likeliest = {"tokens": torch.tensor(ours(0.0))}
    agree(f"{case}, transformers", likeliest, {"tokens": torch.tensor(theirs(False))}, 0.0)
    times = measure({"unspool": ours, "transformers": theirs}, scale.effort, time.perf_counter)
    return Row.of(case, times, {"tokens a second": scale.length / min(times["unspool"])})


def _their_gpt2(model: LanguageModel, settings: TransformerSettings) -> Any:
    """The GPT-2 of transformers with the weights of one of ours."""
    import transformers

    config = transformers.GPT2Config(
        vocab_size=VOCABULARY, n_positions=settings.context, n_embd=settings.hidden,
        n_layer=settings.layers, n_head=settings.heads, bos_token_id=0, eos_token_id=None,
        pad_token_id=0,
    )  # fmt: skip
    peer = transformers.GPT2LMHeadModel(config).eval()
    weights = {f"transformer.{name}": value for name, value in to_gpt2(model).items()}
    weights["lm_head.weight"] = model.head.weight
    peer.load_state_dict(weights)
    return peer
