"""The model card: what a model is, where it came from, how well it does, how to use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unspool.tasks.table import TASKS


def model_card(report: Mapping[str, Any], source: str) -> str:
    """Markdown with the YAML header of a Hugging Face hub repository.

    Args:
        report: as `unspool.jobs.train` gives it.
        source: name of the data it was trained on.
    """
    key, heading, part, use = _of_text(report) if "score" not in report else _of_examples(report)
    methods = [{"name": "this model", **report}, *report["baselines"]]
    rows = "\n".join(f"| {method['name']} | {method[key]:.3f} |" for method in methods)
    task = TASKS[report["task"]]
    return f"""---
library_name: unspool
pipeline_tag: {PIPELINES.get(task.name, "other")}
tags: [unspool, {report["model"]}, {task.name}]
---
# {report["model"]} on {source}

A model that gives {task.gives} ({task.mapping}): {report["parameters"]:,} parameters, trained for
{report["steps"]} steps; these are the weights of step {report["best_step"]}, the best on the
validation part.

| {part} | {heading} |
|---|---|
{rows}

{report["verdict"]}{use}

Plain tensors and JSON: nothing is executed when it is loaded.
"""


def _of_text(report: Mapping[str, Any]) -> tuple[str, str, str, str]:
    use = """ The validation part also chose the step, so the figure is slightly kind.

```python
import unspool

model = unspool.load("path/to/this/folder")
print(model.generate(length=200, seed=1))
```"""
    return "loss", f"nats/{report['unit']}", "on the validation part", use


def _of_examples(report: Mapping[str, Any]) -> tuple[str, str, str, str]:
    low, high = report["interval"]
    use = f""" The 95% interval of this model is {low:.3f} to {high:.3f}; the test part was
looked at once.

```python
import unspool

model = unspool.load("path/to/this/folder")
print(model.predict(["an input"]))
```"""
    return "score", report["measure"], "on the test part", use


# Tags of the hub, where it has one.
PIPELINES = {
    "write": "text-generation",
    "classify": "text-classification",
    "rate": "text-classification",
    "tag": "token-classification",
}
