"""Finds numbers that are asked whether they are true: `limit_kw or rating_kw` turns a limit of 0 kW into none.

`None` is unknown and 0.0 is zero in this house, so a number is compared (`is None`, `== 0`), never tested. A type checker
does not see it for `float | None`; this reads annotations of arguments, variables and attributes from the syntax tree.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

_NUMBERS = frozenset({"float", "int", "Decimal"})
_TRANSPARENT = frozenset({"Final", "ClassVar", "Annotated", "Optional"})
Function = ast.FunctionDef | ast.AsyncFunctionDef


def is_number(annotation: ast.expr | None) -> bool:
    """Return whether an annotation says: a number, or a number or None."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return is_number(ast.parse(annotation.value, mode="eval").body)
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        sides = [side for side in (annotation.left, annotation.right) if not _is_none(side)]
        return bool(sides) and all(is_number(side) for side in sides)
    if isinstance(annotation, ast.Subscript):
        inner = annotation.slice.elts[0] if isinstance(annotation.slice, ast.Tuple) else annotation.slice
        return _last_name(annotation.value) in _TRANSPARENT and is_number(inner)
    return annotation is not None and _last_name(annotation) in _NUMBERS


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def numeric_attributes(classes: Iterable[ast.ClassDef]) -> frozenset[str]:
    """Return the attribute names that are numbers in every class that declares them."""
    numeric: set[str] = set()
    other: set[str] = set()
    for owner in classes:
        for name, annotation in _declared(owner):
            (numeric if is_number(annotation) else other).add(name)
    return frozenset(numeric - other)


def _declared(owner: ast.ClassDef) -> Iterator[tuple[str, ast.expr | None]]:
    """Yield the attributes of a class with their annotations: fields, and properties by what they return."""
    for node in owner.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, node.annotation
        elif isinstance(node, Function):
            is_property = any(_last_name(each) in {"property", "cached_property"} for each in node.decorator_list)
            yield node.name, node.returns if is_property else None


def find(tree: ast.Module, attributes: frozenset[str]) -> list[tuple[int, str]]:
    """Return line and text of each number tested for truth.

    Args:
        tree: The module.
        attributes: Attribute names that are numbers wherever they occur, see `numeric_attributes`.
    """
    found: list[tuple[int, str]] = []
    _visit(tree, frozenset(), attributes, found)
    return found


def _visit(node: ast.AST, names: frozenset[str], attributes: frozenset[str], found: list[tuple[int, str]]) -> None:
    if isinstance(node, Function | ast.Lambda):
        names = (names - _bound_names(node)) | _number_names(node)
    for tested in _tested(node):
        name = _numeric_name(tested, names, attributes)
        if name is not None:
            found.append(
                (tested.lineno, f"{name} is a number: compare it (`is None`, `== 0`), do not test it for truth")
            )
    for child in ast.iter_child_nodes(node):
        _visit(child, names, attributes, found)


def _arguments(function: Function | ast.Lambda) -> list[ast.arg]:
    return [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]


def _bound_names(function: Function | ast.Lambda) -> frozenset[str]:
    """Return the names that a function makes its own, which hide those of the function around it."""
    assigned = {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return frozenset({each.arg for each in _arguments(function)} | assigned)


def _number_names(function: Function | ast.Lambda) -> frozenset[str]:
    """Return the arguments and annotated variables of a function that are numbers."""
    names = {each.arg for each in _arguments(function) if is_number(each.annotation)}
    for node in ast.walk(function):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and is_number(node.annotation):
            names.add(node.target.id)
    return frozenset(names)


def _tested(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the expressions whose truth a node asks for; the last operand of `or` is a value unless it is a condition."""
    match node:
        case ast.BoolOp():
            yield from node.values[:-1]
        case ast.If() | ast.While() | ast.IfExp() | ast.Assert():
            yield from _condition(node.test)
        case ast.UnaryOp(op=ast.Not()):
            yield from _condition(node.operand)
        case ast.comprehension():
            for condition in node.ifs:
                yield from _condition(condition)
        case ast.Call(func=ast.Name(id="bool"), args=[only]):
            yield from _condition(only)
        case _:
            pass


def _condition(test: ast.expr) -> Iterator[ast.expr]:
    """Yield what a condition tests beyond what its own `and` and `or` already do."""
    if isinstance(test, ast.BoolOp):
        yield from _condition(test.values[-1])
    else:
        yield test


def _numeric_name(tested: ast.expr, names: frozenset[str], attributes: frozenset[str]) -> str | None:
    if isinstance(tested, ast.Name) and tested.id in names:
        return tested.id
    if isinstance(tested, ast.Attribute) and tested.attr in attributes:
        return ast.unparse(tested)
    return None
