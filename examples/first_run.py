"""From Python: train a cell of one's own, let it write, and watch its gate.

python examples/first_run.py [STEPS]
"""

import sys
from pathlib import Path

import torch

import unspool

RUN = Path("runs/first")
CELL = f"{Path(__file__).with_name('my_cell.py')}:keeper"


def main(steps: int = 300) -> None:
    """Train unless the run is there already, then look at it."""
    if not RUN.exists():
        report = unspool.train(
            sample="english", out=RUN, model__name=CELL, size="tiny", train__steps=steps
        )
        print(report["verdict"])
    run = unspool.load(RUN)
    print("It writes:", run.generate("The ", length=120, temperature=0.7, seed=1))
    for token, probability in run.next("The stat", top=3):
        print(f"after 'The stat' comes {token!r} with probability {probability:.2f}")

    text = "A gate that stays open keeps what it knows."
    tokens = torch.from_numpy(run.tokenizer.encode(text))
    _, _, trace = run.model.encoder(run.model.embedding(tokens)[None], trace=True)
    kept = trace["l0"]["k"][0].mean(-1)  # over the units, at every step
    print("How much of the state each character keeps:")
    for character, share in zip(text, kept.tolist(), strict=True):
        print(f"  {character}  {share:.2f} {'█' * round(40 * share)}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
