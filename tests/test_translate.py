"""Translating: pairs are read, learnt, measured and written, in any script."""

import json
from dataclasses import replace

import pytest
import torch

import command_line
from trainings import settled
from unspool import jobs
from unspool.cells import CELLS
from unspool.config import resolve
from unspool.data.measured import read_measured
from unspool.data.reading import read
from unspool.data.settings import DataSettings
from unspool.data.target_encoder import TargetEncoder
from unspool.errors import ConfigError, DataError
from unspool.models.language_model import LanguageModel
from unspool.models.sequence_model import SequenceModel
from unspool.models.settings import RecurrentSettings, TransformerSettings
from unspool.one_training import cell_of, fresh_model
from unspool.predictor import load
from unspool.tasks import translate
from unspool.tasks.decode_batches import own_tokens, truths

pytestmark = pytest.mark.usefixtures("quick_training")
NUMBERS = {
    "one": "un", "two": "deux", "three": "trois", "four": "quatre", "five": "cinq", "six": "six",
}  # fmt: skip
THINGS = {"cat": "chat", "dog": "chien", "egg": "œuf", "bee": "abeille", "red fox": "renard"}
PAIRS = [
    (f"{number} {thing}", f"{word} {small}{other}")
    for number, word in NUMBERS.items()
    for thing, other in THINGS.items()
    for small in ("", "petit ")[: 1 + (thing == "egg")]
]
SOURCES = len(NUMBERS) * len(THINGS)
SMALL = {
    "task": "translate", "threads": 1, "model.hidden": 8, "model.layers": 1, "train.epochs": 0,
    "train.steps": 4, "train.batch": 4, "train.warmup": 0, "train.checkpoint_every": 2,
}  # fmt: skip
call = command_line.call


def table(pairs=PAIRS, header="source\ttarget", between="\t"):
    return "\n".join([header, *(between.join(pair) for pair in pairs)]) + "\n"


@pytest.fixture(scope="module")
def pairs_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    path.write_text(table(), encoding="utf-8")
    return path


def settings_for(**changes):
    return settled(SMALL, **changes)


def job_of(path, **changes):
    settings = settings_for(**changes)
    job = translate.prepare(read([path], settings.data, "translate", 0), settings)
    return job, fresh_model(job.shape(), settings, cell_of(settings))


@pytest.fixture(scope="module")
def run(pairs_file, tmp_path_factory):
    """A finished run, and its report."""
    out = tmp_path_factory.mktemp("runs") / "run"
    return out, jobs.train(pairs_file, settings=settings_for(), out=out)


# What is read


def as_json_lines():
    return "".join(json.dumps({"en": a, "fr": b}, ensure_ascii=False) + "\n" for a, b in PAIRS)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pairs.tsv", table()),
        ("pairs.csv", table(header="en,fr", between=",")),
        ("pairs.txt", "".join(f"{a}\t{b}\n" for a, b in PAIRS)),
        ("pairs.jsonl", as_json_lines()),
    ],
)
def test_pairs_are_recognised_whatever_they_are_written_in(name, text, tmp_path):
    (tmp_path / name).write_text(text, encoding="utf-8")
    reading = read([tmp_path / name])
    assert (reading.job, reading.mapping) == ("translate", "many to many")
    assert list(zip(reading.examples.inputs, reading.examples.targets, strict=True)) == PAIRS


def test_two_texts_are_read_line_beside_line(tmp_path):
    for name, side in (("a.en", 0), ("a.fr", 1)):
        (tmp_path / name).write_text("".join(f"{pair[side]}\n" for pair in PAIRS), "utf-8")
    reading = read([tmp_path / "a.en", tmp_path / "a.fr"], task="translate")
    assert list(zip(reading.examples.inputs, reading.examples.targets, strict=True)) == PAIRS
    (tmp_path / "a.fr").write_text("un\ndeux\n", "utf-8")
    with pytest.raises(
        DataError, match=rf"{len(PAIRS)} lines and .*a\.fr 2; wanted the translation"
    ):
        read([tmp_path / "a.en", tmp_path / "a.fr"], task="translate")


def test_all_pairs_of_one_source_are_in_one_part(pairs_file):
    reading = read([pairs_file])
    sources = [{reading.examples.inputs[i] for i in rows} for rows in reading.parts.values()]
    assert sum(map(len, sources)) == len(set().union(*sources)) == SOURCES


# Tokens of what is written

TEXTS = ["le chat dort.", "สามสิบเอ็ด", "千九百九十九年五月三日", "l’œuf — déjà !", ""]


@pytest.mark.parametrize("tokens", ["char", "word", "bpe"])
def test_a_text_comes_back_from_its_tokens_in_any_script(tokens):
    settings = DataSettings(tokens=tokens, vocabulary=300 if tokens == "bpe" else 100)
    encoder = TargetEncoder.fit(TEXTS, settings)
    again = TargetEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    for text in TEXTS:
        ids = encoder.encode(text)
        assert again.decode(ids.tolist()) == text
        assert (ids[:-1] < encoder.begin).all() and ids[-1] == encoder.end
        assert len(ids) <= encoder.longest + 1
        assert "".join(encoder.tokens(ids.tolist())) == text or tokens == "bpe"


def test_a_long_target_is_refused_or_cut():
    refusing = TargetEncoder.fit(["abcd"], DataSettings(max_length=3))
    with pytest.raises(DataError, match="has 4 steps"):
        refusing.encode("abcd")
    cutting = TargetEncoder.fit(["abcd"], DataSettings(max_length=3, too_long="truncate"))
    assert cutting.decode(cutting.encode("abcd").tolist()) == "abc"
    assert cutting.longest == 3


def test_one_vocabulary_is_one_table_of_vectors(pairs_file):
    job, model = job_of(pairs_file, target__shared=True, data__tokens="bpe", data__vocabulary=280)
    assert model.embedding.weight is model.decoder.weight
    assert job.answers.encoder.tokenizer.to_json() == job.answers.writer.tokenizer.to_json()
    model(*_inputs(job)).sum().backward()


def _inputs(job):
    batch = job.batch_of(job.train, range(3))
    return batch.inputs, batch.lengths, batch.fed


def test_both_sides_have_tokens_of_their_own(pairs_file):
    job, _ = job_of(pairs_file, data__tokens="word", target__tokens="char")
    assert job.answers.encoder.tokenizer.kind == "word"
    assert (job.answers.writer.tokenizer.kind, job.unit) == ("char", "char")


# What is fed


def test_share_of_true_tokens_is_what_was_asked_for():
    draw = torch.Generator().manual_seed(1)
    fed = truths((2000, 6), 0.3, draw)
    assert fed[:, 0].all()
    assert abs(fed[:, 1:].float().mean().item() - 0.3) < 0.02
    assert truths((2, 3), 1.0, draw) is None


def test_share_goes_in_a_straight_line_from_the_first_update_to_the_last(pairs_file):
    job, model = job_of(
        pairs_file, train__steps=5, train__teacher_forcing=1.0, train__teacher_forcing_last=0.2
    )
    work = job.work(model)
    assert [round(work._share(step), 6) for step in range(6)] == [1.0, 0.8, 0.6, 0.4, 0.2, 0.2]
    assert work.batch(0).true is None and work.batch(4).true is not None


@pytest.mark.parametrize("attends", ["late", "feeding", "inside"])
def test_a_model_that_feeds_itself_reads_what_greedy_writes(attends, pairs_file):
    job, model = job_of(pairs_file, model__attends=attends)
    batch = job.batch_of(job.train, range(6))
    nothing = truths(tuple(batch.fed.shape), 0.0, torch.Generator())
    fed = own_tokens(model, replace(batch, true=nothing))
    assert model.training
    model.eval()
    with torch.no_grad():
        likeliest = model(batch.inputs, batch.lengths, fed).argmax(-1)
    assert torch.equal(fed[:, 1:], likeliest[:, :-1])
    all_true = own_tokens(model, replace(batch, true=torch.ones_like(nothing)))
    assert torch.equal(all_true, batch.fed)


def test_loss_is_that_of_the_tokens_fed_and_padding_counts_nothing(pairs_file):
    job, model = job_of(pairs_file, model__dropout=0.0)
    work, rows = job.work(model), range(5)
    together = work.loss(job.batch_of(job.train, rows), None)[0]
    alone = sum(work.loss(job.batch_of(job.train, [row]), None)[0] for row in rows)
    assert torch.allclose(together, alone, rtol=1e-5)
    model.eval()
    assert work.evaluate() > 0


# What is written


def test_answers_keep_their_order_and_do_not_depend_on_their_neighbours(run):
    predictor = load(run[0])
    texts = ["three bee", "one cat", "four dog and one cat", "two"]
    together = [row["answer"] for row in predictor.predict(texts)]
    assert together == [predictor.predict([text])[0]["answer"] for text in texts]


def test_attention_says_for_every_token_where_the_model_looked(run):
    predictor = load(run[0])
    looking = replace(predictor.answers, looks=True)
    texts = ["three bee", "one cat and two dogs"]
    for text, row in zip(texts, looking.predict(predictor.model, texts), strict=True):
        looked = row["attention"]
        assert "".join(looked["source"]) == text
        assert "".join(looked["target"]) == row["answer"]
        weights = torch.tensor(looked["weights"]).reshape(len(row["answer"]), len(text))
        assert torch.allclose(weights.sum(1), torch.ones(len(weights)), atol=1e-5)


def test_report_says_how_near_the_answers_come_and_what_simple_methods_do(run):
    report = run[1]
    assert {"score", "interval", "exact_match", "character_error_rate", "bleu"} <= report.keys()
    assert report["measure"] == "chrF" and report["rows"] == 6
    assert report["bleu"]["signature"].startswith("nrefs:")
    assert [each["name"] for each in report["baselines"]] == [
        "copy the source", "commonest target", "nearest source (TF-IDF)",
        "word by word (IBM model 1)",
    ]  # fmt: skip


def test_an_input_with_several_truths_is_asked_once(pairs_file):
    settings = settings_for()
    found = read_measured(pairs_file, settings.data, settings.task)
    job = translate.measuring(job_of(pairs_file)[0], found, str(pairs_file))
    truths = dict(zip(job.test.inputs, job.test.truths, strict=True))
    assert len(truths) == len(job.test) == SOURCES
    assert truths["two egg"] == ["deux œuf", "deux petit œuf"]


def test_a_run_that_was_stopped_ends_as_one_that_was_not(pairs_file, run, tmp_path):
    class Stop(Exception):
        pass

    def stop(event):
        if event["event"] == "step" and event["step"] == 3:
            raise Stop

    settings, out = settings_for(train__teacher_forcing_last=0.0), tmp_path / "stopped"
    whole = jobs.train(pairs_file, settings=settings, out=tmp_path / "whole")
    with pytest.raises(Stop):
        jobs.train(pairs_file, settings=settings, out=out, observers=[stop])
    report = jobs.resume(out)
    weights = [
        (each / "model/model.safetensors").read_bytes() for each in (out, tmp_path / "whole")
    ]
    assert weights[0] == weights[1] and report["score"] == whole["score"]
    forced = (run[0] / "model/model.safetensors").read_bytes()
    assert forced != weights[0], "feeding back changed nothing"


def test_evaluating_another_file_measures_its_pairs(run, pairs_file):
    measured = jobs.evaluate(run[0], pairs_file)
    assert measured["rows"] == SOURCES


# The command


def test_command_writes_the_answer_alone_and_n_best_with_their_probabilities(run, call):
    code, out, _ = call("translate", run[0], "one cat")
    best = load(run[0]).predict(["one cat"])[0]
    assert code == 0 and out == best["answer"] + "\n"
    code, out, _ = call("translate", run[0], "one cat", "--nbest", 3, "--json")
    row = json.loads(out)
    chances = [each["log_probability"] for each in row["nbest"]]
    assert code == 0 and len(chances) == 3 and row["nbest"][0]["answer"] == row["answer"]
    code, out, _ = call("translate", run[0], "one cat", "--nbest", 3)
    assert len(out.splitlines()) == 3


def test_command_answers_each_line_of_a_file(run, call, tmp_path):
    (tmp_path / "ask.txt").write_text("one cat\n\ntwo dogs\n", "utf-8")
    code, out, _ = call("translate", run[0], "--file", tmp_path / "ask.txt")
    assert code == 0 and len(out.splitlines()) == 2


def test_command_shows_and_draws_where_the_model_looked(run, call, tmp_path):
    png, svg = tmp_path / "a.png", tmp_path / "a.svg"
    code, out, _ = call("translate", run[0], "one cat", "--attention", "--png", png, "--svg", svg)
    assert code == 0 and "o n e _ c a t" in out
    assert png.read_bytes().startswith(b"\x89PNG") and svg.read_text("utf-8").startswith("<svg")
    code, _, error = call("translate", run[0], "one cat", "--png", png)
    assert code == 2 and "exists" in error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a", "b", "--png", "x.png"], "draw one text"),
        (["a", "--nbest", "0"], "decoding.nbest"),
        (["a", "--nbest", "3", "--beam", "2"], "3 answers of a beam of 2"),
        ([""], "is empty"),
    ],
)
def test_command_refuses_what_cannot_be_in_one_line(arguments, said, run, call):
    code, _, error = call("translate", run[0], *arguments)
    assert code == 2 and said in error and len(error.splitlines()) == 1


def test_a_model_without_attention_says_so(pairs_file, call, tmp_path):
    out = tmp_path / "run"
    jobs.train(pairs_file, settings=settings_for(model__score="none"), out=out)
    code, _, error = call("translate", out, "one cat", "--attention")
    assert code == 2 and "model.score" in error


def test_settings_that_do_not_fit_are_refused_at_once():
    with pytest.raises(ConfigError, match=r"train\.teacher_forcing_last.*target\.shared") as caught:
        resolve(None, {
            "target.shared": True, "target.tokens": "char", "train.teacher_forcing_last": 1.5,
        })  # fmt: skip
    assert "\n" not in str(caught.value)


def test_command_measures_a_file_and_says_how_bleu_was_computed(run, pairs_file, call):
    code, out, _ = call("evaluate", run[0], pairs_file)
    assert code == 0 and "exact match" in out and "BLEU" in out and "nrefs:" in out


# Refused elsewhere.


@pytest.mark.parametrize(
    "settings",
    [
        RecurrentSettings(name="gru", hidden=4, positions="sinusoidal"),
        RecurrentSettings(name="gru", hidden=4, token_dropout=0.5),
        TransformerSettings(hidden=4, heads=2, token_dropout=0.5),
    ],
)
def test_what_only_a_writer_for_an_input_has_is_refused_for_labels_and_texts(settings, rng):
    cell = CELLS["gru"] if isinstance(settings, RecurrentSettings) else None
    with pytest.raises(ConfigError, match=r"model\.(positions|token_dropout): is for models that"):
        SequenceModel(
            {"kind": "tokens", "size": 5}, {"mapping": "one", "size": 3}, settings, cell, rng
        )
    with pytest.raises(ConfigError, match=r"model\.(positions|token_dropout): "):
        LanguageModel(5, settings, cell, rng)
