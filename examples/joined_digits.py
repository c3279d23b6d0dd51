"""Strings of spoken digits, joined from single recordings, as a folder to transcribe.

    python examples/joined_digits.py free-spoken-digit-dataset/recordings strings
    unspool train strings/train.csv --data.test strings/test.csv

The recordings are named 7_george_3.wav: the digit, who says it, and a number. Those numbered 0 to 4
are the official test part: test strings are joined from them, training strings from the others,
and no string of digits stands in both.
"""

import random
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from unspool.data.sound_file import read_sound
from unspool.data.wav import encode_wav

RATE = 8000
DIGITS = (3, 6)  # of a string, at least and at most
LONGEST_PAUSE = 0.2  # seconds between two digits
TEST = 5  # recordings of each digit and speaker that are tested on


def main(recordings: Path, out: Path, train: int = 1500, test: int = 300) -> None:
    """Write both parts: their sounds, and a table of each.

    Args:
        recordings: WAV files at 8 kHz, named 7_george_3.wav.
        out: the new folder.
        train: strings to learn.
        test: strings to be tested on.
    """
    known = defaultdict(lambda: defaultdict(list))  # by part and speaker: digit and samples
    for path in sorted(recordings.glob("*_*_*.wav")):
        digit, speaker, number = path.stem.split("_")
        samples, rate = read_sound(path)
        if rate != RATE:
            sys.exit(f"{path}: has {rate} samples a second; wanted {RATE}.")
        part = "test" if int(number) < TEST else "train"
        known[part][speaker].append((digit, samples.mean(1)))
    if set(known) != {"train", "test"}:
        sys.exit(f"{recordings}: wanted recordings such as 7_george_3.wav, numbered from 0 on.")
    draw, taken = random.Random(0), set()
    out.mkdir(parents=True)
    for part, count in (("test", test), ("train", train)):
        rows = ["audio,text"]
        while len(rows) <= count:
            speaker = draw.choice(sorted(known[part]))
            said = draw.choices(known[part][speaker], k=draw.randint(*DIGITS))
            text = "".join(digit for digit, _ in said)
            if part == "train" and text in taken:
                continue
            if part == "test":
                taken.add(text)
            name = f"{part}/{len(rows):04}_{speaker}.wav"
            (out / part).mkdir(exist_ok=True)
            (out / name).write_bytes(encode_wav(joined([each for _, each in said], draw), RATE))
            rows.append(f"{name},{text}")
        (out / f"{part}.csv").write_text("\n".join(rows) + "\n")
        print(f"{count} strings to {'learn' if part == 'train' else 'test'}: {out / part}.csv")


def joined(sounds: list[np.ndarray], draw: random.Random) -> np.ndarray:
    """Sounds one after the other, as loud as each other, with pauses in between."""
    pieces = []
    for sound in sounds:
        pieces.append(sound * (0.1 / max(1e-4, float(np.sqrt((sound**2).mean())))))
        pieces.append(np.zeros(round(RATE * draw.uniform(0, LONGEST_PAUSE))))
    return np.concatenate(pieces[:-1])


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(f"{__doc__}\nWanted: RECORDINGS OUT [TRAIN [TEST]]")
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
