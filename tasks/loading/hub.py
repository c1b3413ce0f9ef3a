"""The Hugging Face Hub: which commit a name means, how much would be downloaded, and a model's files.

Data sets are downloaded by data.py.
"""

import os
import re
from pathlib import Path

from rich.filesize import decimal

from tasks.loading.redaction import brief, printable
from tasks.priming.errors import SetupError

ALLOW_DOWNLOAD = "SURROGATE_ALLOW_DOWNLOAD"
"""Environment variable that allows large downloads if set to 1; the flag --allow-download sets it."""

_UNASKED_BYTES = 1e9
"""Downloads above this size need --allow-download; 360 million parameters of two bytes are below it."""

_WEIGHTS = ("model*.safetensors", "[0-9]_*/model*.safetensors")  # of a model, and of an embedding model's modules
SMALL_FILES = ("*.json", "*.jinja", "*.txt", "*.model", "*.model.*", "*.tiktoken", "*.bpe", "*.spm", "*.vocab")
_OTHER_FORMATS = ("onnx/*", "openvino/*", "coreml/*", "original/*", "model*/*")

_SECONDS = 20
_COMMIT = re.compile("[0-9a-f]{40}")


def hub_commit(name: str, revision: str | None, kind: str) -> str:
    """Return the commit hash of a revision; offline, that of the newest download.

    Raises:
        SetupError: The hub does not know the name, or is unreachable and nothing was downloaded.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        information = HfApi().repo_info(name, revision=revision, repo_type=kind, timeout=_SECONDS)
        return str(information.sha)
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        raise SetupError(
            f"The hub knows no {kind} {name!r} at {printable(revision or 'main')}: {brief(error)} Check the name and "
            "the revision there (a private one needs HF_TOKEN in the environment), or give a local path."
        ) from None
    except Exception as error:  # offline, a proxy, the hub itself: the client raises many kinds
        if commit := _downloaded_commit(name, revision or "main", kind):
            return commit
        raise SetupError(
            f"The {kind} {name} is not on this machine and the hub cannot be reached ({type(error).__name__}). Give a "
            f"local path instead, or run what needs no network: python -m flows run --profile demo"
        ) from None


def _downloaded_commit(name: str, revision: str, kind: str) -> str | None:
    """Return the commit that a revision had when it was downloaded; None if it never was."""
    from huggingface_hub import snapshot_download

    try:
        # A commit's files are in a folder of its name.
        commit = Path(snapshot_download(name, repo_type=kind, revision=revision, local_files_only=True)).name
    except Exception:  # not downloaded, or no valid name of a revision
        return None
    return commit if _COMMIT.fullmatch(commit) else None


def fetch_model(name: str, commit: str, *, has_weights: bool = True) -> Path:
    """Return the folder of a commit's files, downloaded if necessary: no code, no pickles, weights in one format."""
    from huggingface_hub import snapshot_download

    allowed, ignored = [*SMALL_FILES, *(_WEIGHTS if has_weights else ())], list(_OTHER_FORMATS)
    try:
        return Path(snapshot_download(name, revision=commit, allow_patterns=allowed, ignore_patterns=ignored))
    except Exception as error:  # as above
        raise SetupError(
            f"The model {printable(name)} at commit {commit} cannot be fetched: {brief(error)} Check the connection, "
            f"fetch it where there is one (.venv/bin/hf download {printable(name)} --revision {commit}), or give a "
            "local folder."
        ) from None


def require_permission_to_download(name: str, commit: str) -> None:
    """Refuse a model with large weights that are not on this machine and not allowed to be downloaded.

    Raises:
        SetupError: More than a gigabyte would be downloaded; the message says how much and how to allow it.
    """
    from huggingface_hub import HfApi, constants, try_to_load_from_cache

    if constants.HF_HUB_OFFLINE or os.environ.get(ALLOW_DOWNLOAD) == "1":
        return
    try:
        files = HfApi().model_info(name, revision=commit, files_metadata=True, timeout=_SECONDS).siblings or []
    except Exception:  # the hub became unreachable: then nothing is downloaded either
        return
    # The files that from_pretrained fetches; other formats of the same weights have other names.
    weights = {f.rfilename: f.size or 0 for f in files if re.fullmatch(r"model[^/]*\.safetensors", f.rfilename)}
    missing = [file for file in weights if not isinstance(try_to_load_from_cache(name, file, revision=commit), str)]
    size = sum(weights[file] for file in missing)
    if size > _UNASKED_BYTES:
        raise SetupError(
            f"The model {name} is not on this machine, and {decimal(size)} would be downloaded. Downloads of more than "
            f"{decimal(int(_UNASKED_BYTES))} need permission. Add --allow-download to the command, set "
            f"{ALLOW_DOWNLOAD}=1 for a worker, or fetch it once: .venv/bin/hf download {name} --revision {commit}"
        )
