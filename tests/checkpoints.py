"""Small checkpoints and models to save, and how to tell that they came back as they were."""

from __future__ import annotations

import json
from functools import cache

import torch

from unspool.training.layout import list_checkpoints

CHECKPOINT_FILES = [
    "manifest.json",
    "model.safetensors",
    "optimiser.safetensors",
    "progress.json",
    "state.safetensors",
]
MODEL_FILES = ["README.md", "config.json", "manifest.json", "model.safetensors", "tokenizer.json"]
CONFIG = {"model": {"name": "lstm", "hidden": 3}, "loss": 0.1}
FITTED = {"tokenizer.json": json.dumps({"tokens": ["a", "ß", "日"]}, ensure_ascii=False)}


def numbers(step: int) -> dict:
    """What `save_checkpoint` takes: small, and different for each step."""
    generator = torch.Generator().manual_seed(step)
    weights = torch.nn.Parameter(torch.randn(40, 40, generator=generator))
    optimiser = torch.optim.AdamW([weights], lr=0.1 / 3)
    weights.grad = torch.randn(40, 40, generator=generator)
    optimiser.step()
    return {
        "model": {"w": weights.detach()},
        "optimiser": optimiser.state_dict(),
        "state": {"h": torch.randn(1, 2, generator=generator)},
        "progress": {"events_length": step, "loss": 1 / (step + 3)},
    }


def same(found, step: int, wanted: dict | None = None) -> bool:
    wanted = wanted or _remembered(step)
    parts = ("model", "optimiser", "state", "progress")
    return found.step == step and all(
        same_tree(getattr(found, part), wanted[part]) for part in parts
    )


def same_tree(one, other) -> bool:
    """Equal in structure, types and values."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_tree(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same_tree, one, other))
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return one == other


def steps_kept(run_folder) -> list[int]:
    return [int(folder.name.removeprefix("step-")) for folder in list_checkpoints(run_folder)]


@cache
def _remembered(step: int) -> dict:
    return numbers(step)
