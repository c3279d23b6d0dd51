"""Sounds become texts: the loss, decoding, streams, and sounds that are damaged or odd."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from tests.tolerance import assert_close
from torch.nn import functional as F

from command_line import call  # noqa: F401
from unspool import jobs
from unspool.cells import CELLS
from unspool.config import resolve
from unspool.data.made_samples import dialled
from unspool.data.sound import FrameStream, SoundEncoder
from unspool.data.sound_file import read_sound
from unspool.data.sound_settings import SoundSettings
from unspool.data.wav import encode_wav
from unspool.errors import ConfigError, DataError
from unspool.models.settings import RecurrentSettings
from unspool.predictor import load
from unspool.tasks.example_batches import ExampleBatch, Part, side_by_side
from unspool.tasks.live_transcript import LiveTranscript, PathReader
from unspool.tasks.transcribe import TranscriptRules, aligned, build, check_model, steps_needed

pytestmark = pytest.mark.usefixtures("quick_training")
RATE = 8000
TEXTS = ["two one", "no", "oo", "t"]
SMALL = {"threads": 1, "size": "tiny", "model.hidden": 6, "train.steps": 3}


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    """A folder of sounds, and the table of what was dialled in them."""
    folder = tmp_path_factory.mktemp("numbers")
    made = dialled(count=40)
    lines = ["audio,text"]
    for index, (sound, keys) in enumerate(zip(made.inputs, made.targets, strict=True)):
        (folder / f"{index}.wav").write_bytes(encode_wav(sound, RATE))
        lines.append(f"{index}.wav,{keys}")
    (folder / "numbers.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def trained(numbers, tmp_path_factory):
    """A run that has hardly learnt, and its report."""
    out = tmp_path_factory.mktemp("runs") / "numbers"
    return out, jobs.train(numbers / "numbers.csv", settings=resolve(None, SMALL), out=out)


def model_for(
    rules, stack=1, seed=0, dtype=torch.float32, name="gru", layers=2, size=4, **settings
):
    """A model of so many numbers a frame whose logits are far apart: it has something to say."""
    shape = {"input": {"kind": "frames", "size": size}, "output": rules.output()}
    if stack > 1:
        shape["input"]["stack"] = stack
    chosen = RecurrentSettings(name=name, hidden=7, layers=layers, dropout=0.0, **settings)
    generator = torch.Generator().manual_seed(seed)
    model = build(shape, chosen, CELLS[name], generator).to(dtype)
    with torch.no_grad():
        for weight in model.head.parameters():
            weight.mul_(8)
    return model.eval()


def batch_of(rules, rng, stack=1, dtype=torch.float32):
    lengths = torch.tensor([31, 24, 12, 7])
    frames = torch.randn(4, 31, 4, generator=rng, dtype=dtype)
    targets = side_by_side([rules.encode(text) for text in TEXTS])
    return ExampleBatch({"frames": frames}, lengths, targets)


# The loss.


@pytest.mark.parametrize("stack", [1, 2, 3])
def test_loss_is_that_of_torch_for_each_sound_by_itself(stack, rng):
    rules = TranscriptRules().fit(TEXTS)
    model, batch = model_for(rules, stack), batch_of(rules, rng)
    whole = rules.loss(model, model(batch.inputs, batch.lengths), batch)
    alone = 0.0
    for row, length in enumerate(batch.lengths.tolist()):
        frames = batch.inputs["frames"][row : row + 1, :length]
        logits = model({"frames": frames}, torch.tensor([length]))
        text = rules.encode(TEXTS[row])
        alone += F.ctc_loss(
            logits.log_softmax(2).transpose(0, 1), text[None],
            torch.tensor([-(-length // stack)]), torch.tensor([len(text)]), reduction="sum",
        )  # fmt: skip
    assert_close(whole, alone)


def test_loss_is_the_sum_over_all_paths_that_spell_the_text(rng):
    rules = TranscriptRules().fit(["ab"])
    shape = {"input": {"kind": "frames", "size": 4}, "output": rules.output()}
    model = build(shape, RecurrentSettings(name="rnn", hidden=3), CELLS["rnn"]).double().eval()
    frames = torch.randn(1, 5, 4, generator=rng, dtype=torch.float64)
    batch = ExampleBatch({"frames": frames}, torch.tensor([5]), rules.encode("ab")[None])
    logits = model(batch.inputs, batch.lengths)
    chances = logits[0].detach().softmax(1)
    total = sum(
        float(torch.stack([chances[t, c] for t, c in enumerate(path)]).prod())
        for path in itertools.product(range(3), repeat=5)
        if [c for c, _ in itertools.groupby(path) if c] == [1, 2]
    )
    assert_close(
        rules.loss(model, logits, batch).detach().exp().reciprocal(),
        torch.tensor(total, dtype=torch.float64),
    )


def test_what_fills_a_batch_changes_neither_loss_nor_texts_nor_gradients(rng):
    rules = TranscriptRules().fit(TEXTS)
    model = model_for(rules, 2, dtype=torch.float64)
    batch = batch_of(rules, rng, dtype=torch.float64)
    found = []
    for filler, more in ((0.0, 0), (1e4, 5), (float("nan"), 9)):
        frames = F.pad(batch.inputs["frames"], (0, 0, 0, more))
        for row, length in enumerate(batch.lengths.tolist()):
            frames[row, length:] = filler
        targets = F.pad(batch.targets, (0, more), value=-100)
        padded = ExampleBatch({"frames": frames}, batch.lengths, targets)
        logits = model(padded.inputs, padded.lengths)
        loss = rules.loss(model, logits, padded)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        said = [each["answer"] for each in rules.answers(model, logits, batch.lengths)]
        found.append((loss, torch.cat([g.flatten() for g in gradients]), said))
    assert any(found[0][2])
    for loss, gradients, said in found[1:]:
        assert_close(loss, found[0][0])
        assert_close(gradients, found[0][1])
        assert said == found[0][2]


def test_a_sound_too_short_for_its_text_is_refused_by_name_and_the_others_stay(rng):
    rules = TranscriptRules().fit(["aab"])
    numbers = [rules.encode(text) for text in ("aab", "aab", "b")]
    frames = [torch.zeros(steps, 4) for steps in (7, 6, 1)]
    part = Part(["x.wav", "y.wav", "z.wav"], ["aab", "aab", "b"], frames, numbers, ["x", "y", "z"])
    kept, told = aligned(part, 2, "train part")
    assert kept.inputs == ["x.wav", "z.wav"] and steps_needed(numbers[0].tolist()) == 4
    assert "1 of 3 sounds" in told[0] and "y (3 steps, 4 needed)" in told[0]
    short = Part(["y.wav"], ["aab"], frames[1:2], numbers[:1], ["y"])
    with pytest.raises(DataError, match="1 of 1 sounds are too short"):
        aligned(short, 2, "train part")


# Decoding.


def test_a_beam_is_never_less_probable_than_the_likeliest_path(rng):
    greedy = TranscriptRules().fit(TEXTS)
    model, batch = model_for(greedy), batch_of(greedy, rng)
    logits = model(batch.inputs, batch.lengths)
    wide = TranscriptRules(greedy.alphabet, beam=32)
    pairs = zip(
        greedy.answers(model, logits, batch.lengths), wide.answers(model, logits, batch.lengths),
        strict=True,
    )  # fmt: skip
    for single, several in pairs:
        assert several["probability"] >= single["probability"] * (1 - 1e-6)


def test_probability_of_a_text_is_that_of_all_its_paths(rng):
    rules = TranscriptRules(("a", "b"))
    logits = torch.randn(1, 5, 3, generator=rng)
    answer = rules.answers(model_for(rules), logits, torch.tensor([5]))[0]
    chances, labels = logits[0].double().softmax(1), rules.encode(answer["answer"]).tolist()
    total = sum(
        float(torch.stack([chances[t, c] for t, c in enumerate(path)]).prod())
        for path in itertools.product(range(3), repeat=5)
        if [c for c, _ in itertools.groupby(path) if c] == labels
    )
    assert answer["probability"] == pytest.approx(total, rel=1e-9)


def test_texts_come_back_from_their_classes_and_strangers_are_left_out():
    rules = TranscriptRules(lower=True).fit(["Two  one"])
    assert rules.text(tuple(rules.encode("TWO one").tolist())) == "two one"
    assert rules.text(tuple(rules.encode("one z two").tolist())) == "one  two"
    again = TranscriptRules().from_dict(json.loads(json.dumps(rules.to_dict())))
    assert again == rules


def test_error_rates_are_edits_over_characters_and_over_words():
    rules = TranscriptRules()
    answers = [{"answer": text} for text in ("one two", "tree")]
    measured = rules.measures(["one  two", "three six"], answers)
    assert measured["score"] == pytest.approx(5 / 16)  # h, space, s, i, x
    assert measured["word_error_rate"] == pytest.approx(2 / 4)
    assert measured["exact_match"] == 0.5
    assert measured["interval"][0] <= measured["score"] <= measured["interval"][1]


# Sound that comes in: streamed = whole, and nothing is said of what is not heard yet.


def live_pair(stack, beam, name="gru"):
    """A model and an encoder of four bands, and the rules of their texts."""
    rules = TranscriptRules(("a", "b", "c"), beam=beam)
    settings = SoundSettings(bands=4, stack=stack)
    encoder = SoundEncoder.fit([dialled(count=1).inputs[0]], settings)
    return model_for(rules, stack, name=name, size=settings.features), encoder, rules


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize("stack", [1, 3])
@pytest.mark.parametrize("name", ["gru", "lstm"])
@pytest.mark.parametrize("samples", [1, 100, 5003])
def test_streamed_is_whole_however_a_sound_is_cut(name, stack, beam, samples, rng):
    model, encoder, rules = live_pair(stack, beam, name)
    sound = torch.randn(samples, generator=rng).numpy()
    frames = encoder.encode(sound)
    lengths = torch.tensor([len(frames)])
    whole = rules.answers(model, model({"frames": frames[None]}, lengths), lengths)[0]["answer"]
    for cut in (1 << 20, 333, 1601):
        live = LiveTranscript(model, encoder, rules.text, beam)
        for start in range(0, samples, cut):
            live.hear(sound[start : start + cut])
        assert live.finish() == whole == live.text
        with pytest.raises(ConfigError, match="is finished"):
            live.hear(sound)
        with pytest.raises(ConfigError, match="is finished"):
            live.finish()


@pytest.mark.parametrize("deltas", [0, 1, 2])
@pytest.mark.parametrize("samples", [1, 79, 199, 200, 201, 280, 281, 1000])
def test_frames_of_pieces_are_those_of_the_whole_sound(samples, deltas, rng):
    settings = SoundSettings(bands=4, deltas=deltas)
    encoder = SoundEncoder.fit([np.ones(800, np.float32)], settings)
    sound = torch.randn(samples, generator=rng).numpy()
    for cut in (1, 50, 80, 200, 400):
        stream = FrameStream(encoder)
        pieces = [stream.hear(sound[at : at + cut]) for at in range(0, samples, cut)]
        assert_close(torch.cat([*pieces, stream.finish()]), encoder.encode(sound))


@pytest.mark.parametrize("stack", [1, 3])
@pytest.mark.parametrize("name", ["gru", "lstm", "rnn"])
def test_what_comes_later_changes_nothing_that_was_said_before(name, stack, rng):
    model, encoder, _ = live_pair(stack, 1, name)
    sound = torch.randn(6000, generator=rng)
    other = torch.cat([sound[:4000], torch.randn(2000, generator=rng)])
    # Frames whose windows end before that sample, but for those whose deltas look further.
    steps = ((4000 - 200) // 80 + 1 - 2) // stack
    logits = [
        model({"frames": encoder.encode(each.numpy())[None]}, None)[0] for each in (sound, other)
    ]
    assert torch.equal(logits[0][:steps], logits[1][:steps])
    assert not torch.equal(logits[0][steps:], logits[1][steps:])


def test_a_path_read_in_pieces_is_that_of_all_steps(rng):
    logits = torch.randn(40, 3, generator=rng)
    whole, pieces = PathReader(), PathReader()
    whole.read(logits)
    for start in range(0, 40, 7):
        pieces.read(logits[start : start + 7])
    assert whole.labels == pieces.labels != ()


@pytest.mark.parametrize("piece", [[[0.0]], [float("nan")], [float("inf")]])
def test_a_piece_that_is_no_sound_is_refused(piece, unchecked):
    model, encoder, rules = live_pair(1, 1)
    with pytest.raises(DataError, match="one channel"):
        LiveTranscript(model, encoder, rules.text).hear(np.array(piece, np.float32))


def test_a_mean_of_the_whole_sound_cannot_be_streamed():
    rules = TranscriptRules(("a",))
    settings = SoundSettings(bands=4, normalise="utterance")
    encoder = SoundEncoder.fit([np.ones(800, np.float32)], settings)
    with pytest.raises(ConfigError, match=r"sound\.normalise 'train'"):
        LiveTranscript(model_for(rules), encoder, rules.text)


@pytest.mark.parametrize(
    ("changes", "named", "way_out"),
    [
        ({"model.bidirectional": True}, "model.bidirectional", True),
        ({"model.name": "cnn"}, "model.name", True),
        ({"sound.normalise": "utterance"}, "sound.normalise", True),
        ({"model.name": "cnn", "model.pool": 2, "sound.stream": False}, "model.pool", False),
        ({"decoding.nbest": 3}, "decoding.nbest", False),
    ],
)
def test_what_cannot_be_said_while_sound_comes_in_is_refused(changes, named, way_out):
    with pytest.raises(ConfigError, match=named):
        check_model(resolve(None, {"task": "transcribe", **changes}))
    if way_out:
        check_model(resolve(None, {"task": "transcribe", "sound.stream": False, **changes}))


# Runs.


def test_report_has_both_error_rates_and_a_saved_model_says_what_it_said(numbers, trained):
    folder, report = trained
    assert report["task"] == "transcribe" and report["measure"] == "character error rate"
    assert {"score", "interval", "word_error_rate", "exact_match"} <= report.keys()
    assert {each["name"] for each in report["baselines"]} >= {"commonest transcript"}
    measured = jobs.evaluate(folder)
    assert measured["score"] == report["score"]
    paths = [str(numbers / f"{index}.wav") for index in range(3)]
    both = [load(where).predict(paths) for where in (folder, folder / "model")]
    assert both[0] == both[1]
    assert all(set(each) == {"answer", "probability"} for each in both[0])


@pytest.mark.parametrize("beam", [1, 3])
def test_command_says_of_a_file_what_a_live_transcript_says(numbers, trained, beam, call):
    path = numbers / "5.wav"
    code, out, _ = call("predict", trained[0], path, "--beam", beam, "--json")
    assert code == 0
    live = load(trained[0]).with_beam(beam).live()
    samples, rate = read_sound(path)
    assert rate == live.rate
    for start in range(0, len(samples), 700):
        live.hear(samples[start : start + 700, 0])
    assert live.finish() == json.loads(out)["answer"]


def test_folder_with_its_table_is_read_like_the_table(numbers, call):
    code, out, _ = call("data", numbers, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["task"] == "transcribe" and found["rows"]["used"] == 40
    assert not [each for each in found["warnings"] if "no example" in each or "left out" in each]


def test_run_of_another_task_has_no_beam(tmp_path, call):
    out = tmp_path / "run"
    jobs.train(sample="sentiment", settings=resolve(None, SMALL | {"task": "classify"}), out=out)
    code, _, err = call("predict", out, "fine", "--beam", "4")
    assert code == 2 and "wanted 'transcribe'" in err and err.count("\n") == 1
    with pytest.raises(ConfigError, match="wanted 'transcribe'"):
        load(out).live()


@pytest.mark.parametrize("beam", [0, -3])
def test_a_beam_of_nothing_is_refused(trained, numbers, beam, call):
    code, _, err = call("predict", trained[0], numbers / "1.wav", "--beam", beam)
    assert code == 2 and "decoding.beam" in err and err.count("\n") == 1


# Sounds that are damaged or odd.


def odd(what, sound):
    """The bytes of a WAV file, and whether it can be read."""
    good = encode_wav(sound, RATE)
    if what == "truncated":
        return good[:-100], False
    if what == "zero length":
        return encode_wav(sound[:0], RATE), False
    if what == "empty file":
        return b"", False
    if what == "no wav":
        return b"these are no samples" * 9, False
    if what == "silent":
        return encode_wav(0 * sound, RATE), True
    if what == "one sample":
        return encode_wav(sound[:1], RATE), True
    if what == "44.1 kHz":
        return encode_wav(np.repeat(sound, 6)[: 44100 // 2], 44100), True
    pairs = np.frombuffer(good[44:], "<i2")
    head = bytearray(good[:44])
    head[22:24], head[32:34] = (2).to_bytes(2, "little"), (4).to_bytes(2, "little")
    head[28:32] = (4 * RATE).to_bytes(4, "little")
    body = np.stack([pairs, pairs], 1).tobytes()
    head[4:8], head[40:44] = (len(body) + 36).to_bytes(4, "little"), len(body).to_bytes(4, "little")
    return bytes(head) + body, True


ODD = ("truncated", "zero length", "empty file", "no wav", "silent", "one sample", "44.1 kHz",
       "stereo")  # fmt: skip


@pytest.mark.parametrize("what", ODD)
def test_odd_sound_is_transcribed_or_refused_in_one_line(what, trained, tmp_path, call):
    sound = dialled(count=1).inputs[0]
    path = tmp_path / "odd.wav"
    data, readable = odd(what, sound)
    path.write_bytes(data)
    code, out, err = call("predict", trained[0], path)
    assert code == (0 if readable else 2)
    if readable:
        assert out.startswith(str(path)) and not err
    else:
        assert "odd.wav" in err and err.count("\n") == 1 and not out


def test_stereo_of_two_equal_channels_is_the_mono_sound(trained, tmp_path):
    sound = dialled(count=1).inputs[0]
    (tmp_path / "stereo.wav").write_bytes(odd("stereo", sound)[0])
    (tmp_path / "mono.wav").write_bytes(encode_wav(sound, RATE))
    paths = [str(tmp_path / name) for name in ("stereo.wav", "mono.wav")]
    one, other = load(trained[0]).predict(paths)
    assert one == other


def test_odd_sounds_of_a_table_are_counted_and_the_others_are_learnt(numbers, tmp_path, call):
    lines = (numbers / "numbers.csv").read_text().splitlines()[1:]
    rows = ["audio,text"] + [f"{numbers}/{line}" for line in lines]
    for what in ODD:
        (tmp_path / f"{what}.wav").write_bytes(odd(what, dialled(count=1).inputs[0])[0])
        rows.append(f"{what}.wav,12")
    rows += ["nowhere.wav,12", f"{numbers}/0.wav,"]
    (tmp_path / "all.csv").write_text("\n".join(rows) + "\n")
    code, out, _ = call("data", tmp_path / "all.csv", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["rows"]["total"] == len(rows) - 1
    assert found["rows"]["used"] + found["rows"]["refused"] == found["rows"]["total"]
    assert found["rows"]["refused"] == 6
