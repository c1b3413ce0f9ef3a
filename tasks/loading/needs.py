"""What each profile needs of a machine, and what this machine lacks."""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import psutil
from rich.filesize import decimal

from tasks.loading.data import identify_data
from tasks.loading.model_files import needed_bytes
from tasks.loading.models import identify_embedding_model, identify_language_model
from tasks.priming.errors import UsageError
from tasks.priming.settings import PROFILES, ExperimentSettings


class ProfileFinding(NamedTuple):
    """What a profile needs, and what this machine lacks."""

    profile: str  # its name
    need: str  # in words
    lacks: list[str]  # in words; empty if the profile can run


def profile_findings() -> Iterator[ProfileFinding]:
    """Yield what each profile needs and lacks."""
    for profile, settings in PROFILES.items():
        yield ProfileFinding(profile, _need(settings), [*_lacking_device(settings), *_lacking_inputs(settings)])


def _need(settings: ExperimentSettings) -> str:
    place = "of a CUDA GPU" if settings.language_model.device == "cuda" else "of a GPU or of the machine"
    place = "of the machine" if settings.language_model.device == "cpu" else place
    return f"about {decimal(int(needed_bytes(settings.language_model)))} of memory {place}"


def _lacking_device(settings: ExperimentSettings) -> Iterator[str]:
    import torch

    needed = needed_bytes(settings.language_model)
    has_gpu = torch.cuda.is_available()
    if settings.language_model.device == "cuda" and not has_gpu:
        yield "a CUDA GPU"
    elif settings.language_model.device != "cpu" and has_gpu:
        largest = max(torch.cuda.mem_get_info(number)[1] for number in range(torch.cuda.device_count()))
        if largest < needed:
            yield f"GPU memory (the largest has {decimal(largest)})"
    elif psutil.virtual_memory().available < needed:
        yield f"memory ({decimal(psutil.virtual_memory().available)} are available)"


def _lacking_inputs(settings: ExperimentSettings) -> Iterator[str]:
    """Yield which data or models are not on this machine and cannot be downloaded."""
    # For a CPU, where every model can be identified: whether there is a GPU is reported separately.
    anywhere = settings.language_model.model_copy(update={"device": "cpu", "quantization": "none"})
    for identify in (
        partial(identify_data, settings.data),
        partial(identify_language_model, anywhere),
        partial(identify_embedding_model, settings.embedding),
    ):
        try:
            identify()
        except UsageError as error:
            # What happened; what to do is the same for all of them.
            yield str(error).partition(" (")[0].partition(". ")[0]
