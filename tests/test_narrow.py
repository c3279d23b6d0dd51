"""Processors other than this one: code for ARM's NEON, four numbers of float32 to a vector."""

import re

import llvmlite.binding as llvm
import pytest

from unspool.cells import CELLS
from unspool.engine.kernels import Host
from unspool.engine.llvm import generate
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


@pytest.mark.parametrize("dtype", FUSED)
@pytest.mark.parametrize("name", CELLS)
def test_code_for_neon_is_sound_and_multiplies_and_adds_in_one_instruction(name, dtype, machine):
    plan = schedule(CELLS[name].graph)
    # The step of a stream has a product in every cell; a diagonal one recurs without any.
    for program, reverse in ((plan.step, False), (plan.backward, True)):
        code = generate(program, dtype, NEON, reverse)
        module = llvm.parse_assembly(code.text)
        module.triple = NEON.triple
        module.verify()
        widths = set(re.findall(r"<(\d+) x (?:float|double)>", code.text))
        assert widths == {str(NEON.lanes({"float32": 4, "float64": 8}[dtype]))}
        if reverse and name not in KINDS:
            continue  # the machine's own code is the slow part
        assembly = machine.emit_assembly(module)
        assert re.search(FUSED[dtype], assembly) or not code.groups
        # Nothing but the library of mathematics, which every process has loaded.
        assert set(re.findall(r"\bbl\s+(\w+)", assembly)) <= {"logf", "log"}
