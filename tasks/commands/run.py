"""The verb `run`: the experiment, its parameters as flags, and a summary when the run is complete."""

import argparse
import inspect
import os
import typing
from typing import Any

from prefect import Flow
from prefect.settings import get_current_settings
from pydantic import TypeAdapter

from flows.experiment import experiment
from tasks.commands.terminal import Step, quietly, stages_shown
from tasks.loading.arms_file import read_arms
from tasks.loading.hub import ALLOW_DOWNLOAD
from tasks.priming.settings import (
    EVERYTHING,
    PLACEMENT,
    PROFILES,
    ExperimentSettings,
    flat_settings,
    names_by_setting,
    resolve_settings,
)
from tasks.server.form import described
from tasks.server.run_states import quiet_run_logs
from tasks.server.standalone import require_server


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the experiment's parameters, and what changes no result."""
    add_parameters(parser, experiment)
    parser.add_argument(
        "--full",
        action="store_true",
        help="Run all families, controls and treatments, also those that the profile leaves out, and have the model "
        "answer.",
    )
    parser.add_argument(
        "--grow-to",
        type=int,
        metavar="N",
        help="While the headline is undecided, draw half as many samples more and look again, up to N. Answers hold at "
        "any look.",
    )
    parser.add_argument("--full-summary", action="store_true", help="Print all answers at the end, not the chief ones.")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="Compute nothing: report what becomes of the data's rows, show contexts, estimate the cost.",
    )


def execute(options: argparse.Namespace) -> int:
    """Run the experiment and print what it found."""
    given = (EVERYTHING if options.full else {}) | given_parameters(options, experiment)
    # Before Prefect starts anything: what can be refused at once leaves no failed run.
    settings = resolve_settings(**given)
    if options.dry_run:
        from tasks.commands.dry_run import print_dry_run

        with quietly():
            print_dry_run(settings, given.get("workers"))
        return 0
    require_server()
    with stages_shown(is_verbose=options.verbose) as step:
        result = _compute(options, settings, given, step)
    from tasks.commands.summary import print_summary

    print_summary(is_full=options.full_summary, **{name: result[name] for name in ("run_id", "report", "path")})
    return 0


def _compute(
    options: argparse.Namespace, settings: ExperimentSettings, given: dict[str, Any], step: Step
) -> dict[str, Any]:
    """Return what the flow returns, after naming each step that comes before its stages."""
    step("load the libraries")
    from tasks.commands.summary import larger_draw
    from tasks.loading.models import load_in_background
    from tasks.run import identify_inputs, inputs_handed_over, is_complete
    from tasks.workers.processes import start_workers, working

    step("identify the data and the models")
    inputs = identify_inputs(settings)
    quiet_run_logs()
    model = inputs.language_model
    count, address = given.get("workers"), given.get("ray_address")
    given_count = int(count) if count else None
    with (
        working(given_count if address else inputs.process_count(given_count), model, address) as here,
        inputs_handed_over(settings, inputs),
    ):
        has_server = bool(get_current_settings().api.url)
        # A complete run has all results cached; any other needs the models.
        if not is_complete(settings, inputs):
            step("start worker processes")
            start_workers()
            if not has_server:
                # Prefect will start a temporary server, which takes longer than to load the models.
                load_in_background(model if here else None, inputs.embedding_model)
        step("begin the run" if has_server else "start a temporary server, load the models")
        result: dict[str, Any] = experiment(**given)
        while options.grow_to and (larger := larger_draw(result["run_id"], options.grow_to)):
            given |= {"sample_count": larger}
            with inputs_handed_over(resolve_settings(**given), inputs):
                result = experiment(**given)
    return result


def add_parameters(parser: argparse.ArgumentParser, flow: Flow[..., Any]) -> None:
    """Add a flow's parameters as flags under headings, with their descriptions, limits and defaults."""
    defaults = PROFILES["demo"].model_dump()
    homes = {name: section for section, part in defaults.items() if isinstance(part, dict) for name in part}
    values = flat_settings(defaults)
    hints = typing.get_type_hints(flow.fn, include_extras=True)
    groups: dict[str, Any] = {}
    named = names_by_setting()
    for name, parameter in inspect.signature(flow.fn).parameters.items():
        heading = "how it is run" if name in PLACEMENT else homes.get(name, "").replace("_", " ") or "experiment"
        if heading not in groups:
            groups[heading] = parser.add_argument_group(heading)
        schema, description = described(TypeAdapter(hints[name]).json_schema())
        is_list = schema.get("type") == "array" and name != "arms"
        words = [description.replace("%", "%%"), "Separated by commas." if is_list else ""]
        names = schema.get("enum") or schema.get("items", {}).get("enum") or named.get(name)
        if names:
            words.append(f"{'Among' if is_list else 'One of'} {', '.join(names)}.")
        if (default := values.get(name, parameter.default)) is not None:
            words.append(f"[{','.join(default) if is_list else default}]" if default != () else "")
        if schema.get("type") == "boolean":
            groups[heading].add_argument(
                f"--{name.replace('_', '-')}", action="store_true", default=None, help=description
            )
            continue
        groups[heading].add_argument(
            f"--{name.replace('_', '-')}",
            metavar="FILE" if name == "arms" else "VALUE",
            default=parameter.default,
            # Values stay text: the settings convert and refuse them, with one message for every way to give them.
            type=read_arms if name == "arms" else _split if is_list else None,
            help=" ".join(filter(None, words)),
        )
    # No parameter, since it changes no result.
    parser.add_argument(
        "--allow-download", action="store_true", help="Fetch a model of more than a gigabyte if it is not here."
    )
    parser.epilog = "In brackets: the values of the profile demo."


def given_parameters(options: argparse.Namespace, flow: Flow[..., Any]) -> dict[str, Any]:
    """Return the flow's parameters that were given, and allow large downloads in this process if that was given."""
    if options.allow_download:
        os.environ[ALLOW_DOWNLOAD] = "1"
    values = {name: getattr(options, name) for name in inspect.signature(flow.fn).parameters}
    return {name: value for name, value in values.items() if value is not None}


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))
