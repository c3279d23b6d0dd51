"""P9: a character model on tiny Shakespeare, beside a plain `nn.LSTM` and beside counting.

The default model and a plain loop around `nn.LSTM` read the same windows of the same text, in turns
of a few steps, until each has been asked for exactly so many characters. In the same turns the
default model is trained once more on a longer schedule: from it comes the time to the peer's loss.
Time is that of the training steps alone; looks at the validation part do not count.

A seed takes minutes, so each is kept as soon as it is done, and a measurement that was interrupted
goes on with the next seed. What is kept belongs to one recipe, text, machine and version; `forget`
removes it once the results are written.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unspool.bench.language_contenders import Contender, LanguageScale, Ours, Plain, Windows
from unspool.bench.machine import machine
from unspool.bench.results import Figure, Row, Verdict
from unspool.data.settings import DataSettings
from unspool.data.streams import Window
from unspool.data.text import read_text
from unspool.errors import DataError
from unspool.models.language_model import LanguageModel
from unspool.tasks.adaptive import adaptive_evaluation
from unspool.tasks.corpus import Corpus, read_corpus
from unspool.tasks.ngram import NGram
from unspool.tasks.text_loss import stream_loss, summed_loss
from unspool.training.durable import write_file

Told = Callable[[str], None]
Record = dict[str, Any]
TEXT = Path("data") / "tinyshakespeare" / "input.txt"
# Where it is looked for, seen from the working directory.
PLACES = (Path(), Path("shared"), Path("..") / "shared")
BLOCK = 256  # steps, of nanoGPT's protocol


def language(scale: LanguageScale, tell: Told) -> Figure:
    """P9: loss at so many characters, time to the peer's loss, loss of what goes on learning.

    Args:
        scale: what is trained, and for how long.
        tell: called with a line for every step of the way.

    Raises:
        DataError: if the text is not there.
    """
    text = tiny_shakespeare(scale.text)
    corpus = read_corpus(text, DataSettings())
    made = _fingerprint(scale, text)
    records = []
    for seed in scale.seeds:
        path = scale.folder / f"seed-{seed}.json"
        record = _kept(path, made)
        if record is None:
            record = measure_seed(corpus, scale, seed, lambda line: tell(f"P9 {line}"))
            scale.folder.mkdir(parents=True, exist_ok=True)
            write_file(path, json.dumps({"made": made, "record": record}).encode())
        tell(f"P9 seed {seed}: {record['one stream']:.3f} nats/char, {record['share']:.2f} of the "
             f"peer's time to its {record['nn.LSTM']:.3f}, adaptive {record['adaptive']:.3f} in "
             f"{record['adaptive seconds']:.0f} s")  # fmt: skip
        records.append(record)
    began = time.perf_counter()
    counting = NGram.fit(corpus.train.numpy(), corpus.tokenizer.size)
    counted = counting.loss(corpus.validation.numpy())
    name = f"{counting.order}-gram Kneser–Ney"
    tell(f"P9 {name}: {counted:.3f} nats/char in {time.perf_counter() - began:.1f} s")
    return _figure(scale, records, name, counted)


def forget(folder: Path) -> None:
    """Remove finished seeds, once they stand in a figure that has been kept."""
    if folder.is_dir():
        shutil.rmtree(folder)


def measure_seed(corpus: Corpus, scale: LanguageScale, seed: int, tell: Told) -> Record:
    """Train both with one seed, in turns, and judge them.

    Args:
        corpus: both parts of the text.
        scale: what is trained, and for how long.
        seed: of the weights, dropout and where epochs start.
        tell: called with a line at every look.

    Returns:
        Losses in nats per character, seconds, and ``share``: our seconds to the peer's last loss
        over all of the peer's; infinite where that loss was never reached.
    """
    windows = Windows(corpus.train, scale, seed)
    batch = scale.train.batch
    more = round(scale.characters * scale.longer / batch) * batch
    further = Windows(corpus.train, scale, seed, more)
    ours = Ours(corpus, windows, scale, seed)
    peer = Plain(corpus, windows, scale, seed)
    contenders: list[Contender] = [Ours(corpus, further, scale, seed), ours, peer]
    spent, curve = _in_turns(contenders, [further.steps, windows.steps, windows.steps], scale, tell)
    _, own_seconds, peer_seconds = spent
    validation = corpus.validation
    target = peer.evaluate()  # as many streams at once as at our looks
    reached = seconds_to(curve, target)
    adapted = adaptive_evaluation(ours.model, corpus.train, validation)
    return {
        "seed": seed,
        "characters": windows.characters,
        "one stream": stream_loss(ours.model, validation),
        "blocks": block_loss(ours.model, validation),
        "nn.LSTM": stream_loss(peer.model, validation),
        "longer": curve[-1][1],
        "seconds": own_seconds,
        "seconds to peer": reached,
        "peer seconds": peer_seconds,
        "share": reached / peer_seconds,
        "adaptive": adapted.loss,
        "adaptive seconds": adapted.seconds,
        "parts": adapted.parts,
    }


def seconds_to(curve: Sequence[tuple[float, float]], loss: float) -> float:
    """The first time at which a loss was measured that is as low, or infinity.

    Args:
        curve: seconds and losses, in order.
        loss: to reach.

    Example:
        >>> seconds_to([(1.0, 2.0), (2.0, 1.5), (3.0, 1.4)], loss=1.5)
        2.0
    """
    return next((seconds for seconds, value in curve if value <= loss), math.inf)


@torch.no_grad()
def block_loss(model: LanguageModel, tokens: Tensor, length: int = BLOCK) -> float:
    """Nats per token over blocks side by side, each read from a zero state: nanoGPT's protocol.

    nanoGPT draws blocks at random places; here every whole block is read once.

    Args:
        model: a language model.
        tokens: int64 ``[N]``, at least one block and a token.
        length: steps of a block.
    """
    model.eval()
    count = (len(tokens) - 1) // length
    inputs = tokens[: count * length].view(count, length)
    targets = tokens[1 : count * length + 1].view(count, length)
    total = 0.0
    for rows in torch.arange(count).split(64):
        window = Window(
            inputs=inputs[rows], targets=targets[rows], num_targets=len(rows) * length, first=True
        )
        total += summed_loss(model, window, None)[0].item()
    return total / (count * length)


def _in_turns(
    contenders: Sequence[Contender], steps: Sequence[int], scale: LanguageScale, tell: Told
) -> tuple[list[float], list[tuple[float, float]]]:
    """Train all, a few steps of each in turn: the seconds of each, and the first one's looks.

    The first takes the turns; the others take as large a share of their steps. A look is the
    seconds so far and the loss; of the others the last loss is what counts.
    """
    spent, done = [0.0] * len(contenders), [0] * len(contenders)
    curve: list[tuple[float, float]] = []
    most = steps[0]
    looks = {most - (most // 2) * k // scale.looks for k in range(scale.looks)}
    for stop in sorted({*range(scale.turn, most, scale.turn), *looks}):
        for place, contender in enumerate(contenders):
            until = steps[place] * stop // most
            began = time.perf_counter()
            for _ in range(until - done[place]):
                contender.step()
            spent[place] += time.perf_counter() - began
            done[place] = until
        if stop in looks:
            curve.append((spent[0], contenders[0].evaluate()))
            tell(f"step {stop} of {most}: {curve[-1][1]:.3f} nats/char in {spent[0]:.0f} s; the "
                 f"shorter one {spent[1]:.0f} s, nn.LSTM {spent[2]:.0f} s")  # fmt: skip
    return spent, curve


def _figure(scale: LanguageScale, records: Sequence[Record], name: str, counted: float) -> Figure:
    def middle(key: str) -> float:
        return statistics.median(record[key] for record in records)

    rows = [
        Row.of(
            f"seed {record['seed']}",
            {"unspool": [record["seconds to peer"]], "nn.LSTM": [record["peer seconds"]]},
            {
                "one stream": record["one stream"],
                f"blocks of {BLOCK}": record["blocks"],
                "nn.LSTM, one stream": record["nn.LSTM"],
                "longer": record["longer"],
                "adaptive": record["adaptive"],
                **{f"adaptive: {part}": loss for part, loss in record["parts"].items()},
                "adaptive, seconds": record["adaptive seconds"],
            },
        )
        for record in records
    ]
    verdicts = (
        Verdict(what="(a) nats/char as one stream", value=middle("one stream"),
                floor=1.48, reach=1.40, at_most=True),
        Verdict(what=f"(a) nats/char in blocks of {BLOCK} from a zero state",
                value=middle("blocks")),
        Verdict(what="(b) share of the time of `nn.LSTM` to its loss", value=middle("share"),
                floor=0.7, reach=0.5, at_most=True),
        Verdict(what="(c) nats/char of the adaptive mixture", value=middle("adaptive"),
                floor=1.40, reach=1.33, at_most=True),
        Verdict(what="beside it: nats/char of `nn.LSTM` as one stream", value=middle("nn.LSTM")),
        Verdict(what=f"beside it: nats/char of the {name}", value=counted),
    )  # fmt: skip
    model = scale.model
    return Figure(
        name="P9",
        title="A character model on tiny Shakespeare, beside plain `nn.LSTM`",
        how=f"The first 90 % train, {scale.characters:,} characters exactly, the last 10 % "
        f"validate. Ours: {model.name} {model.hidden}, as `unspool train` has it; the peer: "
        "`nn.LSTM` of as many units, the same dropout, optimiser, schedule and windows, in a loop "
        "written by hand. The ratio is the peer's training time over ours to the peer's last loss, "
        f"ours on a schedule of {scale.longer:g} times as many characters; 0 where that was not "
        "reached. Adaptive: each token is predicted from the training text and what stands before "
        "it, then learnt from, by the network and by counts; its parts alone beside it.",
        rows=tuple(rows),
        verdicts=verdicts,
        digits=3,
    )


def tiny_shakespeare(text: Path | None = None) -> str:
    """The text, from a file or from where it is looked for.

    Raises:
        DataError: if it is not there.
    """
    return read_text(_found(text))


def _found(text: Path | None) -> Path:
    places = [place / TEXT for place in PLACES] if text is None else [text]
    for place in places:
        if place.is_file():
            return place
    raise DataError(
        f"P9: there is no {places[0]}; it is the tiny Shakespeare text of 1,115,394 characters."
    )


def _fingerprint(scale: LanguageScale, text: str) -> str:
    """What a finished seed depends on; another one is measured anew."""
    recipe = {key: str(value) for key, value in asdict(scale).items() if key not in UNRELATED}
    described = machine("full")
    computer = {key: described[key] for key in ("processor", "threads", "system", "versions")}
    plain = json.dumps([recipe, computer], sort_keys=True) + text
    return hashlib.sha256(plain.encode()).hexdigest()


def _kept(path: Path, made: str) -> Record | None:
    """A seed that was finished before, by the same recipe."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(stored, dict) or stored.get("made") != made:
        return None
    record: Record = stored["record"]
    return record


UNRELATED = ("text", "seeds", "folder")
