"""Checks the rules of the house that no linter knows: size, names, truthiness, errors, tasks, texts and lock files.

`python -m scripts.house_rules` reads the tree and prints one line for each breach. The rules and their reasons are in
CONTRIBUTING.md.
"""

from __future__ import annotations

import ast
import dataclasses
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from typing_extensions import override

from scripts import house_texts, truthiness

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("gateway", "bidding", "scripts")
LONGEST_FUNCTION = 60
LONGEST_FUNCTION_P90 = 35
LONGEST_MODULE = 400
VAGUE_NAMES = frozenset({"util", "utils", "helper", "helpers", "common", "manager", "base", "misc", "stuff"})
BROAD_EXCEPT_ALLOWED = frozenset({"gateway/app/supervise.py", "gateway/rpc/door.py"})
"""The job runner and the RPC door; both log and count."""
LOOP_GETTERS = frozenset({"get_event_loop", "get_running_loop", "new_event_loop"})
Function = ast.FunctionDef | ast.AsyncFunctionDef
Nodes = Iterable[ast.AST]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Breach:
    """One place where the house's rules do not hold.

    Attributes:
        path: The file, relative to the project.
        line: Counted from 1; 0 when it is about the whole file.
        text: What is wrong, with the rule.
    """

    path: str
    line: int
    text: str

    @override
    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


def is_ours(path: str) -> bool:
    """Return whether people write the file: not generated code, not a migration."""
    return (
        path.startswith(tuple(f"{source}/" for source in SOURCES)) and "/v1/" not in path and "/migrations/" not in path
    )


def function_lines(function: Function) -> int:
    """Return the lines of a function from `def` to its end, without its docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function, clean=False) is not None:
        docstring = function.body[0]
        lines -= (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1
    return lines


def code_lines(source: str) -> int:
    """Return the number of lines that are neither blank nor only a comment."""
    return sum(1 for line in source.splitlines() if line.strip() and not line.strip().startswith("#"))


def percentile_90(lengths: Iterable[int]) -> int:
    """Return the length that nine of ten functions do not exceed; 0 without functions."""
    ordered = sorted(lengths)
    return ordered[int(0.9 * len(ordered))] if ordered else 0


def check_size(path: str, source: str, nodes: Nodes) -> Iterator[Breach]:
    """Yield modules and functions that are too long and modules whose name says nothing."""
    lines = code_lines(source)
    if lines > LONGEST_MODULE:
        yield Breach(path=path, line=0, text=f"{lines} lines of code, at most {LONGEST_MODULE}: split it by meaning")
    vague = sorted(VAGUE_NAMES & set(Path(path).stem.split("_")))
    if vague:
        yield Breach(path=path, line=0, text=f"a module called {vague[0]!r} says nothing: name what it is about")
    for function in functions_of(nodes):
        if function_lines(function) > LONGEST_FUNCTION:
            text = f"{function.name} has {function_lines(function)} lines, at most {LONGEST_FUNCTION}"
            yield Breach(path=path, line=function.lineno, text=text)


def functions_of(nodes: Nodes) -> Iterator[Function]:
    """Yield every function and method."""
    return (node for node in nodes if isinstance(node, Function))


def check_annotations(path: str, nodes: Nodes) -> Iterator[Breach]:
    """Yield functions with an argument or a result that has no type."""
    for function in functions_of(nodes):
        arguments = function.args
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        extra = [each for each in (arguments.vararg, arguments.kwarg) if each is not None]
        bare = [each.arg for each in [*named, *extra] if each.annotation is None and each.arg not in {"self", "cls"}]
        if function.returns is None:
            bare.append("its result")
        if bare:
            yield Breach(path=path, line=function.lineno, text=f"{function.name} gives no type for {', '.join(bare)}")


def check_errors(path: str, nodes: Nodes) -> Iterator[Breach]:
    """Yield handlers that catch everything outside the two files that may; cleaning up and raising again is fine."""
    if path in BROAD_EXCEPT_ALLOWED:
        return
    for node in nodes:
        if isinstance(node, ast.ExceptHandler) and _is_broad(node.type) and not _raises_again(node):
            text = "catches every exception: name the errors; only the job runner and the RPC door may"
            yield Breach(path=path, line=node.lineno, text=text)


def _is_broad(caught: ast.expr | None) -> bool:
    kinds = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(
        kind is None or (isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"}) for kind in kinds
    )


def _raises_again(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def check_tasks(path: str, nodes: Nodes) -> Iterator[Breach]:
    """Yield tasks that nobody waits for: `create_task` on asyncio or a loop instead of on a TaskGroup."""
    for node in nodes:
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if node.func.attr in {"create_task", "ensure_future"} and _is_loop(node.func.value):
            yield Breach(path=path, line=node.lineno, text=f"{node.func.attr} on the loop: use asyncio.TaskGroup")


def _is_loop(owner: ast.expr) -> bool:
    if isinstance(owner, ast.Call):
        function = owner.func
        return (function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")) in LOOP_GETTERS
    name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
    return name == "asyncio" or name.endswith("loop")


def check_source(path: str, source: str, numeric_attributes: frozenset[str] = frozenset()) -> list[Breach]:
    """Return the breaches of one Python file of ours.

    Args:
        path: Relative to the project, with forward slashes.
        source: The file's text.
        numeric_attributes: Names that are a number, or a number or None, in every class of the project that has them.
    """
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    found = [*check_size(path, source, nodes), *check_annotations(path, nodes)]
    found += [*check_errors(path, nodes), *check_tasks(path, nodes)]
    found += [Breach(path=path, line=line, text=text) for line, text in truthiness.find(tree, numeric_attributes)]
    return found


def check_tree(sources: dict[str, str]) -> list[Breach]:
    """Return the breaches of all Python files of ours, given as path and text."""
    nodes = [node for source in sources.values() for node in ast.walk(ast.parse(source))]
    attributes = truthiness.numeric_attributes(node for node in nodes if isinstance(node, ast.ClassDef))
    found = [breach for path, source in sources.items() for breach in check_source(path, source, attributes)]
    p90 = percentile_90(function_lines(function) for function in functions_of(nodes))
    if p90 > LONGEST_FUNCTION_P90:
        found.append(
            Breach(
                path=".", line=0, text=f"nine of ten functions have up to {p90} lines, at most {LONGEST_FUNCTION_P90}"
            )
        )
    if sources.get("gateway/__init__.py", "").strip():
        found.append(Breach(path="gateway/__init__.py", line=0, text="must stay empty: a solver process loads no gRPC"))
    return found


def main(root: Path = ROOT) -> int:
    """Check the whole project; return the exit code."""
    texts = house_texts.read_texts(root)
    found = check_tree({path: text for path, text in texts.items() if path.endswith(".py") and is_ours(path)})
    found += [Breach(path=path, line=line, text=text) for path, line, text in house_texts.find(texts, root)]
    found += [Breach(path="pyproject.toml", line=0, text=text) for text in house_texts.find_unruled_rooms(root)]
    for breach in found:
        print(breach)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
