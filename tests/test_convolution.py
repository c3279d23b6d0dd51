"""Laws of convolution and pooling, their sizes, and the lectures' examples of them."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tolerance import assert_close
from unspool.errors import ConfigError, ShapeError
from unspool.layers.convolution import Convolution, MaxPooling, pool_steps
from unspool.layers.sizes import output_size, same_padding
from unspool.models.encoders import LeNet, StepConvolution
from unspool.models.settings import ConvolutionSettings, LeNetSettings

SIZES = list(itertools.product([1, 2, 5, 6, 7, 75], [1, 2, 3, 5], [1, 2, 3], [1, 2]))


def draw(rng, *shape):
    return torch.randn(shape, generator=rng, dtype=torch.float64)


def make(rng, inputs, outputs, kernel, **options):
    layer = Convolution(inputs, outputs, kernel, generator=rng, **options).double()
    with torch.no_grad():
        layer.bias.normal_(generator=rng)
    return layer


@pytest.mark.parametrize("padding", ["same", "valid", 0, 2])
def test_size_is_that_of_the_output(padding):
    for size, kernel, stride, dilation in SIZES:
        layer = Convolution(1, 1, kernel, axes=1, stride=stride, padding=padding, dilation=dilation)
        x = torch.zeros(1, 1, size)
        try:
            expected = output_size(size, kernel, stride, padding, dilation)
        except ShapeError:
            with pytest.raises(ShapeError, match="shorter than a window"):
                layer(x)
        else:
            assert layer(x).shape[2] == layer.output_size(size) == expected


def test_same_padding_gives_the_size_over_the_stride_rounded_up():
    for size, kernel, stride, dilation in SIZES:
        before, after = same_padding(size, kernel, stride, dilation)
        assert 0 <= after - before <= 1
        padded = output_size(size + before + after, kernel, stride, 0, dilation)
        assert padded == output_size(size, kernel, stride, "same", dilation) == -(-size // stride)


def test_formula_of_the_lecture_holds_with_any_padding():
    for size, f, s, _ in SIZES:
        for p in range(3):
            if size + 2 * p >= f:
                assert output_size(size, f, s, p) == int((size + 2 * p - f) / s + 1)


def test_maps_of_the_exercise_halve_three_times(rng):
    x, sizes = torch.zeros(1, 3, 200, 300), []
    for inputs, outputs in itertools.pairwise((3, 1, 1, 1)):
        x = Convolution(inputs, outputs, 3, stride=2, generator=rng)(x)
        sizes.append(tuple(x.shape[2:]))
    assert sizes == [(100, 150), (50, 75), (25, 38)]


@pytest.mark.parametrize("padding", ["same", "valid", 1])
@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_output_is_the_sum_of_the_equation(padding, axes, stride, dilation, rng):
    layer = make(rng, 2, 3, 3, axes=axes, stride=stride, padding=padding, dilation=dilation)
    x = draw(rng, 1, 2, *[7, 6][:axes])
    y = layer(x)
    before = [
        {"same": same_padding(size, 3, stride, dilation)[0], "valid": 0}.get(padding, padding)
        for size in x.shape[2:]
    ]
    expected = torch.zeros_like(y)
    for place in itertools.product(*[range(size) for size in y.shape[2:]]):
        value = layer.bias.clone()
        for offset in itertools.product(range(3), repeat=axes):
            source = [
                stride * p + dilation * k - zeros
                for p, k, zeros in zip(place, offset, before, strict=True)
            ]
            if all(0 <= s < size for s, size in zip(source, x.shape[2:], strict=True)):
                value = value + layer.weight[(..., *offset)] @ x[(0, slice(None), *source)]
        expected[(0, slice(None), *place)] = value
    assert_close(y, expected)


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_same_padding_is_that_of_torch_where_torch_has_it(kernel, rng):
    layer, x = make(rng, 2, 3, kernel), draw(rng, 2, 2, 7, 6)
    assert_close(layer(x), F.conv2d(x, layer.weight, layer.bias, padding="same"))


def test_gradient_is_that_of_finite_differences(rng):
    layer = make(rng, 2, 2, 3, stride=2)

    def run(x, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    inputs = draw(rng, 1, 2, 4, 5), layer.weight, layer.bias
    assert torch.autograd.gradcheck(run, [i.detach().requires_grad_() for i in inputs])


def test_moved_image_gives_moved_maps(rng):
    layer, x = make(rng, 1, 4, 3, padding="valid"), draw(rng, 1, 1, 9, 9)
    assert_close(layer(x[:, :, 2:, 1:]), layer(x)[:, :, 2:, 1:])


def test_larger_or_turned_image_does_not_give_larger_or_turned_maps(rng):
    layer, x = make(rng, 1, 4, 3), draw(rng, 1, 1, 6, 6)
    assert not torch.allclose(layer(x.rot90(1, (2, 3))), layer(x).rot90(1, (2, 3)))
    twice = nn.Upsample(scale_factor=2)
    assert not torch.allclose(layer(twice(x)), twice(layer(x)))


def test_pooled_map_of_the_lecture():
    x = torch.zeros(1, 1, 6, 6)
    x[0, 0, 1, 4] = x[0, 0, 3, 1] = 1.0
    pooling = MaxPooling(3, stride=3)
    assert pooling(x)[0, 0].tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert not list(pooling.parameters())


def test_pooling_keeps_the_depth_and_forgets_small_moves(rng):
    x = draw(rng, 2, 5, 6, 6)
    assert MaxPooling(3)(x).shape == (2, 5, 2, 2)
    for y, x_place in itertools.product(range(3), repeat=2):
        moved = torch.zeros(1, 1, 6, 6)
        moved[0, 0, y, x_place] = 1.0
        assert MaxPooling(3)(moved)[0, 0].tolist() == [[1.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("kernel", [1, 2, 3])
def test_windows_of_steps_hold_their_largest_value(kernel, rng):
    x, lengths = draw(rng, 3, 7, 2), torch.tensor([7, 4, 1])
    padded = torch.where(torch.arange(7)[:, None] < lengths[:, None, None], x, torch.nan)
    pooled, windows = pool_steps(padded, lengths, kernel)
    assert windows.tolist() == [-(-length // kernel) for length in (7, 4, 1)]
    for row, length in enumerate(lengths.tolist()):
        for window, start in enumerate(range(0, length, kernel)):
            expected = x[row, start : min(start + kernel, length)].amax(0)
            assert pooled[row, window].equal(expected)
        assert not pooled[row, windows[row] :].any()


@pytest.mark.parametrize("pool", [1, 2])
@pytest.mark.parametrize("residual", [False, True])
def test_padding_changes_no_step_and_no_gradient(pool, residual, rng):
    settings = ConvolutionSettings(
        hidden=3, layers=3, kernel=4, dilation=2, pool=pool, residual=residual, dropout=0.0
    )
    encoder = StepConvolution(3, settings, rng).double()
    with torch.no_grad():
        for layer in encoder.layers:
            layer.bias.normal_(generator=rng)
    x = draw(rng, 1, 5, 3)
    alone, _ = encoder(x)
    expected = torch.autograd.grad(alone.square().sum(), list(encoder.parameters()))
    for filling in (0.0, 1e4, float("nan")):
        padded = F.pad(x, (0, 0, 0, 6), value=filling)
        outputs, lengths = encoder(padded, torch.tensor([5]))
        assert lengths.tolist() == [alone.shape[1]]
        assert_close(outputs[:, : alone.shape[1]], alone)
        assert not outputs[:, alone.shape[1] :].any()
        found = torch.autograd.grad(outputs.square().sum(), list(encoder.parameters()))
        assert_close(list(found), list(expected))


@pytest.mark.parametrize("side", [28, 32, 40])
def test_lenet_has_the_widths_it_was_given(side, rng):
    settings = LeNetSettings(first_maps=3, second_maps=4, first_dense=7, second_dense=5)
    lenet = LeNet({"channels": 2, "height": side, "width": side}, settings, rng)
    outputs, _ = lenet(torch.zeros(2, 2, side, side))
    assert outputs.shape == (2, 1, 5)
    assert lenet.first.weight.shape == (3, 2, 5, 5)
    assert lenet.second.weight.shape == (4, 3, 5, 5)
    assert [lenet.third.out_features, lenet.fourth.out_features] == [7, 5]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kernel": 0}, "kernel is 0"),
        ({"kernel": 3, "stride": 0}, "stride is 0"),
        ({"kernel": 3, "dilation": 0}, "dilation is 0"),
        ({"kernel": 3, "padding": "full"}, "padding is 'full'"),
        ({"kernel": 3, "padding": -1}, "padding is -1"),
    ],
)
def test_window_that_cannot_be_is_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        Convolution(1, 1, **options)


def test_image_that_is_too_small_is_refused():
    with pytest.raises(ShapeError, match="an axis of 2"):
        MaxPooling(3)(torch.zeros(1, 1, 2, 5))
    with pytest.raises(ShapeError, match="3 axes; wanted 4"):
        Convolution(1, 1, 3)(torch.zeros(1, 1, 5))
