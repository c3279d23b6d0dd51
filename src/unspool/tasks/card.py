"""The model card: what a model is, where it came from, how well it does, how to use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unspool.models.settings import RecurrentSettings


def model_card(report: Mapping[str, Any], settings: RecurrentSettings, source: str) -> str:
    """Markdown with the YAML header of a Hugging Face hub repository.

    Args:
        report: as `unspool.jobs.train` gives it.
        settings: of the model.
        source: name of the text it was trained on.
    """
    unit = report["unit"]
    rows = "\n".join(
        f"| {baseline['name']} | {baseline['loss']:.3f} |" for baseline in report["baselines"]
    )
    return f"""---
library_name: unspool
pipeline_tag: text-generation
tags: [unspool, {report["model"]}, language-model]
---
# {report["model"]} on {source}

A language model of {unit}s: {settings.layers} layer(s) of {settings.hidden} units,
{report["parameters"]:,} parameters, trained for {report["steps"]} steps; these are the weights of
step {report["best_step"]}, the best on the validation part.

| on the validation part | nats/{unit} |
|---|---|
| this model | {report["loss"]:.3f} |
{rows}

{report["verdict"]} The validation part also chose the step, so the figure is slightly kind.

```python
import unspool

model = unspool.load("path/to/this/folder")
print(model.generate(length=200, seed=1))
```

Plain tensors and JSON: nothing is executed when it is loaded.
"""
