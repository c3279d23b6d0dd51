"""Does a model that copies letters, or turns them round, look at the letter that it writes?

    unspool train --sample reverse --out runs/reverse
    python examples/looked_along.py reverse runs/reverse

It counts the rows of the test part that are right, and the letters for which the largest weight of
the attention lies where that letter stands: on the diagonal for `copy`, on the other one for
`reverse`.
"""

import sys
from dataclasses import replace
from pathlib import Path

import unspool
from unspool.config import from_toml
from unspool.data.opening import open_source, read_source


def main(sample, run):
    """The test part is that of the run: its configuration has the seed."""
    predictor, where = unspool.load(run), str(Path(run) / "config.toml")
    settings = from_toml(Path(where).read_text(encoding="utf-8"), where)
    source = open_source((), sample, settings.data)
    test = read_source(source, settings.data, "translate", settings.seed).part("test")
    looking = replace(predictor.answers, looks=True)
    right = along = letters = 0
    for text, truth, answer in zip(
        test.inputs, test.targets, looking.predict(predictor.model, test.inputs), strict=True
    ):
        right += answer["answer"] == truth
        for step, weights in enumerate(answer["attention"]["weights"][: len(text)]):
            place = step if sample == "copy" else len(text) - 1 - step
            letters += 1
            along += max(weights) == weights[place]
    print(f"{len(test)} rows: {right / len(test):.2%} exact; the largest weight is on the letter "
          f"in {along / letters:.2%} of {letters} steps")  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
