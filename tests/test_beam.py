"""The answers that a beam has found: which are kept, and when they stand."""

import torch

from unspool.models.answers import Written
from unspool.models.beam import Pool
from unspool.models.decoding_settings import DecodingSettings


def beam(width, nbest=1, penalty=1.0):
    return DecodingSettings(beam=width, nbest=nbest, length_penalty=penalty)


def test_a_search_ends_only_when_nothing_better_can_come():
    pool = Pool([Written((0,), -2.0, -1.0, True)])
    done = {
        likeliest: pool.done(likeliest, length=2, most=3, settings=beam(2, penalty=1.0))
        for likeliest in (-3.9, -4.0, -4.1)
    }
    assert done == {-3.9: False, -4.0: True, -4.1: True}  # at best divided by 3 tokens and the end
    assert Pool().done(-torch.inf, 2, 3, beam(2))
    assert not Pool().done(-100.0, 2, 3, beam(2))
    assert not pool.done(-100.0, 2, 3, beam(2, nbest=2))
    assert [pool.done(each, 2, 3, beam(1)) for each in (-1.9, -2.0)] == [False, True]


def test_a_full_pool_keeps_its_best():
    pool = Pool()
    for score in (-3.0, -1.0, -2.0, -1.0):
        pool.add(Written((0,), score, score, True), width=3)
    assert [each.score for each in pool.answers] == [-1.0, -2.0, -1.0]
    pool.add(Written((0,), -1.0, -1.0, True), width=3)
    assert [each.score for each in pool.answers] == [-1.0, -1.0, -1.0]
