"""Which statement is executed, and is it one of the forms that are allowed? Read in syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator

EXECUTES = {"execute", "executemany", "copy", "stream"}
FILES = {"SQL", "_SQL"}
"""What modules call the statements of a file."""

Around = tuple[ast.AST, ...]
"""The functions and the module that a statement stands in, from the inside out."""


def executed_in(node: ast.AST, around: Around = ()) -> Iterator[tuple[ast.expr, Around]]:
    """Every statement that is executed in a tree, with what it stands in; without one, the call itself."""
    if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        around = (node, *around)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in EXECUTES:
        yield node.args[0] if node.args else node, around
    for child in ast.iter_child_nodes(node):
        yield from executed_in(child, around)


def is_allowed(statement: ast.expr, around: Around) -> bool:
    """Whether it is a statement of a file, a literal, or put together by what quotes; a name is what it was made as."""
    match statement:
        case ast.IfExp(body=body, orelse=other):
            found = is_allowed(body, around) and is_allowed(other, around)
        case ast.Name(id=name):
            found = _is_made_so(name, around)
        case ast.Subscript(value=ast.Name(id=name)):
            found = name in FILES
        case (
            ast.Constant(value=str() | bytes())
            | ast.Subscript(value=ast.Call(func=ast.Name(id="statements")))
            | ast.Call(func=ast.Name(id="template"), args=[ast.Constant(), *_])
            | ast.Call(func=ast.Attribute(value=ast.Name(id="sql"), attr="SQL"), args=[ast.Constant()])
        ):
            found = True
        case ast.Call(func=ast.Attribute(value=ast.Call(func=made) as text, attr="format")):
            found = ast.unparse(made) == "sql.SQL" and is_allowed(text, around)
        case _:
            found = False
    return found


def _is_made_so(name: str, around: Around) -> bool:
    """Whether everything that a name is given, in the innermost place that gives it something, is allowed."""
    for place in around:
        given = list(_given(name, place))
        if given:
            return all(value is not None and is_allowed(value, around) for value in given)
    return False


def _given(name: str, place: ast.AST) -> Iterator[ast.expr | None]:
    """What a name is given in a function or module; None for what can't be followed."""
    if not isinstance(place, ast.Module):
        arguments = place.args  # type: ignore[attr-defined]
        yield from (None for one in ast.walk(arguments) if isinstance(one, ast.arg) and one.arg == name)
    for node in place.body if isinstance(place, ast.Module) else ast.walk(place):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            yield from _assigned(name, node)
        elif not isinstance(place, ast.Module):
            yield from _given_otherwise(name, node)


def _assigned(name: str, node: ast.Assign | ast.AnnAssign) -> Iterator[ast.expr | None]:
    """One of several at once can't be followed."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    for target in targets:
        if isinstance(target, ast.Name) and target.id == name:
            yield node.value
        elif isinstance(target, ast.Tuple | ast.List) and _has(name, target):
            yield None


def _given_otherwise(name: str, node: ast.AST) -> Iterator[None]:
    """By a loop, a `with`, a walrus, an addition, or one of several at once."""
    parents = (ast.For, ast.AsyncFor, ast.comprehension, ast.withitem, ast.NamedExpr, ast.AugAssign)
    targets = [getattr(node, "target", None), getattr(node, "optional_vars", None)]
    if isinstance(node, parents):
        yield from (None for target in targets if target and _has(name, target))


def _has(name: str, target: ast.AST) -> bool:
    return any(isinstance(one, ast.Name) and one.id == name for one in ast.walk(target))
