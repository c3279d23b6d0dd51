"""Cells for a person to read: equations as written, parameters, schedule, machine code."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping
from typing import Any

from unspool.engine.language import Cell
from unspool.engine.latex import plain


def equations(cell: Cell) -> list[str]:
    """The lines of a cell's function between its docstring and its return, as written.

    Where there is no source to show, or it ends in a formula, the equations of the graph.

    Example:
        >>> from unspool.cells import CELLS
        >>> equations(CELLS["rnn"])
        ['h = activation(W.h @ x + U.h @ h + b.h)']
    """
    try:
        source = textwrap.dedent(inspect.getsource(cell.function))  # type: ignore[arg-type]
        function = ast.parse(source).body[0]
    except (OSError, SyntaxError, TypeError):  # brought back, made by exec, part of a line
        return plain(cell).splitlines()
    if not isinstance(function, ast.FunctionDef) or not _returns_names(function):
        return plain(cell).splitlines()
    spoken = [part for part in function.body if not isinstance(part, ast.Expr | ast.Return)]
    lines = source.splitlines()[spoken[0].lineno - 1 : spoken[-1].end_lineno]
    return textwrap.dedent("\n".join(lines)).splitlines()


def _returns_names(function: ast.FunctionDef) -> bool:
    """Whether the last line only hands on what the lines above computed."""
    last = function.body[-1]
    if len(function.body) < 2 or not isinstance(last, ast.Return):
        return False
    value = last.value
    parts = value.elts if isinstance(value, ast.Tuple) else [value]
    return all(isinstance(part, ast.Name) for part in parts)


def cell_record(
    name: str, cell: Cell, features: int, hidden: int, latex: bool = False
) -> dict[str, Any]:
    """A cell as plain data: what `unspool cells --json` prints.

    Args:
        name: what the user calls it.
        cell: its equations.
        features: D, for the counts.
        hidden: H.
        latex: write the equations as mathematics too.
    """
    graph = cell.graph
    record: dict[str, Any] = {
        "name": name,
        "description": (cell.__doc__ or "").partition("\n")[0],
        "states": list(cell.states),
        "gates": [gate for gate, _ in graph.gates],
        "options": {option: str(value) for option, value in cell.options.items()},
        "equations": equations(cell),
        "parameters": [
            {
                "name": f"{family.name}.{gate}" if gate else family.name,
                "shape": list(family.shape),
                "role": family.role,
            }
            for family in graph.families.values()
            for gate in family.gates
        ],
        "features": features,
        "hidden": hidden,
        "parameter_count": graph.parameter_count(features, hidden),
    }
    if latex:
        from unspool.engine.latex import latex as mathematics

        record["latex"] = mathematics(cell)
    return record


def machine_record(cell: Cell, schedule: bool, llvm: bool) -> dict[str, str]:
    """What a cell becomes: its ``schedule`` in words, its ``llvm`` code, each if asked for."""
    from unspool.engine import listing
    from unspool.engine.schedule import schedule as arrange

    record = {}
    if schedule:
        record["schedule"] = listing.describe(arrange(cell.graph))
    if llvm:
        record["llvm"] = listing.llvm_text(cell)
    return record


def cell_text(record: Mapping[str, Any]) -> str:
    """A cell for a person to read; ``record`` is what `cell_record` gives."""
    shapes: dict[str, list[str]] = {}
    for each in record["parameters"]:
        shape = " × ".join(map(str, each["shape"])) or "scalar"
        shapes.setdefault(shape, []).append(each["name"])
    options = "".join(f"; option {name} = {value}" for name, value in record["options"].items())
    lines = [
        f"{record['name']}: {record['description']}".removesuffix(": "),
        *(f"    {line}" for line in record["equations"]),
        *record.get("latex", "").splitlines(),
        f"  states {', '.join(record['states'])}{options}",
        *(f"  {', '.join(names)}: {shape}" for shape, names in shapes.items()),
        f"  {record['parameter_count']:,} parameters at D = {record['features']}, "
        f"H = {record['hidden']}",
        *record.get("schedule", "").splitlines(),
        *record.get("llvm", "").splitlines(),
    ]
    return "\n".join(lines)
