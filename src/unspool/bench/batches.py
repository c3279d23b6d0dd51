"""P1, P2 and P7: whole batches forwards and backwards, beside `torch.nn` with copied weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from unspool.bench.harness import Effort, agree, geometric_mean
from unspool.bench.results import Figure, Row, Verdict
from unspool.layers.recurrent import Recurrent
from unspool.shapes import mask_of

Told = Callable[[str], None]
Computed = dict[str, Tensor]
TORCH: dict[str, type[nn.RNNBase]] = {
    "rnn": nn.RNN,
    "gru_reset_after": nn.GRU,
    "lstm": nn.LSTM,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """Which cases of a figure are measured, and how long each.

    Attributes:
        hidden: units, H; inputs are as wide.
        batches: sequences, B.
        steps: T.
        cells: by name.
        effort: of every case.
        slow: whether peers that take half a minute to get ready are asked as well.
    """

    hidden: Sequence[int]
    batches: Sequence[int] = (32,)
    steps: int = 100
    cells: Sequence[str] = tuple(TORCH)
    effort: Effort = field(default_factory=Effort)
    slow: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs of a case, and what its outputs' gradient is.

    Attributes:
        x: ``[B T D]``, asks for a gradient.
        cotangent: ``[B T H·directions]``, the gradient of some loss for the outputs.
        lengths: of the rows, or None.
    """

    x: Tensor
    cotangent: Tensor
    lengths: Tensor | None = None

    @classmethod
    def drawn(cls, batch: int, steps: int, width: int, directions: int = 1) -> Batch:
        """Normal numbers, the same for the same sizes."""
        rng = torch.Generator().manual_seed(1)
        x = torch.randn(batch, steps, width, generator=rng).requires_grad_()
        return cls(x, torch.randn(batch, steps, width * directions, generator=rng))

    def ragged(self) -> Batch:
        """The same with lengths uniform in T/4…T; nothing is asked about the padding."""
        B, T, _ = self.x.shape
        rng = torch.Generator().manual_seed(2)
        lengths = torch.randint(max(1, T // 4), T + 1, (B,), generator=rng)
        lengths[0] = T
        return Batch(self.x, self.cotangent * mask_of(lengths, T)[:, :, None], lengths)


def gradients(outputs: Tensor, batch: Batch, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Fresh gradients for the input and the parameters; nothing accumulates."""
    return list(torch.autograd.grad(outputs, [batch.x, *parameters], batch.cotangent))


def named(layer: Recurrent, outputs: Tensor, found: Sequence[Tensor]) -> Computed:
    """Outputs and gradients by name."""
    names = ["x", *(name for name, _ in layer.named_parameters())]
    return {"outputs": outputs} | dict(zip(names, found, strict=True))


def of_ours(layer: Recurrent, batch: Batch) -> Callable[[], tuple[Tensor, list[Tensor]]]:
    """Forward and backward of our layer."""
    parameters = list(layer.parameters())

    def run() -> tuple[Tensor, list[Tensor]]:
        outputs, _ = layer(batch.x, batch.lengths)
        return outputs, gradients(outputs, batch, parameters)

    return run


def of_torch(module: nn.RNNBase, batch: Batch, packed: bool) -> Callable[[], tuple[Tensor, list]]:
    """Forward and backward of a module of torch, on padded or packed rows."""
    parameters = list(module.parameters())

    def run() -> tuple[Tensor, list[Tensor]]:
        if packed:
            rows = pack_padded_sequence(
                batch.x, batch.lengths, batch_first=True, enforce_sorted=False
            )
            outputs, _ = pad_packed_sequence(
                module(rows)[0], batch_first=True, total_length=batch.x.shape[1]
            )
        else:
            outputs, _ = module(batch.x)
        return outputs, gradients(outputs, batch, parameters)

    return run


def check_torch(
    case: str, layer: Recurrent, module: nn.RNNBase, batch: Batch, packed: bool = False
) -> None:
    """Compare outputs and gradients with torch's, whose two biases are summed in ours.

    Raises:
        Disagreement: if anything differs.
    """
    mine = named(layer, *of_ours(layer, batch)())
    outputs, found = of_torch(module, batch, packed)()
    theirs = {"outputs": outputs, "x": found[0]}
    names = [name for name, _ in module.named_parameters()]
    by_name = dict(zip(names, found[1:], strict=True))
    for own in (name for name in mine if name not in theirs):
        _, place, family = own.split(".")
        # d is the bias inside a GRU's reset gate: the last third of torch's second bias.
        part = {"W": "weight_ih", "U": "weight_hh", "b": "bias_ih", "d": "bias_hh"}[family]
        value = by_name[f"{part}_{place}"]
        theirs[own] = value[-module.hidden_size :] if family == "d" else value
    agree(f"{case}, torch.nn", mine, theirs)


def full_batches(scale: Scale, tell: Told) -> Figure:
    """P1: every row as long as the batch."""
    rows, ratios = [], []
    for name in scale.cells:
        for H in scale.hidden:
            for B in scale.batches:
                torch.manual_seed(0)
                module = TORCH[name](H, H, batch_first=True)
                layer, batch = Recurrent.from_torch(module), Batch.drawn(B, scale.steps, H)
                case = f"{name}, H {H}, B {B}"
                check_torch(case, layer, module, batch)
                contenders = {
                    "unspool": of_ours(layer, batch),
                    "torch.nn": of_torch(module, batch, False),
                }
                rows.append(Row.timed(case, contenders, scale.effort))
                ratios.append(rows[-1].ratio.median)
                tell(f"P1 {case}: {ratios[-1]:.2f}")
    lectures = [_reset_before(scale, H, B, tell) for H in scale.hidden for B in scale.batches]
    return Figure(
        name="P1",
        title="Full-length batches, forward + backward, beside `torch.nn` with copied weights",
        how=f"T {scale.steps}, D = H, batch first. The rows of `gru` are the lectures' GRU, which "
        "resets before the product, beside `nn.GRU`, which resets after it: other equations, so "
        "they are no part of the mean.",
        rows=(*rows, *lectures),
        verdicts=(
            Verdict(what="geometric mean", value=geometric_mean(ratios), floor=1.2, reach=1.6),
            Verdict(what="worst case", value=min(ratios), floor=0.95),
            Verdict(
                what="the lectures' GRU beside `nn.GRU`, geometric mean",
                value=geometric_mean([row.ratio.median for row in lectures]),
            ),
        ),
    )


def _reset_before(scale: Scale, H: int, B: int, tell: Told) -> Row:
    torch.manual_seed(0)
    layer, batch = Recurrent("gru", H, H), Batch.drawn(B, scale.steps, H)
    module = nn.GRU(H, H, batch_first=True)
    check = Recurrent("gru", H, H, backend="reference")
    check.load_state_dict(layer.state_dict())
    case = f"gru, H {H}, B {B}"
    short = Batch.drawn(B, min(scale.steps, 20), H)
    agree(
        f"{case}, reference loop",
        named(layer, *of_ours(layer, short)()),
        named(check, *of_ours(check, short)()),
    )
    contenders = {"unspool": of_ours(layer, batch), "torch.nn": of_torch(module, batch, False)}
    row = Row.timed(case, contenders, scale.effort)
    tell(f"P1 {case} beside nn.GRU: {row.ratio.median:.2f}")
    return row


def ragged_batches(scale: Scale, tell: Told) -> Figure:
    """P2: lengths uniform in T/4…T, one direction and two."""
    rows = []
    for name in scale.cells:
        for H in scale.hidden:
            for B in scale.batches:
                for directions in (1, 2):
                    torch.manual_seed(0)
                    module = TORCH[name](H, H, batch_first=True, bidirectional=directions == 2)
                    layer = Recurrent.from_torch(module)
                    batch = Batch.drawn(B, scale.steps, H, directions).ragged()
                    case = f"{name}, H {H}, B {B}, {('one direction', 'two')[directions - 1]}"
                    check_torch(case, layer, module, batch, packed=True)
                    contenders = {
                        "unspool": of_ours(layer, batch),
                        "torch.nn packed": of_torch(module, batch, True),
                        "torch.nn padded": of_torch(module, batch, False),
                    }
                    rows.append(Row.timed(case, contenders, scale.effort))
                    tell(f"P2 {case}: {rows[-1].ratio.median:.2f} ({rows[-1].against})")
    ratios = [row.ratio.median for row in rows]
    return Figure(
        name="P2",
        title="Ragged batches, forward + backward, beside `torch.nn` packed and padded",
        how=f"Lengths uniform in T/4…T, T {scale.steps}, D = H; packing and unpacking are inside "
        "the measured time. Padded, torch's reverse direction starts in the padding and computes "
        "something else; it is beside us for its time only.",
        rows=tuple(rows),
        verdicts=(
            Verdict(what="geometric mean", value=geometric_mean(ratios), floor=1.5, reach=3.0),
            Verdict(what="worst case", value=min(ratios), floor=1.5),
        ),
    )


def traces(scale: Scale, tell: Told) -> Figure:
    """P7: all gates and states returned, or not."""
    rows = []
    for name in scale.cells:
        for H in scale.hidden:
            for B in scale.batches:
                torch.manual_seed(0)
                layer, batch = Recurrent(name, H, H), Batch.drawn(B, scale.steps, H)
                plain, traced = of_ours(layer, batch), _with_trace(layer, batch)
                case = f"{name}, H {H}, B {B}"
                agree(case, named(layer, *traced()), named(layer, *plain()))
                contenders = {"without": plain, "with trace": traced}
                rows.append(Row.timed(case, contenders, scale.effort))
                tell(f"P7 {case}: {rows[-1].ratio.median:.3f}")
    costs = [row.ratio.median for row in rows]
    return Figure(
        name="P7",
        title="All gates and states returned, beside the same call without",
        how=f"Forward + backward, T {scale.steps}, D = H; ratios are time with over without.",
        rows=tuple(rows),
        verdicts=(
            Verdict(what="worst case", value=max(costs), floor=1.05, reach=1.02, at_most=True),
            Verdict(what="geometric mean", value=geometric_mean(costs)),
        ),
    )


def _with_trace(layer: Recurrent, batch: Batch) -> Callable[[], tuple[Tensor, list[Tensor]]]:
    parameters = list(layer.parameters())

    def run() -> tuple[Tensor, list[Tensor]]:
        outputs, _, _ = layer(batch.x, trace=True)
        return outputs, gradients(outputs, batch, parameters)

    return run
