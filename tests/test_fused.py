"""The fused engine against the readable loop: every cell, size, direction, dtype."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from equations import make_cell, sources
from scanning import (
    assert_same,
    draw_case,
    everything,
    lengths_for,
    mask_for,
    threads,
    unchecked,
)
from tolerance import assert_close
from unspool.cells import CELLS
from unspool.engine import backward, kernels, together
from unspool.engine.language import bilinear, cell, log, tanh
from unspool.engine.plan import plan_of
from unspool.engine.rows import arrange_rows, members, team
from unspool.engine.scan import choose_backend, scan
from unspool.errors import BackendError
from unspool.layers.recurrent import Recurrent

LIKE = torch.zeros(1)


# T, B, D, H: single ones of everything, sizes that are no multiple of any vector, sizes that are.
SIZES = [(1, 1, 1, 1), (4, 3, 2, 7), (2, 5, 1, 33), (2, 13, 4, 32)]
# One of each kind: a stage, two, row sums, vectors of width D, blocks, no product, a tensor.
KINDS = ["lstm", "gru", "layer_norm_lstm", "mogrifier_lstm", "slstm", "indrnn"]
KINDS += ["multiplicative_rnn"]
every_fused = pytest.mark.parametrize("name", CELLS)
every_kind = pytest.mark.parametrize("name", KINDS)
every_dtype = pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32], ids=["float64", "float32"]
)


def options_for(layout, sizes):
    lengths = lengths_for(sizes[0], sizes[1]) if "ragged" in layout else None
    return {"lengths": lengths, "reverse": "backward" in layout}


@pytest.fixture(autouse=True)
def one_thread():
    with threads(1), unchecked():
        yield


# The law.


@every_fused
@every_dtype
@pytest.mark.parametrize("layout", ["forward", "backward", "ragged forward", "ragged backward"])
def test_fused_scan_is_the_readable_loop(name, dtype, layout):
    for sizes in SIZES:
        case = draw_case(CELLS[name], sizes, dtype)
        options = options_for(layout, sizes)
        expected = everything(CELLS[name], "reference", case, **options)
        found = everything(CELLS[name], "llvm", case, **options)
        assert_same(found, expected, joint=1 in sizes[2:])


@every_kind
@pytest.mark.parametrize("count", [2, 3])
def test_fused_scan_is_the_readable_loop_on_several_threads(name, count):
    for sizes in [(3, 7, 2, 5), (2, 2, 2, 17)]:
        case = draw_case(CELLS[name], sizes)
        for layout in ("forward", "ragged backward"):
            options = options_for(layout, sizes)
            expected = everything(CELLS[name], "reference", case, **options)
            with threads(count):
                assert_same(everything(CELLS[name], "llvm", case, **options), expected)


@every_kind
def test_fused_scan_is_the_readable_loop_under_a_dropout_mask(name):
    case = draw_case(CELLS[name], (4, 3, 2, 9))
    options = {"mask": mask_for(case[2]), **options_for("ragged", (4, 3))}
    expected = everything(CELLS[name], "reference", case, **options)
    assert_same(everything(CELLS[name], "llvm", case, **options), expected)


@settings(deadline=None, max_examples=8, derandomize=True)
@given(source=sources(), ragged=st.booleans(), reverse=st.booleans(), seed=st.integers(0, 99))
def test_fused_scan_of_a_drawn_cell_is_the_readable_loop(source, ragged, reverse, seed):
    member = make_cell(source)
    case = draw_case(member, (3, 4, 2, 9), seed=seed)
    options = {"lengths": lengths_for(3, 4) if ragged else None, "reverse": reverse}
    expected = everything(member, "reference", case, **options)
    with threads(2):
        assert_same(everything(member, "llvm", case, **options), expected, joint=True)


@pytest.mark.long
@settings(deadline=None, max_examples=500)
@given(source=sources(), ragged=st.booleans(), masked=st.booleans(), count=st.integers(1, 3))
def test_fused_scan_of_many_drawn_cells_is_the_readable_loop(source, ragged, masked, count):
    member = make_cell(source)
    case = draw_case(member, (3, 4, 3, 18))
    options = {"lengths": lengths_for(3, 4) if ragged else None}
    if masked:
        options["mask"] = mask_for(case[2])
    expected = everything(member, "reference", case, **options)
    with threads(count):
        assert_same(everything(member, "llvm", case, **options), expected, joint=True)


@every_fused
def test_fused_gradient_is_that_of_finite_differences(name):
    parameters, x, state = draw_case(CELLS[name], (3, 2, 2, 3))
    count = len(state)

    def run(x, *rest):
        weights = dict(zip(parameters, rest[count:], strict=True))
        result = scan(
            CELLS[name], weights, x, rest[:count], lengths=torch.tensor([3, 2]), backend="llvm"
        )
        return result.outputs, *result.state

    inputs = [value.requires_grad_() for value in (x, *state, *parameters.values())]
    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)


TORCH_LAYERS = {
    "rnn": nn.RNN,
    "lstm": nn.LSTM,
    "gru_reset_after": nn.GRU,
}


@pytest.mark.parametrize("name", TORCH_LAYERS)
@every_dtype
def test_weights_of_torch_give_the_numbers_of_torch(name, dtype, rng):
    theirs = TORCH_LAYERS[name](3, 6, num_layers=2, bidirectional=True, batch_first=True).to(dtype)
    ours = Recurrent.from_torch(theirs)
    ours.named_backend = "llvm"
    x = torch.randn(4, 5, 3, generator=rng, dtype=dtype).requires_grad_()
    lengths = torch.tensor([5, 3, 1, 4])
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    expected, _ = nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
    outputs, _ = ours(x, lengths)
    assert_close(outputs, expected)
    gradients = [torch.autograd.grad((y * y).sum(), x)[0] for y in (outputs, expected)]
    assert_close(*gradients)


def test_gate_may_be_a_value_the_step_did_not_compute():
    """The old state under another name, an input as it comes out of the product."""

    @cell(state="h")
    def renamed(x, h, W, V):
        minus = -h
        old = -minus
        fresh = W.h @ x
        unread = W.g @ x  # noqa: F841
        return tanh(fresh + V.h * old)

    for sizes in [(3, 2, 2, 5), (3, 2, 32, 32)]:
        case = draw_case(renamed, sizes)
        for layout in ("forward", "ragged backward"):
            options = options_for(layout, sizes)
            found = everything(renamed, "llvm", case, **options)
            assert_same(found, everything(renamed, "reference", case, **options))


# What a row may and may not do to others.


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["lstm", "gru", "layer_norm_lstm"])
def test_what_is_not_finite_stays_in_its_own_row(name, bad):
    parameters, x, state = draw_case(CELLS[name], (4, 5, 3, 9))
    spoilt = x.clone()
    spoilt[1, 2, 0] = bad
    results = {}
    for backend in ("llvm", "reference"):
        for key, value in (("clean", x), ("spoilt", spoilt)):
            result = scan(CELLS[name], parameters, value, state, backend=backend)
            results[backend, key] = result.outputs
    others = [0, 1, 3, 4]
    assert torch.equal(results["llvm", "spoilt"][:, others], results["llvm", "clean"][:, others])
    row, expected = results["llvm", "spoilt"][:, 2], results["reference", "spoilt"][:, 2]
    assert torch.equal(row.isnan(), expected.isnan())
    assert row[1].isnan().any() if bad != bad else torch.allclose(row, expected, equal_nan=True)


@every_fused
def test_padding_is_never_read(name):
    case = draw_case(CELLS[name], (5, 3, 2, 7))
    parameters, x, state = case
    lengths = torch.tensor([2, 5, 1])
    spoilt = x.clone()
    spoilt[torch.arange(5)[:, None] >= lengths] = float("nan")
    for reverse in (False, True):
        options = {"lengths": lengths, "reverse": reverse}
        clean = everything(CELLS[name], "llvm", case, **options)
        found = everything(CELLS[name], "llvm", (parameters, spoilt, state), **options)
        for key, value in clean.items():
            assert torch.equal(found[key], value), key
        assert not found["gradient of x"][torch.arange(5)[:, None] >= lengths].any()


@pytest.mark.parametrize("units", [1, 5, 17])
def test_units_that_only_fill_a_vector_change_nothing(units):
    """In the filling every parameter is zero: 0/0 and log 0 stand there and must stay there."""

    @cell(state="h")
    def divided(x, h, W, U, s):
        return tanh((W.h @ x + U.h @ h) / s.h)

    @cell(state="h")
    def logged(x, h, W, U, s):
        return tanh(log(s.h * s.h) + (W.h @ x + U.h @ h) / s.h)

    for member in (divided, logged):
        parameters, x, state = draw_case(member, (4, 3, 2, units))
        case = {**parameters, "s": parameters["s"].abs() + 0.5}, x, state
        assert_same(everything(member, "llvm", case), everything(member, "reference", case))


# Runs that must agree bit for bit.


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("name", ["lstm", "gru", "layer_norm_lstm", "slstm"])
def test_runs_are_bit_identical_at_a_fixed_number_of_threads(name, count):
    case = draw_case(CELLS[name], (6, 11, 3, 19), torch.float32)
    options = {"lengths": lengths_for(6, 11)}
    with threads(count):
        first = everything(CELLS[name], "llvm", case, **options)
        for _ in range(5):
            again = everything(CELLS[name], "llvm", case, **options)
            assert all(torch.equal(again[key], value) for key, value in first.items())


@every_fused
def test_row_is_the_same_alone_and_in_any_company(name):
    parameters, x, state = draw_case(CELLS[name], (4, 14, 3, 18))
    whole = scan(CELLS[name], parameters, x, state, backend="llvm").outputs
    for row in (0, 6, 13):
        own = tuple(s[row : row + 1] for s in state)
        alone = scan(CELLS[name], parameters, x[:, row : row + 1], own, backend="llvm").outputs
        assert_close(alone, whole[:, row : row + 1])


# Bilinear forms.


@cell(state="h")
def squared(x, h, U, W, b):
    """Forms of the state with itself, and with what was made of it."""
    r = tanh(bilinear(U.r, h, h) + W.r @ x + b.r)
    return tanh(bilinear(U.h, r * h, h) + b.h)


@cell(state="h")
def crossed(x, h, U, W, M, R, b):
    """Forms of every two widths, one of which is as wide as the input."""
    s = bilinear(U.s, x, tanh(h * b.s))
    d = bilinear(R.d, s, h) * x
    return tanh(bilinear(M.h, d, x) + W.h @ d + s * b.h)


@pytest.mark.parametrize("layout", ["forward", "ragged backward"])
@pytest.mark.parametrize("member", [squared, crossed], ids=["squared", "crossed"])
def test_fused_bilinear_forms_are_those_of_the_readable_loop(member, layout, monkeypatch):
    monkeypatch.setattr(backward, "MOST_PAIRS", 100)  # several pieces also at these sizes
    for sizes in SIZES:
        case = draw_case(member, sizes)
        options = options_for(layout, sizes) | {"mask": mask_for(case[2])}
        found = everything(member, "llvm", case, **options)
        assert_same(found, everything(member, "reference", case, **options), joint=1 in sizes[2:])


# Few rows with many weights.


@pytest.fixture
def shared_units(monkeypatch):
    """Two threads that share units, however few the weights are."""
    for name in ("SHARED_BYTES", "CACHED_BYTES"):
        monkeypatch.setattr(together, name, 0)
    with threads(2):
        yield


@pytest.mark.parametrize("name", CELLS)
def test_threads_that_share_units_compute_what_one_does_forwards_and_backwards(name, shared_units):
    member = CELLS[name]
    plan = plan_of(member, False, torch.float64)
    for sizes in [(5, 1, 2, 70), (4, 3, 5, 33)]:
        case = draw_case(member, sizes)
        assert (together.scan_team(plan, *sizes[1::2]) == (1, 2)) == plan.shared or plan.diagonal
        for layout in ("forward", "ragged backward"):
            options = options_for(layout, sizes)
            found = everything(member, "llvm", case, **options)
            with threads(1):
                assert_same(found, everything(member, "llvm", case, **options))


def test_scan_is_done_alone_where_the_team_is_smaller_than_asked_for(monkeypatch, shared_units):
    case = draw_case(CELLS["gru"], (3, 2, 3, 70))
    expected = everything(CELLS["gru"], "llvm", case)
    monkeypatch.setattr(kernels, "_parallel", lambda: kernels.in_turn)  # one thread, two shares
    assert_same(everything(CELLS["gru"], "llvm", case), expected)


def test_scan_shares_rows_unless_they_are_few_and_the_weights_many():
    plan, small = plan_of(CELLS["lstm"], False, torch.float32), 64
    with threads(2):
        teams = {
            (rows, units): together.scan_team(plan, rows, units)
            for rows in (1, 2, 8, 64)
            for units in (small, 512)
        }
    assert [teams[rows, 512] for rows in (1, 2, 8, 64)] == [(1, 2), (1, 2), (1, 2), (2, 1)]
    assert [teams[rows, small] for rows in (1, 2, 8, 64)] == [(1, 1), (2, 1), (2, 1), (2, 1)]


# Cells whose units do not look at each other.


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("name", ["linear", "mingru", "indrnn"])
def test_threads_share_the_units_of_a_diagonal_cell(name, count):
    plan = plan_of(CELLS[name], False, torch.float64)
    assert plan.diagonal
    for sizes in [(5, 1, 2, 33), (5, 2, 3, 65), (5, 3, 2, 1)]:
        case = draw_case(CELLS[name], sizes)
        for layout in ("forward", "ragged backward"):
            options = options_for(layout, sizes)
            expected = everything(CELLS[name], "reference", case, **options)
            with threads(count):
                found = everything(CELLS[name], "llvm", case, **options)
            assert_same(found, expected)


@pytest.mark.parametrize(("rows", "vectors", "count"), [(1, 5, 3), (2, 3, 7), (5, 2, 4), (3, 1, 8)])
def test_every_unit_of_every_row_has_one_thread(rows, vectors, count):
    by_rows, across = team(rows, vectors, count)
    assert by_rows * across <= count
    placed = arrange_rows(2, rows, None, False)
    seen = torch.zeros(rows, vectors)
    for first, last, member, number in members(placed, by_rows * across, across).tolist():
        seen[first:last, vectors * member // number : vectors * (member + 1) // number] += 1
    assert seen.eq(1).all()


@pytest.mark.parametrize("name", ["linear", "mingru"])
def test_gates_that_see_only_the_input_are_computed_in_the_same_sweep(name):
    plan = plan_of(CELLS[name], False, torch.float64)
    assert plan.linear is not None  # nothing but sums W x + b is left to do beforehand
    assert any(node.op == "sigmoid" for node in plan.core.nodes)


# Who serves and who refuses.


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_is_fused(name):
    assert choose_backend(CELLS[name], LIKE) == "llvm"
    assert choose_backend(CELLS[name], LIKE, "llvm") == "llvm"


def test_dtype_the_engine_does_not_compute_in_is_refused_by_name():
    case = draw_case(CELLS["lstm"], (3, 2, 2, 4), torch.bfloat16)
    with pytest.raises(BackendError, match="bfloat16"):
        scan(CELLS["lstm"], *case, backend="llvm")
    assert scan(CELLS["lstm"], *case).backend != "llvm"
