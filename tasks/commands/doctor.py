"""The verb `doctor`: what this machine has, and what each profile needs and lacks here.

In: the machine, its network and artifacts/. Out: findings by section, printed or as a table in the UI. Nothing is
changed, downloaded or started.
"""

import argparse
import importlib
import importlib.metadata
import os
import platform
import shutil
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Literal, NamedTuple

import psutil
from prefect.artifacts import create_table_artifact
from rich.filesize import decimal

from tasks.commands.prune import find_litter
from tasks.loading.needs import profile_findings
from tasks.pages.blocks import Heading, Quoted, Table
from tasks.pages.terminal import print_blocks
from tasks.priming.errors import UsageError
from tasks.results import open_results
from tasks.store import artifacts
from tasks.store.artifacts import ROOT, is_intact
from tasks.store.manifests import Manifest, as_observed, read_manifests

_SHOWN_VERSIONS = ("prefect", "fastapi", "torch", "transformers", "sentence-transformers", "duckdb", "pyarrow", "numpy")
_HUB = "https://huggingface.co"
_HUB_SECONDS = 5.0


State = Literal["ok", "lacks", "broken"]


class Finding(NamedTuple):
    """One thing that was examined."""

    section: str
    """What it is part of, e.g. "artifacts"."""
    name: str
    """What was examined."""
    value: str
    """What was found, and if something is wrong what to do."""
    state: State = "ok"
    """lacks: something will not work here; broken: something should work and does not."""


def execute(options: argparse.Namespace) -> int:
    """Print the findings; status 1 if something is broken."""
    return print_findings(examine())


def print_findings(findings: Sequence[Finding]) -> int:
    """Print findings by section; return 1 if something is broken, else 0."""
    for section, found in groupby(findings, key=lambda finding: finding.section):
        rows = tuple((Quoted(one.name), Quoted(one.value), one.state.replace("broken", "BROKEN")) for one in found)
        print_blocks([Heading(section), Table(("what", "found", "state"), rows, 3)])
    return int(any(finding.state == "broken" for finding in findings))


def show_findings() -> bool:
    """Examine the machine, show the findings as a table of this flow run, and return whether nothing is broken."""
    findings = examine()
    rows = [finding._asdict() for finding in findings]
    create_table_artifact(rows, key="doctor", description="What the machine of this worker has, and what it lacks.")
    return all(finding.state != "broken" for finding in findings)


def examine() -> list[Finding]:
    """Examine everything; takes seconds, and longer the more artifacts there are: all hashes are computed."""
    hub = _hub()
    if hub.state != "ok":
        os.environ["HF_HUB_OFFLINE"] = "1"  # or every profile would wait for it again
    return [*_versions(), _server(), *_machine(), hub, *_artifacts(), *_profiles()]


def _versions() -> Iterator[Finding]:
    yield Finding("versions", "python", platform.python_version())
    others = []
    for name, tested in sorted(_tested_versions().items()):
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # an extra that is not installed
        if name in _SHOWN_VERSIONS:
            yield Finding("versions", name, installed)
        if installed.partition("+")[0] != tested:  # 2.13.0+cpu is 2.13.0
            others.append(f"{name} {installed} (tested: {tested})")
    if others:
        advice = "Other versions may work; the tested ones: pip install -c constraints.txt ."
        yield Finding("versions", "not as tested", f"{', '.join(others)}. {advice}", "lacks")


def _tested_versions() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==", 1) for line in lines if "==" in line and not line.startswith("#")]
    return {name.strip(): version.strip() for name, version in pairs}


def _server() -> Finding:
    """Import the part of Prefect's server that fails with a FastAPI that it does not fit."""
    try:
        importlib.import_module("prefect.server.api.concurrency_limits_v2")
    except Exception as error:  # whatever an import may raise
        advice = "FastAPI and Prefect do not fit each other; install the tested versions: "
        value = f"it cannot start: {type(error).__name__}: {error}. {advice}pip install -c constraints.txt ."
        return Finding("prefect", "server", value, "broken")
    return Finding("prefect", "server", "FastAPI and Prefect fit each other")


def _machine() -> Iterator[Finding]:
    import torch

    memory = psutil.virtual_memory()
    yield Finding("machine", "system", f"{platform.system()} {platform.release()}, {platform.machine()}")
    yield Finding("machine", "processor cores", str(os.cpu_count()))
    yield Finding("machine", "memory", f"{decimal(memory.total)}, {decimal(memory.available)} of it available")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for number in range(count):
        free, total = torch.cuda.mem_get_info(number)
        shown = f"{torch.cuda.get_device_name(number)}, {decimal(total)}, {decimal(free)} of it free"
        yield Finding("machine", f"GPU {number}", shown)
    if not count:
        yield Finding("machine", "GPU", "none that torch can use")
    place = artifacts.ARTIFACTS if artifacts.ARTIFACTS.is_dir() else ROOT
    disk = shutil.disk_usage(place)
    yield Finding("machine", "disk", f"{decimal(disk.free)} free in {place}", "ok" if disk.free > 1e9 else "lacks")


def _hub() -> Finding:
    endpoint = os.environ.get("HF_ENDPOINT", _HUB)
    start = time.perf_counter()
    try:
        urllib.request.urlopen(endpoint, timeout=_HUB_SECONDS).close()
    except urllib.error.HTTPError:
        pass  # it answers
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return Finding("hub", endpoint, f"not reached ({reason}); models and data on this machine still work", "lacks")
    return Finding("hub", endpoint, f"answers in {time.perf_counter() - start:.1f} s")


def _artifacts() -> Iterator[Finding]:
    manifests = [as_observed(manifest) for manifest in read_manifests()]
    statuses = Counter(manifest.status for manifest in manifests)
    shown = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items())) or "none yet"
    yield Finding("artifacts", "runs", f"{shown} ({artifacts.ARTIFACTS})")
    for manifest in manifests:
        if damaged := _damaged(manifest):
            value = f"{len(damaged)} files are missing or altered, {damaged[0]} the first. Start the run again: they "
            yield Finding("artifacts", f"run {manifest.run_id}", f"{value}are recomputed.", "broken")
    if manifests:
        files = sum(len(chunks) for manifest in manifests for chunks in manifest.artifacts.values())
        yield Finding("artifacts", "hashes", f"those of {files:,} artifacts were computed")
        yield _database(manifests)
    try:
        litter = find_litter()
    except UsageError as error:
        yield Finding("artifacts", "manifests", str(error), "broken")
        return
    if litter:
        size = decimal(sum(part.size for part in litter))
        yield Finding("artifacts", "not needed", f"{len(litter):,} files, {size}; `make prune` lists them")


def _damaged(manifest: Manifest) -> list[str]:
    chunks = [chunk for chunks in manifest.artifacts.values() for chunk in chunks.values()]
    files = {chunk.path: chunk for chunk in chunks}  # chunks share files
    return [path for path, chunk in files.items() if not is_intact(chunk.model_dump())]


def _database(manifests: list[Manifest]) -> Finding:
    try:
        with open_results() as connection:
            found = {run_id for (run_id,) in connection.execute("SELECT run_id FROM run").fetchall()}
    except Exception as error:  # duckdb has many kinds for a file that is none of its own
        return Finding("artifacts", "database", f"{error} Any run rebuilds it.", "broken")
    missing = {manifest.run_id for manifest in manifests if manifest.status == "complete"} - found
    if missing:
        value = f"it lacks the complete runs {', '.join(sorted(missing))}. Any run rebuilds it."
        return Finding("artifacts", "database", value, "broken")
    return Finding("artifacts", "database", f"{len(found)} runs")


def _profiles() -> Iterator[Finding]:
    for profile, need, lacks in profile_findings():
        said = f"lacks {'; '.join(lacks)}" if lacks else "can run here"
        yield Finding("profiles", profile, f"needs {need}; {said}", "lacks" if lacks else "ok")
