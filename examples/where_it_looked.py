"""Does a model that captions look at what it names? On scenes it is known where everything is.

    unspool train --sample scenes --out runs/scenes
    python examples/where_it_looked.py runs/scenes

For every word of an answer that names a shape of the image, the middle of the attention is taken:
the mean of all places, each as heavy as its weight. It is on the object if it lies within the
object's radius of its middle.
"""

import math
import sys
from dataclasses import replace

import unspool
from unspool.config import resolve
from unspool.data.reading import read
from unspool.data.scenes import SHAPES, SIDE, placed, scenes


def middle(weights, sides):
    """Row and column of the middle of the attention, in points of the image."""
    rows, columns = sides
    places = [((i + 0.5) * SIDE / rows, (j + 0.5) * SIDE / columns)
              for i in range(rows) for j in range(columns)]  # fmt: skip
    return [sum(w * place[axis] for w, place in zip(weights, places, strict=True)) / sum(weights)
            for axis in (0, 1)]  # fmt: skip


def main(run):
    """Answers to the scenes of the test part, none of whose pairs of shapes was ever learnt."""
    predictor = unspool.load(run)
    looking = replace(predictor.answers, looks=True)
    settings = resolve(None, {"task": "caption"}).data  # the parts of a run with the defaults
    test = read(scenes(), settings, "caption").part("test")
    named = on = right = 0
    for answer, truth, row in zip(
        looking.predict(predictor.model, test.inputs), test.targets, test.rows, strict=True
    ):
        right += answer["answer"] == truth
        looked, seen = answer["attention"], {}
        for word, weights in zip(looked["target"], looked["weights"], strict=True):
            shape = word.strip()
            if shape not in SHAPES:
                continue
            number = seen[shape] = seen.get(shape, -1) + 1
            objects = placed(row).get(shape, [])
            if number >= len(objects):
                continue  # it names a shape that is not there
            y, x, radius = objects[number]
            found = middle(weights, looked["sides"])
            named += 1
            on += math.dist(found, (y, x)) <= radius
    print(f"{len(test)} scenes: {right / len(test):.1%} exact; the middle of the attention is on "
          f"the object in {on / named:.1%} of {named} words that name one")  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1])
