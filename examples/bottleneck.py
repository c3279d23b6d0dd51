r"""Is a whole sentence squeezed into one state? BLEU over the length of a sentence, run by run.

    python examples/bottleneck.py split pairs.tsv parts        train, validation, test, long
    unspool train parts/train.tsv --data.validation parts/validation.tsv \
        --data.test parts/test.tsv --out with
    unspool train parts/train.tsv --data.validation parts/validation.tsv \
        --data.test parts/test.tsv --out without --model.score none
    python examples/bottleneck.py measure parts with without   a table, and bleu.svg

Both runs must have learnt on the same parts. Needs sacrebleu: pip install 'unspool[metrics]'.
"""

import random
import sys
from pathlib import Path

import unspool
from unspool.drawing.plots import curves
from unspool.tasks.text_scores import bleu_measured

LENGTHS = ((1, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 15), (16, 99))
LONG = 10  # words; the file "long" has sentences of more


def split(pairs, out, test=2000, long=1000, validation=1000):
    """All pairs of one source, in any case, are in one part; test and long hold other sources."""
    by_source = {}
    for line in Path(pairs).read_text(encoding="utf-8").splitlines():
        source, target = line.split("\t")[:2]
        by_source.setdefault(source.lower(), []).append(f"{source}\t{target}\n")
    sources = sorted(by_source)
    random.Random(8).shuffle(sources)
    most = [source for source in sources if len(source.split()) > LONG][:long]
    taken = set(most)
    rest = [source for source in sources if source not in taken]
    out = Path(out)
    out.mkdir()
    parts = {
        "long": most,
        "test": rest[:test],
        "validation": rest[test : test + validation],
        "train": rest[test + validation :],
    }
    for name, some in parts.items():
        rows = [row for source in some for row in by_source[source]]
        random.Random(9).shuffle(rows)
        text = "source\ttarget\n" + "".join(rows)
        (out / f"{name}.tsv").write_text(text, encoding="utf-8")
        print(f"{name}: {len(some):,} sources, {len(rows):,} pairs")


def truths_of(path):
    """Every source of a file with all its targets."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        source, target = line.split("\t")
        found.setdefault(source, []).append(target)
    return found


def measure(parts, *runs):
    """BLEU in lower case of each run on each file, and over the length of the source."""
    asked = {name: truths_of(Path(parts) / f"{name}.tsv") for name in ("test", "long")}
    lines = {}
    for run in runs:
        predictor = unspool.load(run)
        answers = {}
        for name, truths in asked.items():
            rows = predictor.predict(list(truths))
            answers |= {source: row["answer"] for source, row in zip(truths, rows, strict=True)}
            found = bleu_of(truths, answers)
            low, high = found["interval"]
            print(f"{run}, {name}: BLEU {found['score']:.1f} ({low:.1f} to {high:.1f})")
            print(f"  {found['signature']}")
        both = {**asked["test"], **asked["long"]}
        points = []
        for least, most in LENGTHS:
            some = {s: t for s, t in both.items() if least <= len(s.split()) <= most}
            points.append(((least + min(most, 18)) / 2, bleu_of(some, answers)["score"]))
            print(f"  {least} to {most} words: {points[-1][1]:.1f} ({len(some)} sentences)")
        lines[str(run)] = points
    picture = curves(lines, "BLEU over the length of a sentence", x="words", y="BLEU")
    Path("bleu.svg").write_text(picture.svg(), encoding="utf-8")


def bleu_of(truths, answers):
    """BLEU of the answers to some sources, in lower case."""
    texts = [[text.lower() for text in each] for each in truths.values()]
    return bleu_measured(texts, [answers[source].lower() for source in truths], lower=True)


if __name__ == "__main__":
    {"split": split, "measure": measure}[sys.argv[1]](*sys.argv[2:])
