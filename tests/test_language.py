"""The language of cells: what a trace finds, and that every mistake shows its line."""

import inspect
import math
import sys
from types import SimpleNamespace

import pytest
import torch

from equations import define, draw_parameters, units_for
from tolerance import assert_close
from unspool.cells import CELLS
from unspool.engine import language, reference
from unspool.engine.graph import Node
from unspool.engine.language import Cell, Function, cell, relu, sigmoid, softmax, tanh, where
from unspool.engine.reference import step, unstack
from unspool.errors import CellError, ConfigError

# The head of the cell, its lines, a part of the message, and the line it must show.
MISTAKES = {
    "mixes the shapes of two gates": (
        "x, h, W, U",
        ["g = sigmoid(W.g @ x) * x", "k = tanh(U.k @ h) * h", "h = g + k"],
        "shapes are mixed",
        "h = g + k",
    ),
    "adds the input to the state": ("x, h, W", ["h = W.h @ x + h + x"], "x has D", "h = W.h"),
    "does not read its state": (
        "x, h, W", ["h = tanh(W.h @ x)"], "state `h` is never read", "h = tanh(W.h @ x)",
    ),
    "does not return a state": (
        "x, h, c, W", ["c = c + W.c @ x", "h = h * c", "return h"],
        "returned 1 for the states (h, c): `c` is not returned", "return h",
    ),
    "returns nothing": ("x, h, W", ["h = h + W.h @ x", "return"], "returned None", "return"),
    "returns more than its states": (
        "x, h, W", ["h = h + W.h @ x", "return h, h"], "more is returned", "return h, h",
    ),
    "returns a state as it came in": (
        "x, h, c, W", ["h = tanh(h + c + W.h @ x)", "return h, c"],
        "state `c` is returned as it came in", "return h, c",
    ),
    "returns its states in another order": (
        "x, h, c, W", ["c = c + W.c @ x", "h = h * c", "return c, h"], "(h, c)", "return c, h",
    ),
    "returns a number": ("x, h, W", ["h = h + W.h @ x", "return 1.0"], "returned 1.0", "return 1"),
    "returns a parameter": ("x, h, b", ["h = h + b.h", "return b.h"], "`b.h`", "return b.h"),
    "returns a comparison": (
        "x, h, W", ["h = (W.h @ x) > h"], "comparison", "",
    ),
    "asks a Python if": (
        "x, h, W", ["g = W.g @ x", "if g > 0:", "    h = h + g", "h = h + g"],
        "a Python condition", "if g > 0:",
    ),
    "joins with and": ("x, h, W", ["h = W.h @ x and h"], "use `where(...)`", "h = W.h @ x and h"),
    "compares with ==": ("x, h, W", ["h = where(h == 0, W.h @ x, h)"], "`==`", "h = where(h == 0"),
    "compares with !=": ("x, h, W", ["h = where(h != 0, W.h @ x, h)"], "`!=`", "h = where(h != 0"),
    "chooses with a number": ("x, h, W", ["h = where(h, W.h @ x, h)"], "comparison", "h = where(h"),
    "computes with a comparison": (
        "x, h, W", ["h = (h > 0) * (W.h @ x)"], "comparison", "h = (h > 0) *",
    ),
    "indexes a value": ("x, h, W", ["h = h[0] + W.h @ x"], "indexed", "h = h[0] + W.h @ x"),
    "loops over a value": (
        "x, h, W", ["g = W.g @ x", "h = sum(u for u in h) + g"], "looped over", "h = sum(u for",
    ),
    "raises to a power": ("x, h, W", ["h = h ** 2 + W.h @ x"], "`**`", "h = h ** 2 + W.h @ x"),
    "is an exponent": ("x, h, W", ["h = 2 ** h + W.h @ x"], "`**`", "h = 2 ** h + W.h @ x"),
    "calls math": ("x, h, W", ["h = math.tanh(h) + W.h @ x"], "functions of unspool", "h = math."),
    "calls torch": ("x, h, W", ["h = torch.tanh(h) + W.h @ x"], "of torch", "h = torch.tanh"),
    "multiplies a tensor": ("x, h, W", ["h = torch.ones(3) * h + W.h @ x"], "of torch", "h ="),
    "binds a gate again": (
        "x, h, W", ["g = W.g @ x", "g = tanh(g)", "h = h + g"], "`g` is bound a second time",
        "g = tanh(g)",
    ),
    "binds the input again": (
        "x, h, W", ["x = tanh(x)", "h = h + W.h @ x"], "`x` is bound a second time", "x = tanh(x)",
    ),
    "binds a family": (
        "x, h, W, b", ["b = W.b @ x", "h = h + b"], "`b` is bound a second time", "b = W.b @ x",
    ),
    "gives one value two names": (
        "x, h, W", ["g = W.g @ x", "k = g", "h = h + k"], "two names, `g` and `k`", "k = g",
    ),
    "leaves a family unused": (
        "x, h, W, U", ["h = h + W.h @ x"], "family `U` is never used", "def mine(x, h, W, U):",
    ),
    "uses a parameter as matrix and vector": (
        "x, h, W", ["g = W.g @ x", "h = h + g * W.g"], "`W.g` is a matrix from an earlier line",
        "h = h + g * W.g",
    ),
    "puts two shapes into one family": (
        "x, h, W", ["h = tanh(W.x @ x + W.h @ h)"], "two shapes, W.x is H x D and W.h is H x H",
        "h = tanh(W.x @ x + W.h @ h)",
    ),
    "uses a family whole and by its gates": (
        "x, h, W", ["g = W @ x", "h = h + g + W.h @ x"], "whole and by its gates", "h = h + g",
    ),
    "uses a family by its gates and whole": (
        "x, h, W", ["g = W.g @ x", "h = h + g + W @ x"], "whole and by its gates", "h = h + g",
    ),
    "multiplies from the left": ("x, h, W", ["h = h + x @ W.h"], "left of `@`", "h = h + x @ W.h"),
    "multiplies with @ by a number": ("x, h, W", ["h = h + W.h @ 2"], "by a number", "h = h + W"),
    "asks a value for a gate": ("x, h, W", ["h = h.i + W.h @ x"], "no `.i`", "h = h.i + W.h @ x"),
    "asks for no heads": (
        "x, h, W", ["h = W.h @ x + block_diagonal(W.r, 0) @ h"], "wanted a whole number",
        "h = W.h @ x + block",
    ),
    "asks for a head that is no number": (
        "x, h, W, R", ["h = W.h @ x + block_diagonal(R.r, True) @ h"], "got True heads", "h = W.h",
    ),
    "puts the input through heads": (
        "x, h, R", ["h = h + block_diagonal(R.r, 2) @ x"], "shapes are mixed", "h = h + block",
    ),
    "forgets @ after block_diagonal": (
        "x, h, R", ["h = h + block_diagonal(R.r, 2) * h"], "multiplied with `@`", "h = h + block",
    ),
    "takes a row of a number": ("x, h, W", ["h = h + softmax(W.h @ x) * layer_norm(2 * h, 1, 0)"],
                               "gain and bias", "h = h + softmax"),
    "normalises with no epsilon": (
        "x, h, a, b", ["h = layer_norm(h, a.h, b.h, -1.0)"], "epsilon", "h = layer_norm",
    ),
    "gives a function too much": ("x, h, W", ["h = tanh(h, W.h @ x)"], "`tanh`", "h = tanh(h, W"),
    "gives a function too little": ("x, h, W", ["h = maximum(h) + W.h @ x"], "`maximum`", "h ="),
    "uses a number that is not finite": (
        "x, h, W", ["h = maximum(h, -math.inf) + W.h @ x"], "-inf", "h = maximum(h",
    ),
    "uses a complex number": ("x, h, W", ["h = 1j * h + W.h @ x"], "got complex", "h = 1j"),
    "names what does not exist": (
        "x, h, W", ["h = h + W.h @ x", "g = sigmoide(h)"], "NameError: name 'sigmoide'", "g = sig",
    ),
    "divides by zero": ("x, h, W", ["h = h + 1 / 0 * (W.h @ x)"], "ZeroDivisionError", "h = h + 1"),
    "adds a text": ("x, h, W", ["h = h + 'a'", "h = h + W.h @ x"], "got str 'a'", "h = h + 'a'"),
}  # fmt: skip


def mistaken(head, lines):
    states = " ".join(part for part in head.split(", ")[1:] if part.islower() and part in "hc")
    body = lines if "return" in lines[-1] else [*lines, f"return {states.replace(' ', ', ')}"]
    return "\n    ".join([f"def mine({head}):", *body]), states


@pytest.mark.parametrize("mistake", MISTAKES)
def test_error_names_file_and_line_and_shows_the_equation_when_a_cell(mistake):
    head, lines, part, shown = MISTAKES[mistake]
    source, states = mistaken(head, lines)
    made = define(source, states)
    with pytest.raises(CellError) as caught:
        _ = made.graph
    message = str(caught.value)
    assert part in message
    assert "\n" not in message
    place, _, rest = message.partition(": cell 'mine': ")
    file, _, line = place.partition(":")
    assert file.startswith("drawn") and file.endswith(".py") and rest
    told = source.splitlines()[int(line) - 1].strip()
    assert f"; in `{told}`" in message
    assert told.startswith(shown)


def test_error_in_a_cell_without_source_still_names_its_line():
    made = define("def mine(x, h, W):\n    h = x\n    return h", "h", remember=False)
    with pytest.raises(CellError, match=r"^drawn\d+.py:2: cell 'mine': [^;]*; use one of them$"):
        _ = made.graph


def test_error_shows_the_line_of_the_cell_when_a_function_it_calls_fails():
    source = "def inner(z):\n    return z ** 2\ndef mine(x, h, W):\n    return inner(h) + W.h @ x\n"
    with pytest.raises(CellError, match=r":4: cell 'mine'.*in `return inner\(h\) \+ W.h @ x`"):
        _ = define(source, "h").graph


HEADS = {
    "x, c, h, W": ("h c", r"it takes \(c, h\), but `state=` names \(h, c\)"),
    "x, W": ("h", r"it takes \(W\), but `state=` names \(h\)"),
    "x, h, W": ("", "no states; name at least one"),
    "": ("h", r"it takes \(\), but"),
    "x, h, *W": ("h", r"`\*W`"),
    "x, h, **W": ("h", r"`\*\*W`"),
    "x, h, *, W": ("h", "`W`"),
}


@pytest.mark.parametrize("head", HEADS)
def test_a_wrong_signature_is_refused_at_the_decorator(head):
    states, message = HEADS[head]
    with pytest.raises(CellError, match=r"^drawn\d+.py:1: cell 'mine': .*" + message):
        define(f"def mine({head}):\n    return h", states)


def test_a_decorator_without_the_names_of_states_says_what_to_write():
    message = r'^test_language\.py:\d+: @cell has to name the states, as in @cell\(state="h"\)'
    with pytest.raises(CellError, match=message):
        cell(lambda x, h: h)


def test_output_must_name_a_value_as_wide_as_the_layer():
    source = "def mine(x, h, W):\n    h = h + W.h @ x\n    y = tanh(x)\n    return h"
    with pytest.raises(CellError, match="names no value"):
        _ = define(source, "h", output="z").graph
    with pytest.raises(CellError, match="shapes are mixed: y has D"):
        _ = define(source, "h", output="y").graph


# What a trace finds.


def test_gates_take_the_names_of_the_variables_in_their_order():
    assert [name for name, _ in CELLS["lstm"].graph.gates] == ["i", "f", "g", "o"]
    assert [name for name, _ in CELLS["gru"].graph.gates] == ["r", "z", "n"]
    assert CELLS["lstm"].graph.families["W"].gates == ("i", "f", "g", "o")


def test_what_a_called_function_names_stays_inside_it():
    def gate(z):
        scaled = 0.5 * z
        return sigmoid(scaled)

    @cell(state="h")
    def calling(x, h, W):
        f = gate(W.f @ x)
        return f * h

    assert [name for name, _ in calling.graph.gates] == ["f"]


def test_shapes_follow_from_use():
    families = CELLS["mogrifier_lstm"].graph.families
    shapes = {name: family.shape for name, family in families.items()}
    assert shapes == {
        "Q": ("D", "H"), "R": ("H", "D"), "W": ("H", "D"), "U": ("H", "H"), "b": ("H",),
    }  # fmt: skip
    widths = {name: CELLS["mogrifier_lstm"].graph.nodes[i].shape for name, i in
              CELLS["mogrifier_lstm"].graph.gates}  # fmt: skip
    assert (widths["x1"], widths["h2"], widths["i"]) == (("D",), ("H",), ("H",))
    assert CELLS["peephole_lstm"].graph.families["V"].shape == ("H",)
    assert CELLS["multiplicative_rnn"].graph.families["U"].shape == ("H", "D", "H")
    headed = CELLS["slstm"].with_options(heads=4).graph
    assert headed.families["R"].shape == (4, "H/4", "H/4")


def test_roles_follow_from_use():
    roles = {
        name: {letter: family.role for letter, family in CELLS[name].graph.families.items()}
        for name in ("lstm", "peephole_lstm", "layer_norm_lstm", "multiplicative_rnn")
    }
    assert roles["lstm"] == {"W": "input", "U": "recurrent", "b": "bias"}
    assert roles["peephole_lstm"]["V"] == "diagonal"
    assert roles["layer_norm_lstm"]["alpha"] == "gain"
    assert roles["layer_norm_lstm"]["beta"] == "bias"
    assert roles["multiplicative_rnn"]["U"] == "recurrent"


def test_a_family_can_be_used_whole():
    @cell(state="h")
    def whole(x, h, W, U, b):
        return tanh(W @ x + U @ h + b)

    families = whole.graph.families
    assert {name: family.gates for name, family in families.items()} == dict.fromkeys("WUb", ("",))
    assert whole.fingerprint == CELLS["rnn"].fingerprint


def test_output_is_the_named_value_or_the_first_state():
    source = "def mine(x, c, W):\n    c = tanh(c + W.c @ x)\n    y = 2 * c\n    return c"
    inside, outside = define(source, "c").graph, define(source, "c", output="y").graph
    assert inside.output == inside.updated[0]
    assert dict(outside.gates)["y"] == outside.output


def test_any_word_can_be_a_gate():
    words = ("gate", "x", "W", "op", "line", "parameter", "forget")
    terms = " + ".join(f"W.{word} @ x" for word in words)
    graph = define(f"def mine(x, h, W):\n    return h + {terms}", "h").graph
    assert graph.families["W"].gates == words


def test_a_cell_without_source_works():
    made = define("def mine(x, h, W):\n    g = W.g @ x\n    return h + g", "h", remember=False)
    assert [name for name, _ in made.graph.gates] == ["g"]


def test_a_cell_can_be_part_of_another():
    @cell(state="h")
    def twice(x, h, W, U, b):
        first = CELLS["rnn"](x, h, W, U, b)
        return 0.5 * (first + h)

    assert [name for name, _ in twice.graph.gates] == ["first"]
    assert twice.graph.families == CELLS["rnn"].graph.families


def test_a_state_may_be_bound_several_times():
    @cell(state="h")
    def steps(x, h, W):
        h = h + W.a @ x
        h = tanh(h)
        return h  # noqa: RET504 - bound twice

    assert steps.graph.gates == ()


def test_tracing_gives_back_the_tracer_that_was_there():
    seen = []

    def tracer(frame, event, arg):
        seen.append(frame.f_code.co_name)

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        graph = define("def mine(x, h, W):\n    g = W.g @ x\n    return h + g", "h").graph
        after = sys.gettrace()
        with pytest.raises(CellError):
            _ = define("def mine(x, h, W):\n    g = x\n    return h + g", "h").graph
        after_error = sys.gettrace()
    finally:
        sys.settrace(before)
    assert after is after_error is tracer
    assert "test_tracing_gives_back_the_tracer_that_was_there" not in seen and seen
    assert [name for name, _ in graph.gates] == ["g"]


# Options.


def test_options_change_the_equations_and_nothing_else():
    changed = CELLS["rnn"].with_options(activation="relu")
    assert changed.options == {"activation": relu}
    assert CELLS["rnn"].options == {"activation": tanh}
    assert CELLS["rnn"].with_options() is CELLS["rnn"]
    assert changed.fingerprint == CELLS["rnn_relu"].fingerprint != CELLS["rnn"].fingerprint


def test_options_take_text_as_the_command_line_gives_it():
    assert CELLS["slstm"].with_options(heads="2").options == {"heads": 2}
    assert CELLS["gru"].with_options(update="take").options == {"update": "take"}
    assert CELLS["rnn"].with_options(activation=sigmoid).options == {"activation": sigmoid}


def rounded(x, h, W, mild: bool = False, rate: float = 0.5):
    return (rate * h if mild else h) + W.h @ x


WRONG_OPTIONS = [
    ("rnn", {"activatoin": "relu"}, "unknown name 'activatoin'.* Did you mean 'activation'"),
    ("rnn", {"activation": "relo"}, "unknown name 'relo'.* Did you mean 'relu'"),
    ("rnn", {"activation": [1]}, "activation"),
    ("lstm", {"activation": "relu"}, "cell 'lstm' has no options"),
    ("gru", {"update": "tkae"}, "unknown name 'tkae'; use one of keep, take. Did you mean 'take'"),
    ("slstm", {"heads": "many"}, "heads: got 'many'"),
    ("slstm", {"heads": 2.5}, "heads: got '2.5'"),
    ("rounded", {"mild": "perhaps"}, "mild: got 'perhaps'"),
    ("rounded", {"rate": "fast"}, "rate: got 'fast'"),
    ("rounded", {"rate": math.nan}, "rate: got 'nan'"),
]


@pytest.mark.parametrize(("name", "options", "message"), WRONG_OPTIONS)
def test_an_option_that_cannot_be_is_refused(name, options, message):
    made = cell(state="h")(rounded) if name == "rounded" else CELLS[name]
    with pytest.raises(ConfigError, match=r"^model.options.*" + message):
        made.with_options(**options)


def test_a_wrong_number_of_heads_is_refused():
    for heads in (0, -1):
        with pytest.raises(CellError, match=f"got {heads} heads"):
            _ = CELLS["slstm"].with_options(heads=heads).graph


def test_the_options_of_a_cell_without_its_function_are_fixed():
    back = Cell.from_dict(CELLS["rnn"].to_dict())
    with pytest.raises(ConfigError, match="its options are fixed"):
        back.with_options(activation="relu")
    with pytest.raises(CellError, match="brought back from its graph"):
        back(1.0)


# On tensors.


def as_arguments(graph, parameters):
    """Families as objects with the gates as attributes, or as the one tensor."""
    single = unstack(graph, parameters)
    families = []
    for name, family in graph.families.items():
        gates = {gate: single[f"{name}.{gate}"] for gate in family.gates if gate}
        families.append(SimpleNamespace(**gates) if gates else single[name])
    return families


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_called_on_tensors_is_one_step_of_the_reference(name, rng):
    graph = CELLS[name].graph
    units = units_for(graph, 4)
    parameters = draw_parameters(graph, 3, units, rng)
    x = torch.randn(5, 3, dtype=torch.float64, generator=rng)
    state = [torch.rand(5, units, dtype=torch.float64, generator=rng) for _ in graph.states]
    families = as_arguments(graph, parameters)
    order = [p for p in inspect.signature(CELLS[name].function).parameters if p in graph.families]
    by_name = dict(zip(graph.families, families, strict=True))
    arguments = [by_name[letter] for letter in order]
    called = torch.vmap(lambda x, *state: CELLS[name](x, *state, *arguments))(x, *state)
    values = step(graph, unstack(graph, parameters), x, tuple(state))
    called = called if isinstance(called, tuple) else (called,)
    assert_close(list(called), [values[index] for index in graph.updated])


def test_every_function_takes_tensors_as_well(rng):
    z = torch.rand(4, generator=rng, dtype=torch.float64)
    assert_close(softmax(z), torch.softmax(z, -1))
    assert_close(language.layer_norm(z, z, z), torch.nn.functional.layer_norm(z, (4,), z, z, 1e-5))
    assert_close(where(z > 0.5, z, -z), torch.where(z > 0.5, z, -z))
    blocks = torch.rand(2, 2, 2, generator=rng, dtype=torch.float64)
    assert_close(language.block_diagonal(blocks, 2) @ z, reference.TORCH["blocks"](blocks, z))
    tensor = torch.rand(3, 4, 4, generator=rng, dtype=torch.float64)
    assert_close(language.bilinear(tensor, z, z), torch.einsum("ijk,j,k->i", tensor, z, z))


def test_a_function_says_what_it_is():
    assert repr(Function("tanh")) == "tanh"
    assert repr(CELLS["lstm"]) == "<cell lstm: states h, c>"
    assert Node("add").args == ()
