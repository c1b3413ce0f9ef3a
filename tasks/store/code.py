"""The source of tasks.priming as this process runs it, and a hash of what a function in it uses.

In: "module:function". Out: a digest of the syntax trees of that function and of every definition in tasks.priming that
it names, directly or indirectly: functions, classes, constants, in any module. Comments, docstrings and decorators do
not count, nor do definitions that it never names, so that editing one prompt affects only what sends it.

A file is read once, by an import or by the hash, whichever comes first, and the other uses the same bytes: a file that
is edited during a run changes neither what is computed nor under which key.
"""

import ast
import sys
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from threading import Lock
from types import CodeType, ModuleType

PACKAGE = "tasks.priming"

ROOT = Path(__file__).resolve().parents[2]

_READING = Lock()
_sources: dict[str, bytes] = {}

_WHOLE = "*"  # means all definitions of a module: used where the module itself is named

_PARSING = Lock()
"""Held while code is parsed: chunks start in threads, and two that parse at once break each other in Python 3.11 ("AST
constructor recursion depth mismatch"), after which Prefect would not cache the chunk's result."""


def pin_sources() -> None:
    """Make every module of tasks.priming that is imported from now on run from the bytes that are hashed."""
    sys.meta_path.insert(0, _Finder())


@cache
def code_digest(computation: str) -> str:
    """Return the hash of a computation's code.

    Raises:
        ValueError: This checkout has no such module or function.
    """
    from tasks.store.artifacts import digest  # imports pyarrow

    module, _, function = computation.partition(":")
    with _PARSING:
        if not _is_module(module) or function not in _definitions(module):
            raise ValueError(f"There is no computation {computation!r}; it is written module:function.")
        return digest({f"{m}:{n}": _dump(m, n) for m, n in _closure(module, function)})


@cache
def package_digest() -> str:
    """Return the hash of all code that can change a number: every definition in tasks.priming."""
    from tasks.store.artifacts import digest

    with _PARSING:
        modules = [_module(path) for path in sorted(_path(PACKAGE).parent.rglob("*.py"))]
        return digest({f"{module}:{name}": _dump(module, name) for module in modules for name in _definitions(module)})


def _closure(module: str, name: str) -> list[tuple[str, str]]:
    """Return (module, name) of all definitions that a definition names, directly or indirectly, sorted."""
    found: set[tuple[str, str]] = set()
    waiting = [(module, name)]
    while waiting:
        place = waiting.pop()
        if place not in found:
            found.add(place)
            waiting += _named_by(*place)
    return sorted(found)


def _named_by(module: str, name: str) -> Iterator[tuple[str, str]]:
    """Yield the definitions of tasks.priming that a definition names."""
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
                used = ast.unparse(node)  # dotted after `import tasks.priming.prompts`
                if used in definitions and used != name:
                    yield module, used


def _imported(statement: ast.Import | ast.ImportFrom, name: str) -> Iterator[tuple[str, str]]:
    """Yield the definitions of tasks.priming that an import binds to a name."""
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
    """Return the names that a statement defines, and those of the known names that it might change."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name for alias in statement.names}
    # An assignment changes only its targets; a call, a loop or an if may change anything that it names.
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
        # The origin of an outside name matters; a definition of tasks.priming is in the list itself.
        (alias,) = (alias for alias in statement.names if (alias.asname or alias.name) == name)
        return "" if any(_imported(statement, name)) else f"{getattr(statement, 'module', None)}.{alias.name}"
    return ast.dump(_Stripper().visit(ast.parse(ast.unparse(statement))))


class _Stripper(ast.NodeTransformer):
    """Removes docstrings, other bare strings and decorators."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Strip functions, classes and everything in them."""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            node.decorator_list = []
            bare = {
                id(s): s.value.value for s in node.body if isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant)
            }
            node.body = [s for s in node.body if not isinstance(bare.get(id(s)), str)] or [ast.Pass()]
        return super().generic_visit(node)


def _is_module(name: str) -> bool:
    return name.startswith(PACKAGE) and _path(name).is_file()


def _module(path: Path) -> str:
    """Return the name of the module in a file of this checkout."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _path(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def source_of(path: str | Path) -> bytes:
    """Return a file's bytes as they were when this process first read them."""
    with _READING:
        if str(path) not in _sources:
            _sources[str(path)] = Path(path).read_bytes()
        return _sources[str(path)]


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        """Return the module's code, always compiled from its source.

        Python would use compiled code on disk if the source had the same size and was changed in the same second.
        """
        code: CodeType = self.source_to_code(source_of(self.path), self.path)
        return code


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module of the package, None for others."""
        if not f"{fullname}.".startswith(f"{PACKAGE}."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec
