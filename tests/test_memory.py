"""Memory that goes from one call to the next, and never to two tensors at once."""

import gc
import threading

import pytest
import torch

from scanning import draw_case
from unspool.cells import CELLS
from unspool.engine import memory
from unspool.engine.memory import Pool, rounded
from unspool.engine.scan import scan

BIG = (64, 8192, torch.float32)


@pytest.fixture
def pool():
    return Pool(most_idle=1 << 24)


def test_memory_is_used_again_when_its_last_view_is_gone(pool):
    tensor = pool.empty(*BIG)
    place, view = tensor.data_ptr(), tensor[3:, 5:]
    del tensor
    other = pool.empty(*BIG)
    assert other.data_ptr() != place
    assert pool.idle == 0
    del view
    assert pool.idle > 0
    assert pool.empty(*BIG).data_ptr() == place


def test_memory_in_use_is_never_handed_out_by_many_threads(pool):
    wrong = []

    def work(number):
        for turn in range(100):
            mine = [pool.empty(40 + turn % 3, 2048, torch.float32).fill_(number) for _ in range(3)]
            if any(not bool((tensor == number).all()) for tensor in mine):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_idle_memory_has_a_limit(pool):
    tensors = [pool.empty(*BIG) for _ in range(20)]
    del tensors
    gc.collect()
    assert 0 < pool.idle <= pool.most_idle


def test_far_larger_memory_is_not_taken_for_a_small_tensor(pool):
    pool.empty(*BIG)
    assert pool.empty(16, 8192, torch.float32).untyped_storage().nbytes() == 16 * 8192 * 4
    assert pool.idle >= 64 * 8192 * 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_several_tensors_lie_side_by_side_each_from_a_line_on(pool, dtype):
    sizes = [(3, 5), (1000, 64), (1, 1), (7, 4096)]
    tensors = pool.several(sizes, dtype)
    for number, tensor in enumerate(tensors):
        tensor.fill_(number)
        assert (tensor.data_ptr() - tensors[0].data_ptr()) % 64 == 0
        assert tensor.is_contiguous()
    assert [tuple(tensor.shape) for tensor in tensors] == sizes
    assert all(bool((tensor == number).all()) for number, tensor in enumerate(tensors))
    place = tensors[0].data_ptr()
    del tensors[:3]
    assert pool.idle == 0
    del tensor, tensors
    assert pool.several(sizes, dtype)[0].data_ptr() == place


def test_several_of_nothing_are_nothing(pool):
    assert pool.several([], torch.float32) == []


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 1 << 20, (1 << 20) + 1, 3_333_333])
def test_sizes_are_rounded_up_by_an_eighth_at_most(size):
    assert size <= rounded(size) <= size * 9 // 8 + 1


def test_results_are_the_same_whatever_the_memory_held_before(monkeypatch):
    """Whether a value is read that was never written: memory of ones, of NaN, and fresh."""
    monkeypatch.setattr(memory, "SMALL", 0)
    found = []
    for name in ("lstm", "gru", "layer_norm_lstm"):
        for filling in (None, 1.0, float("nan")):
            parameters, x, state = draw_case(CELLS[name], (5, 3, 4, 9))
            leaves = [value.requires_grad_() for value in (x, *parameters.values(), *state)]
            if filling is not None:
                held = [memory.POOL.empty(n, 1, x.dtype).fill_(filling) for n in range(1, 2000, 7)]
                del held
            lengths = torch.tensor([5, 2, 3])
            outputs = scan(
                CELLS[name], parameters, x, state, lengths=lengths, backend="llvm"
            ).outputs
            found.append([outputs, *torch.autograd.grad(outputs.sum(), leaves)])
        for other in found[-2:]:
            assert all(map(torch.equal, found[-3], other))


@pytest.mark.parametrize("name", ["lstm", "gru_reset_after"])
def test_sums_in_kept_memory_can_be_differentiated_twice(name, monkeypatch):
    monkeypatch.setattr(memory, "SMALL", 0)
    parameters, x, state = draw_case(CELLS[name], (3, 2, 2, 3))

    def run(x, weight, bias):
        values = {**parameters, "W": weight, "b": bias}
        return scan(CELLS[name], values, x, state, backend="llvm").outputs

    inputs = [value.requires_grad_() for value in (x, parameters["W"], parameters["b"])]
    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(run, inputs, fast_mode=True)
