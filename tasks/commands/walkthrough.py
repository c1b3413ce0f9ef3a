"""The verb `walkthrough`: one sample from its passage to its scores, on standard output."""

import argparse
import logging
import re
import typing
from contextlib import ExitStack

from prefect.settings import get_current_settings
from rich.console import Console

from flows.walkthrough import walkthrough
from tasks.commands.run import add_parameters, given_parameters
from tasks.loading.models import identify_embedding_model, identify_language_model, load_in_background
from tasks.pages.terminal import print_blocks
from tasks.priming.settings import SettingsError, resolve_settings
from tasks.server.standalone import require_server


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the walkthrough's parameters."""
    hints = typing.get_type_hints(walkthrough.fn, include_extras=True)
    add_parameters(parser, {name: kind for name, kind in hints.items() if name != "return"})


def execute(options: argparse.Namespace) -> int:
    """Run the walkthrough and print it."""
    given = given_parameters(options)
    # Before Prefect starts anything: what can be refused at once leaves no failed run.
    settings = resolve_settings(**{name: value for name, value in given.items() if name != "sample"})
    if "sample" in given and not re.fullmatch("0*[1-9][0-9]{0,8}", given["sample"]):
        raise SettingsError(
            f"`sample` must be a whole number from 1, got {given['sample']!r}. Leave it out for the notebook's example."
        )
    require_server()
    models = identify_language_model(settings.language_model), identify_embedding_model(settings.embedding)
    if not get_current_settings().api.url:
        load_in_background(*models)
    with ExitStack() as stack:
        if not options.verbose:
            # An error is reported once, by the door; Prefect's last log line comes after it.
            logging.getLogger("prefect").setLevel(logging.CRITICAL)
            stack.enter_context(Console(stderr=True).status("Walking through one sample (some seconds) ..."))
        blocks = walkthrough(**given)
    print_blocks(blocks)
    return 0
