"""What runs when: hoisted out of time, in stages inside it, kept or computed again."""

import pytest
from hypothesis import given, settings

from equations import make_cell, sources
from scanning import unchecked
from unspool.cells import CELLS
from unspool.engine.gradient import RULES
from unspool.engine.graph import depends_on_state, mask_recurrent_products
from unspool.engine.language import cell, layer_norm, sigmoid, tanh
from unspool.engine.listing import describe, llvm_text
from unspool.engine.nodes import COMPARISONS
from unspool.engine.schedule import schedule
from unspool.engine.stages import CHEAP, FUNCTIONS, PRODUCTS


@pytest.fixture(autouse=True)
def quick():
    with unchecked():
        yield


with unchecked():
    PLANS = {name: schedule(member.graph) for name, member in CELLS.items()}
ROW_SUMS = ("row_sum", "row_max")
every_plan = pytest.mark.parametrize("name", PLANS)


def check_hoisting(plan):
    """No product or sum of the input is left inside the loop, nothing recurrent taken out of it.

    What follows elementwise from single sums W x + b may be computed by the sweep that reads it,
    with the sums over a row on the way where something recurrent sums over rows as well; what is
    compared is, because memory holds numbers.
    """
    whole, core = plan.split.whole, plan.split.core
    recurrent = depends_on_state(whole)
    assert not any(recurrent[index] for index in (*plan.split.streams, *plan.split.prepared))
    depends = depends_on_state(core)
    masked = [node.op == "sequence" for node in core.nodes]
    free = []
    mixing = ("matmul", "bilinear", "row_sum")
    mixes = any(d and n.op in mixing for d, n in zip(recurrent, whole.nodes, strict=True))
    sums = [not recurrent[i] and n.op in ("matmul", "add") for i, n in enumerate(whole.nodes)]
    for index, node in enumerate(core.nodes):
        masked[index] = masked[index] or any(masked[arg] for arg in node.args)
        if node.op in COMPARISONS:
            continue
        if node.args and not (depends[index] or masked[index]):
            assert node.op in RULES and (mixes or node.op not in ROW_SUMS), (
                f"{node} could be hoisted"
            )
            free.append(index)
    if free:  # then in place of their streams, not beside them
        assert all(sums[index] for index in plan.split.streams)


def check_order(program, nodes):
    """Every value is there before it is read: products read complete vectors."""
    done, gathered = set(program.given), set()
    done |= {i for i, node in enumerate(nodes) if not node.args}
    stored = set(program.given) | {i for i, node in enumerate(nodes) if not node.args}

    def is_there(index):
        """A number a row is made on the spot of others."""
        known = index in here | done | gathered
        number = nodes[index].shape in ((), (1,)) and nodes[index].op not in ("row_sum", "row_max")
        return known or (number and all(is_there(arg) for arg in nodes[index].args))

    for stage in program.stages:
        here = set()
        for group in stage.groups:
            for terms in group.terms:
                assert all(operand in stored for _, operand, _ in terms)
            here |= set(group.nodes)
        for node in stage.nodes:
            for arg in nodes[node].args:
                assert is_there(arg), f"{nodes[node]} reads what is not there yet"
            here.add(node)
        done |= here
        stored |= set(stage.stores)
        gathered |= {*stage.sums, *stage.scalars}


@every_plan
def test_only_what_recurs_is_inside_the_loop(name):
    check_hoisting(PLANS[name])


@every_plan
def test_every_product_reads_a_vector_that_is_complete(name):
    plan = PLANS[name]
    check_order(plan.forward, plan.forward.nodes)
    check_order(plan.backward, plan.backward.nodes)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(source=sources())
def test_schedule_of_a_drawn_cell_hoists_all_it_can_and_reads_nothing_early(source):
    plan = schedule(make_cell(source).graph)
    check_hoisting(plan)
    check_order(plan.forward, plan.forward.nodes)
    check_order(plan.backward, plan.backward.nodes)
    assert describe(plan)


@pytest.mark.parametrize(
    ("name", "stages"),
    [("rnn", 1), ("lstm", 1), ("peephole_lstm", 1), ("gru_reset_after", 1), ("gru", 2),
     ("multiplicative_lstm", 2), ("mgu", 2), ("linear", 1)],
)  # fmt: skip
def test_step_has_as_many_stages_as_products_wait_for_one_another(name, stages):
    assert len(PLANS[name].forward.stages) == stages


def test_row_operation_ends_a_stage():
    @cell(state="h")
    def normed(x, h, W, U, gain, bias):
        return tanh(layer_norm(h * (W.h @ x + U.h @ h), gain.h, bias.h))

    stages = schedule(normed.graph).forward.stages
    assert len(stages) == 3, "the sum, the squares, what is made of them"
    assert stages[0].sums
    assert stages[1].sums
    assert not stages[2].sums


def test_mean_of_a_norm_is_taken_out_of_the_parameters_when_all_of_the_sum_is_made_of_them():
    @cell(state="h")
    def normed(x, h, W, U, b, gain, bias):
        return tanh(layer_norm(W.h @ x - U.h @ h + b.h, gain.h, bias.h))

    plan = schedule(normed.graph)
    forward = plan.forward.stages
    assert [len(stage.sums) for stage in forward] == [1, 0], "only the squares are summed"
    assert [len(stage.sums) for stage in plan.backward.stages] == [1, 0, 0]
    names = {n.name for n in plan.split.whole.nodes if n.name.endswith("(centred)")}
    assert names == {"W.h(centred)", "U.h(centred)", "b.h(centred)"}


def test_sum_that_is_read_elsewhere_too_is_not_centred_in_its_parameters():
    @cell(state="h")
    def shared(x, h, W, U, gain, bias):
        z = W.h @ x + U.h @ h
        return tanh(layer_norm(z, gain.h, bias.h)) + z

    assert not any(n.name.endswith("(centred)") for n in schedule(shared.graph).split.whole.nodes)


def test_norm_of_the_input_alone_is_computed_by_the_sweep_of_the_step():
    plan = PLANS["layer_norm_lstm"]
    hoisted = describe(plan).partition("The step")[0]
    assert "rsqrt" not in hoisted
    assert hoisted.count("(centred) @ x") == 4
    assert not any(n.name.startswith("W.") for n in plan.split.core.nodes)


@pytest.mark.parametrize("masked", [False, True])
def test_gates_of_an_lstm_are_summed_side_by_side(masked):
    graph = CELLS["lstm"].graph
    plan = schedule(mask_recurrent_products(graph) if masked else graph)
    groups = [group for stage in plan.forward.stages for group in stage.groups]
    assert [len(group.nodes) for group in groups] == [4]


def test_sums_are_reordered_so_that_more_is_hoisted():
    @cell(state="h")
    def scattered(x, h, W, U, V, b):
        return tanh(((W.a @ x + U.a @ h) + b.a) + (V.a * h - (b.b - W.b @ x)))

    plan = schedule(scattered.graph)
    assert len(plan.split.streams) == 1
    hoisted = describe(plan).partition("The step")[0]
    assert all(name in hoisted for name in ("W.a", "W.b", "b.a", "b.b"))


def test_value_computed_from_parameters_alone_is_prepared_once():
    @cell(state="h")
    def scaled(x, h, W, U, V):
        return tanh(W.h @ x + sigmoid(V.h) * (U.h @ h))

    plan = schedule(scaled.graph)
    assert len(plan.split.prepared) == 1
    assert "p0 = sigmoid(V.h)" in describe(plan)


@every_plan
def test_what_is_kept_is_dear_or_an_operand_and_what_is_computed_again_is_cheap(name):
    plan = PLANS[name]
    nodes, operands = plan.gradient.nodes, {outer.operand for outer in plan.gradient.matrices}
    assert all(nodes[i].op not in CHEAP or i in operands for i in plan.kept)
    assert all(nodes[i].op in (*CHEAP, *FUNCTIONS) for i in plan.again)
    there = {*plan.kept, *plan.split.core.updated, plan.split.core.output}
    for i in plan.again:
        if nodes[i].op in FUNCTIONS:  # of what is read anyway
            assert all(arg in there or not nodes[arg].args for arg in nodes[i].args)
    assert not plan.kept & plan.again


@every_plan
def test_way_back_computes_no_product_of_the_step_again_and_no_function_but_of_what_is_read(name):
    plan = PLANS[name]
    program, functions = plan.backward, set()
    for stage in program.stages:
        for index in stage.nodes:
            assert program.nodes[index].op not in (*PRODUCTS, "log")
            functions |= {index} if program.nodes[index].op in FUNCTIONS else set()
    again = [i for i in plan.again if plan.gradient.nodes[i].op in FUNCTIONS]
    assert len(functions) <= len(again)


# What a person reads.


def test_printed_schedule_of_an_lstm_says_all_of_it():
    text = describe(PLANS["lstm"])
    for line in (
        "Before the loop, for all steps at once",
        "s0 = W.i @ x + b.i",
        "The step: 1 stage",
        "sums side by side: U.i @ h, U.f @ h, U.g @ h, U.o @ h",
        "i = sigmoid(s0 + U.i @ h)",
        "c' = f * c + i * g",
        "i, f, g, o: dearer to compute than to read",
        "tanh(c'): cheaper to compute than to read",
        "The step backwards: 2 stages",
        "∂U.i = Σ ∂s0 hᵀ",
    ):
        assert line in text, line


@every_plan
def test_printed_schedule_names_every_gate_and_every_parameter(name):
    text = describe(PLANS[name])
    graph = PLANS[name].split.whole
    for node in graph.nodes:
        assert node.op != "parameter" or node.name in text, node.name
    for gate, _ in CELLS[name].graph.gates:
        assert gate in text, gate


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("backward", [False, True])
def test_printed_code_is_that_of_the_dtype(dtype, backward):
    text = llvm_text(CELLS["gru"], dtype, backward)
    element = {"float32": "float", "float64": "double"}[dtype]
    assert f"x {element}>" in text
    assert "llvm.fma" in text
