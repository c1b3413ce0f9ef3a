"""The command of the walkthrough: its flags, what it prints, its exit status.

In: the flow and a command line. Out: the walkthrough on standard output. Status 0: printed. 1: it failed. 2: what was
given cannot be used.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, TypeAlias

from prefect import Flow
from prefect.runtime import flow_run
from prefect.settings import get_current_settings
from pydantic import Field, TypeAdapter, ValidationError
from rich.console import Console

from tasks.commands.guard import guarded
from tasks.commands.run import make_parser
from tasks.loading.data import Identity
from tasks.loading.models import identify_embedding_model, identify_language_model, load_in_background
from tasks.pages.blocks import Block
from tasks.pages.terminal import print_blocks
from tasks.priming.settings import ExperimentSettings, SettingsError, resolve_settings
from tasks.server.standalone import require_server

SampleNumber: TypeAlias = Annotated[
    int,
    Field(ge=1, description="Which of the samples that the profile's experiment draws (number from 1); if not given, "
    "the notebook's own example."),
]  # fmt: skip


@guarded("The walkthrough")
def run_walkthrough(flow: Flow[..., list[Block]], arguments: Sequence[str] | None = None) -> int:
    """Run the flow with the flags of a command line, print the walkthrough, and return the exit status.

    Args:
        flow: The walkthrough; its parameters are `profile`, `sample` and settings.
        arguments: The flags; None: those of this process.
    """
    parser = make_parser(flow)
    parser.add_argument("--verbose", action="store_true", help="Show what Prefect logs, and tracebacks.")
    values = vars(parser.parse_args(arguments))
    is_verbose = values.pop("verbose")
    given = {name: value for name, value in values.items() if value is not None}
    # Before Prefect starts anything: what can be refused at once leaves no failed run behind.
    settings = resolve_settings(**{name: value for name, value in given.items() if name != "sample"})
    require_server()
    if "sample" in given:
        given["sample"] = _sample_number(given["sample"])
    models = identify_models(settings)
    if not get_current_settings().api.url:
        load_in_background(*models)
    with _shown_as_busy(is_verbose):
        blocks = flow(**given)
    print_blocks(blocks)
    return 0


def identify_models(settings: ExperimentSettings) -> tuple[Identity, Identity]:
    """Return the identities of the language model and of the embedding model.

    Raises:
        SetupError: One of them cannot be found, or the machine cannot run it as the settings say.
    """
    return identify_language_model(settings.language_model), identify_embedding_model(settings.embedding)


def name_walkthrough() -> str:
    """Return what the UI calls a walkthrough: its profile and which sample it walks through."""
    parameters = flow_run.get_parameters()
    return name_sample(str(parameters["profile"]), parameters.get("sample"))


def name_sample(profile: str, number: int | None) -> str:
    """Return in words which sample a walkthrough is about."""
    return f"{profile}, {'the example of the notebook' if number is None else f'sample {number}'}"


def _sample_number(text: str) -> int:
    try:
        return TypeAdapter(SampleNumber).validate_python(text)
    except ValidationError:
        raise SettingsError(
            f"`sample` must be a whole number from 1, got {text!r}. Leave it out for the notebook's example."
        ) from None


@contextmanager
def _shown_as_busy(is_verbose: bool) -> Iterator[None]:
    """Show a terminal that something is being done; keep what Prefect logs out of sight unless it was asked for."""
    if is_verbose:
        yield
        return
    # An error is said once, by the command itself; Prefect's last word comes after it.
    logging.getLogger("prefect").setLevel(logging.CRITICAL)
    with Console(stderr=True).status("Walking through one sample (some seconds) ..."):
        yield
