"""Processors other than this one: code for ARM's NEON, four numbers of float32 to a vector."""

import re
from functools import cache

import llvmlite.binding as llvm
import pytest

from unspool.cells import CELLS
from unspool.engine.kernels import Host
from unspool.engine.llvm import generate
from unspool.engine.products import product_code
from unspool.engine.schedule import schedule

NEON = Host("aarch64-unknown-linux-gnu", "generic", "+neon", vector_bytes=16, registers=32)
# What a multiply-add on whole registers looks like: four float32, or two float64.
FUSED = {"float32": r"fmla\s+v\d+\.4s", "float64": r"fmla\s+v\d+\.2d"}

# Cells whose way back is made as well: a stage, two, a product with a tensor, no product.
KINDS = ("lstm", "gru", "multiplicative_rnn", "linear")


@pytest.fixture(scope="module")
def machine():
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        target = llvm.Target.from_triple(NEON.triple)
    except RuntimeError as error:
        pytest.skip(f"this build of LLVM knows no AArch64 ({error})")
    return target.create_target_machine(cpu=NEON.cpu, features=NEON.features, opt=0)


def checked(text):
    """A module, verified, for the foreign machine."""
    module = llvm.parse_assembly(text)
    module.triple = NEON.triple
    module.verify()
    return module


@pytest.fixture(scope="module")
def products(machine):
    """The assembly of product functions, made once for each size."""
    return cache(lambda *sizes: machine.emit_assembly(checked(product_code(*sizes))))


@pytest.mark.parametrize("dtype", FUSED)
@pytest.mark.parametrize("name", CELLS)
def test_code_for_neon_is_sound_and_multiplies_and_adds_in_one_instruction(
    name, dtype, machine, products
):
    plan = schedule(CELLS[name].graph)
    # The step of a stream has a product in every cell; a diagonal one recurs without any.
    for program, reverse in ((plan.step, False), (plan.backward, True)):
        code = generate(program, dtype, NEON, reverse)
        module = checked(code.text)
        texts = [code.text, *(product_code(dtype, NEON, *sizes) for sizes in code.products)]
        widths = set(re.findall(r"<(\d+) x (?:float|double)>", "".join(texts)))
        assert widths - {"1"} == {str(NEON.lanes({"float32": 4, "float64": 8}[dtype]))}
        made = [products(dtype, NEON, *sizes) for sizes in code.products]
        assert bool(made) == bool(code.groups)
        assert all(re.search(FUSED[dtype], assembly) for assembly in made)
        if reverse and name not in KINDS:
            continue  # the machine's own code is the slow part
        made.append(machine.emit_assembly(module))
        # Nothing but the library of mathematics, which every process has loaded.
        assert set(re.findall(r"\bbl\s+(\w+)", "".join(made))) <= {"logf", "log"}
