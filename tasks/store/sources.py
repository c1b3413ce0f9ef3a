"""The source of tasks.priming as this process runs it, read from disk once.

In: paths. Out: bytes. Whoever comes first, an import or the hash in code.py, reads a file; the other gets the same
bytes, so that a file that is edited while a run is in progress changes neither what is computed nor under which key.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from threading import Lock
from types import CodeType, ModuleType

PACKAGE = "tasks.priming"

_READING = Lock()
_sources: dict[str, bytes] = {}


def source_of(path: str | Path) -> bytes:
    """Return a file's bytes as they were when this process first ran them or asked for them.

    Raises:
        OSError: There is no such file.
    """
    with _READING:
        if str(path) not in _sources:
            _sources[str(path)] = Path(path).read_bytes()
        return _sources[str(path)]


def pin_sources() -> None:
    """Have every module of tasks.priming that is imported from now on run from the bytes that are hashed."""
    sys.meta_path.insert(0, _Finder())


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        """Return the module's code, compiled from its source.

        What is compiled on disk is told from another version by the second and the size alone.
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
