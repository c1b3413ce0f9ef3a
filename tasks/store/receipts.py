"""A finished run that is asked for again, recognised without a server, a flow or a library of models.

In: a run's settings, and how it is asked for. Out: the run's manifest, if all that it was made from and all that it
left is as it was. Whatever is in doubt is left to the flow, which finds what is cached and computes the rest again.

The command that completes a run leaves a receipt: what the run read, the hashes of the model's files, and under which
circumstances: the code byte by byte, the versions of libraries, and what on this machine decides how numbers are
computed. Asked again, data, artifacts and report are read and compared by their hashes. Of what is large and only read,
the marks that the file system keeps are compared: size, times and inode of a model's files and of the database.
"""

import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tasks.loading.data import identify_data
from tasks.loading.model_files import identify_files
from tasks.priming.errors import UsageError
from tasks.priming.settings import ExperimentSettings
from tasks.store import artifacts
from tasks.store.code import ROOT
from tasks.store.manifests import Manifest, read_manifest
from tasks.store.sealing import with_seal, without_seal

RECORDED_VERSIONS = (
    "accelerate", "bitsandbytes", "datasets", "duckdb", "gguf", "numpy", "prefect", "pyarrow", "scikit-learn", "scipy",
    "sentence-transformers", "statsmodels", "tokenizers", "torch", "transformers",
)  # fmt: skip
"""Libraries that numbers depend on."""

_SWITCHES = ("ATEN_", "CUDA_", "DNNL_", "MKL_", "NVIDIA_", "ONEDNN_", "PYTORCH_", "TORCH_")
"""Environment variables that begin with these change which device or which instructions torch uses."""

_DEVICES = ("dev/nvidia*", "dev/kfd", "dev/dxg", "proc/driver/nvidia/version", "proc/driver/nvidia/gpus/*/information")

_circumstances: list[str] = []
"""As they were when this process asked first: the code that it runs, which may be edited later."""


def installed_version(package: str) -> str:
    """Return the version of an installed package, "none" if it is not installed."""
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return "none"


def recognise(
    settings: ExperimentSettings, profile: str, name: str | None = None, chunk_size: int | None = None
) -> Manifest | None:
    """Return the manifest of the complete run that these settings name, if nothing has changed since; None if in doubt.

    Call it when a command begins: it also notes the circumstances, among them the code that this process runs.

    Args:
        settings: The run's settings.
        profile: The profile's name.
        name: What the run shall be called; None: as it is.
        chunk_size: Samples in each chunk; None: as they are.
    """
    if not _circumstances:
        _circumstances.append(_observe())
    try:
        receipt = without_seal(json.loads(_receipt_path(settings).read_bytes()))
        if receipt.get("circumstances") != _circumstances[0] or not _reads_the_same(settings, receipt):
            return None
        manifest = read_manifest(receipt["run_id"])
    except (OSError, ValueError, UsageError):  # the flow says what is wrong
        return None
    if (
        manifest is None
        or manifest.status != "complete"
        or manifest.profile != profile
        or name not in (None, manifest.name)
        or chunk_size not in (None, manifest.chunk_size)
    ):
        return None
    files = {file.path: file for chunks in manifest.artifacts.values() for file in chunks.values()}
    left = [file.model_dump() for file in files.values()] + [receipt["report"]]
    return manifest if all(map(artifacts.is_intact, left)) else None


def leave_receipt(settings: ExperimentSettings, inputs: Mapping[str, Any], run_id: str) -> None:
    """Let a run that has just been completed be recognised, unless the code or the inputs changed meanwhile.

    What keeps it from being written is no fault of the run: the same command will run the flow again.

    Args:
        settings: The run's settings.
        inputs: What was identified of its inputs, by the names in RunInputs.
        run_id: The run.
    """
    report = f"reports/{run_id}.html"
    with suppress(OSError, UsageError):  # of an input that has gone, or a full disk: the run is complete all the same
        receipt: dict[str, Any] = {
            "circumstances": _observe(),
            "run_id": run_id,
            "inputs": dict(inputs),
            "report": {"path": report, "sha256": artifacts.file_sha256(artifacts.ARTIFACTS / report)},
            "hashes": [],
        }
        if [receipt["circumstances"]] == _circumstances and _reads_the_same(settings, receipt):
            receipt["hashes"] = artifacts.hashes_outside()
            artifacts.write_atomically(_receipt_path(settings), json.dumps(with_seal(receipt)).encode())


def note_publication(database: Path) -> None:
    """Record which database was published, and under which circumstances, if this process knows its own."""
    note = _publication_path()
    if _circumstances:
        artifacts.write_atomically(note, json.dumps(with_seal(_publication(database))).encode())
    else:
        note.unlink(missing_ok=True)


def is_as_published(database: Path) -> bool:
    """Tell whether a database is the one that was published last, untouched, and by the code that this process runs."""
    try:
        return without_seal(json.loads(_publication_path().read_bytes())) == _publication(database)
    except (OSError, ValueError):
        return False


def _publication(database: Path) -> dict[str, Any]:
    return {"circumstances": _circumstances[0], "database": list(artifacts.marks_of(database))}


def _reads_the_same(settings: ExperimentSettings, receipt: Mapping[str, Any]) -> bool:
    """Tell whether data and models are those of a receipt, by the hashes of files that still have their marks."""
    known, model, embedding, writer = receipt["inputs"], settings.language_model, settings.embedding, settings.writer
    named = [
        (known["language_model"], model.language_model, model.language_model_revision),
        (known["embedding_model"], embedding.embedding_model, embedding.embedding_model_revision),
    ]
    if writer.writer_model:
        named.append((known["other_writer"], writer.writer_model, writer.writer_model_revision))
    with artifacts.trusting(receipt["hashes"]):
        return identify_data(settings.data) == known["data"] and all(
            identify_files(name, revision).items() <= identity.items() for identity, name, revision in named
        )


def _observe() -> str:
    """Return a hash of the code, the libraries and the machine."""
    system = Path("/")
    devices = {
        str(path): path.read_text() if path.is_file() else "" for place in _DEVICES for path in system.glob(place)
    }
    processor = Path("/proc/cpuinfo")
    lines = processor.read_text(errors="replace").splitlines() if processor.is_file() else [platform.processor()]
    # Of its clock, which changes, nothing.
    kind = sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU"))})
    code = {
        str(path.relative_to(ROOT)): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in ("flows", "tasks")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    switches = {name: value for name, value in os.environ.items() if name.startswith(_SWITCHES)}
    versions = {name: installed_version(name) for name in RECORDED_VERSIONS} | {"python": platform.python_version()}
    return artifacts.digest([code, versions, platform.machine(), kind, devices, switches])


def _receipt_path(settings: ExperimentSettings) -> Path:
    return artifacts.ARTIFACTS / ".receipts" / f"{artifacts.digest(settings.model_dump(mode='json'))[:32]}.json"


def _publication_path() -> Path:
    return artifacts.ARTIFACTS / ".receipts" / "database.json"
