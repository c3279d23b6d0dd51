"""Layers under torch.compile, in a process without the shape checks of the test run.

Those wrap every dataclass in code that torch.compile cannot look into. Prints, as JSON, for each
check what went wrong, or nothing.
"""

import json
import traceback

import torch

from scanning import lengths_for
from tolerance import assert_close
from unspool.errors import ShapeError
from unspool.layers.recurrent import Recurrent


def draw(*shape):
    rng = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=rng, dtype=torch.float64)


def layer_of(name, **options):
    return Recurrent(name, 3, 5, generator=torch.Generator().manual_seed(1), **options).double()


def compiled(layer, **options):
    return torch.compile(layer, backend="aot_eager", fullgraph=True, **options)


def same(layer, other, sizes):
    for T, B in sizes:
        x, lengths = draw(B, T, 3).requires_grad_(), lengths_for(T, B)
        found = []
        for way in (layer, other):
            outputs, state = way(x, lengths)
            loss = outputs.sum() + state[-1].square().sum()
            gradients = torch.autograd.grad(loss, [x, *layer.parameters()])
            found.append([outputs, *state, *gradients])
        assert_close(found[1], found[0])


def one_direction():
    layer = layer_of("lstm", num_layers=2)
    same(layer, compiled(layer), [(4, 3)])


def two_directions():
    layer = layer_of("gru", bidirectional=True)
    same(layer, compiled(layer), [(4, 3)])


def sizes_that_change():
    layer = layer_of("lstm")
    same(layer, compiled(layer, dynamic=True), [(4, 3), (6, 2)])


def trace():
    layer, x = layer_of("gru"), draw(2, 4, 3)
    assert_close(compiled(layer)(x, trace=True)[2], layer(x, trace=True)[2])


def lengths_that_cannot_be():
    try:
        compiled(layer_of("lstm"))(draw(2, 4, 3), torch.tensor([4, 9]))
    except ShapeError as error:
        assert "lengths[1] is 9" in str(error)
    else:
        raise AssertionError("nothing was refused")


CHECKS = [one_direction, two_directions, sizes_that_change, trace, lengths_that_cannot_be]


def main():
    torch.set_num_threads(1)
    found = {}
    for check in CHECKS:
        torch._dynamo.reset()
        try:
            check()
            found[check.__name__] = ""
        except Exception:
            found[check.__name__] = traceback.format_exc()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
