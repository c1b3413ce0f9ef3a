"""A hash of the code that a function runs within tasks.priming, definition by definition.

In: "module:function". Out: a digest of the syntax trees of that function and of everything in tasks.priming that it
names, directly or not: functions, classes, constants, in whatever module. Comments, docstrings and decorators do not
count, nor does a definition that the function never names, so that editing one prompt leaves alone what another sends.

What is hashed is what this process runs: see sources.py.
"""

import ast
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from threading import Lock

from tasks.store.artifacts import ROOT, digest
from tasks.store.sources import PACKAGE, source_of

_WHOLE = "*"
"""Stands for a module's name of everything: used where a module itself is named."""

_PARSING = Lock()
"""Held while code is parsed: chunks are begun in threads, and two that parse at once break each other in Python 3.11
("AST constructor recursion depth mismatch"), upon which Prefect would not remember the chunk's result."""


def code_digest(computation: str) -> str:
    """Return the hash of a computation's code.

    Args:
        computation: "module:function", e.g. "tasks.priming.scoring:score_family".

    Raises:
        ValueError: There is no such module or function in this checkout.
    """
    with _PARSING:
        return _code_digest(computation)


def package_digest() -> str:
    """Return the hash of all code that can change a number: every definition of tasks.priming."""
    with _PARSING:
        return _package_digest()


@cache
def _package_digest() -> str:
    modules = [_module(path) for path in sorted(_path(PACKAGE).parent.rglob("*.py"))]
    return digest({f"{module}:{name}": _dump(module, name) for module in modules for name in _definitions(module)})


@cache
def _code_digest(computation: str) -> str:
    module, _, function = computation.partition(":")
    if not _is_module(module) or function not in _definitions(module):
        raise ValueError(f"There is no computation {computation!r}; it is written module:function.")
    return digest({f"{m}:{n}": _dump(m, n) for m, n in _closure(module, function)})


def _closure(module: str, name: str) -> list[tuple[str, str]]:
    """Return (module, name) of all definitions that a definition reaches, sorted."""
    found: set[tuple[str, str]] = set()
    waiting = [(module, name)]
    while waiting:
        place = waiting.pop()
        if place not in found:
            found.add(place)
            waiting += _named_by(*place)
    return sorted(found)


def _named_by(module: str, name: str) -> Iterator[tuple[str, str]]:
    """Yield the definitions of tasks.priming that one definition names."""
    definitions = _definitions(module)
    if name == _WHOLE:
        yield from ((module, other) for other in definitions)
        return
    for statement in definitions.get(name, ()):
        if isinstance(statement, ast.Import | ast.ImportFrom):
            yield from _imported(statement, name)
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.Import | ast.ImportFrom):  # inside a function, or an if
                for alias in node.names:
                    yield from _imported(node, alias.asname or alias.name)
            elif isinstance(node, ast.Name | ast.Attribute):
                used = ast.unparse(node)  # dotted, as `import tasks.priming.prompts` has it
                if used in definitions and used != name:
                    yield module, used


def _imported(statement: ast.Import | ast.ImportFrom, name: str) -> Iterator[tuple[str, str]]:
    """Yield what of tasks.priming an import binds to a name, in either form of import."""
    for alias in statement.names:
        if (alias.asname or alias.name) != name:
            continue
        if isinstance(statement, ast.Import):
            if _is_module(alias.name):
                yield alias.name, _WHOLE
        elif _is_module(f"{statement.module}.{alias.name}"):
            yield f"{statement.module}.{alias.name}", _WHOLE
        elif _is_module(statement.module or ""):
            yield str(statement.module), alias.name


@cache
def _definitions(module: str) -> dict[str, list[ast.stmt]]:
    """Return the top-level statements of a module by the names that they define or change."""
    definitions: dict[str, list[ast.stmt]] = {}
    for statement in ast.parse(source_of(_path(module))).body:
        for name in sorted(_names_defined(statement, definitions.keys())):
            definitions.setdefault(name, []).append(statement)
    return definitions


def _names_defined(statement: ast.stmt, known: Collection[str]) -> set[str]:
    """Return the names that a statement defines, and of the known ones those that it might change."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name for alias in statement.names}
    # An assignment changes its targets alone; a call, a loop or an if may change whatever it names.
    parts: list[ast.AST] = [statement]
    if isinstance(statement, ast.Assign):
        parts = [*statement.targets]
    elif isinstance(statement, ast.AnnAssign | ast.AugAssign):
        parts = [statement.target]
    names = set()
    for node in (node for part in parts for node in ast.walk(part)):
        if isinstance(node, ast.Name) and (isinstance(node.ctx, ast.Store) or node.id in known):
            names.add(node.id)
        elif isinstance(node, ast.stmt) and node is not statement:
            names |= _names_defined(node, known)
    return names


@cache
def _dump(module: str, name: str) -> str:
    """Return the text of a definition's syntax tree without docstrings and decorators."""
    return "\n".join(_dump_statement(statement, name) for statement in _definitions(module).get(name, ()))


def _dump_statement(statement: ast.stmt, name: str) -> str:
    if isinstance(statement, ast.Import | ast.ImportFrom):
        # Where an outside name comes from matters; a definition of tasks.priming stands in the list itself.
        (alias,) = (alias for alias in statement.names if (alias.asname or alias.name) == name)
        return "" if any(_imported(statement, name)) else f"{getattr(statement, 'module', None)}.{alias.name}"
    return ast.dump(_Stripper().visit(ast.parse(ast.unparse(statement))))


class _Stripper(ast.NodeTransformer):
    """Removes what does not change a number."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Drop docstrings and decorators of functions."""
        return self._strip(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        """Likewise of asynchronous ones."""
        return self._strip(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """Drop docstrings and decorators of classes."""
        return self._strip(node)

    def _strip(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> ast.AST:
        node.decorator_list = []
        node.body = [s for s in node.body if not _is_bare_string(s)] or [ast.Pass()]
        return self.generic_visit(node)


def _is_bare_string(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Constant):
        return False
    return isinstance(statement.value.value, str)


def _is_module(name: str) -> bool:
    return name.startswith(PACKAGE) and _path(name).is_file()


def _module(path: Path) -> str:
    """Return the name of the module in a file of this checkout."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _path(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
