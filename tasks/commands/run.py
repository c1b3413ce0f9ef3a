"""The verb `run`: the experiment, its parameters as flags, and a summary when the run is complete."""

import argparse
import logging
import os
import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import duckdb
from pydantic import BaseModel, TypeAdapter

from tasks.commands.summary import larger_draw, print_summary
from tasks.loading.arms_file import read_arms
from tasks.loading.hub import ALLOW_DOWNLOAD
from tasks.priming.settings import (
    EVERYTHING,
    PLACEMENT,
    PROFILES,
    ExperimentSettings,
    ProfileName,
    flat_settings,
    names_by_setting,
    resolve_settings,
)
from tasks.reading.database import is_published
from tasks.server.form import described
from tasks.store import artifacts
from tasks.store.receipts import leave_receipt, recognise

if TYPE_CHECKING:  # importing what shows progress takes as long as the rest
    from tasks.commands.terminal import Step


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the experiment's parameters, and what changes no result."""
    add_parameters(parser, parameters_of_the_experiment())
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


def recall(options: argparse.Namespace) -> int | None:
    """Print what a run found that is complete, published, and unchanged with all that it was made from.

    Returns:
        The exit status; None where the flow must run: if anything is in doubt, or the log is asked for.
    """
    given = _given(options)
    settings = resolve_settings(**given)
    if options.dry_run or options.ray_address:  # whose machines are not looked at here
        return None
    size = given.get("chunk_size")
    logging.disable()  # what is damaged is said once, by the flow
    try:
        manifest = recognise(settings, given["profile"], given.get("name"), int(size) if size else None)
        if manifest is None or options.verbose or not is_published(manifest):
            return None
        if options.grow_to and (larger := larger_draw(manifest.run_id, options.grow_to)):
            return recall(argparse.Namespace(**vars(options) | {"sample_count": larger}))
        path, report = (artifacts.ARTIFACTS / name for name in ("results.duckdb", f"reports/{manifest.run_id}.html"))
        print_summary(manifest.run_id, is_full=options.full_summary, report=str(report), path=str(path))
    except duckdb.Error:  # a damaged block of the database, which is read before anything is printed
        return None
    finally:
        logging.disable(logging.NOTSET)
    return 0


def execute(options: argparse.Namespace) -> int:
    """Run the experiment and print what it found."""
    given = _given(options)
    # Before Prefect starts anything: what can be refused at once leaves no failed run.
    settings = resolve_settings(**given)
    from tasks.commands.terminal import quietly, stages_shown

    if options.dry_run:
        from tasks.commands.dry_run import print_dry_run

        with quietly():
            print_dry_run(settings, given.get("workers"))
        return 0
    from tasks.server.standalone import require_server

    require_server()
    with stages_shown(is_verbose=options.verbose) as step:
        result = _compute(options, settings, given, step)
    print_summary(is_full=options.full_summary, **{name: result[name] for name in ("run_id", "report", "path")})
    return 0


def _compute(
    options: argparse.Namespace, settings: ExperimentSettings, given: dict[str, Any], step: "Step"
) -> dict[str, Any]:
    """Return what the flow returns, after naming each step that comes before its stages."""
    step("load the libraries")  # which `recall` and the help do without
    from dataclasses import asdict

    from prefect.settings import get_current_settings

    from flows.experiment import experiment
    from tasks.loading.models import load_in_background
    from tasks.run import identify_inputs, inputs_handed_over, is_complete
    from tasks.server.run_states import quiet_run_logs
    from tasks.workers.processes import start_workers, working

    quiet_run_logs()
    step("identify the data and the models")
    count, address = given.get("workers"), given.get("ray_address")
    given_count = int(count) if count else None
    inputs = identify_inputs(settings, address)
    model = inputs.language_model
    with working(given_count if address else inputs.process_count(given_count), model, address) as here:
        has_server = bool(get_current_settings().api.url)
        # A complete run has all results cached; any other needs the models.
        if not is_complete(settings, inputs):
            step("start worker processes")
            start_workers()
            if not has_server:
                # Prefect will start a temporary server, which takes longer than to load the models.
                load_in_background(model if here else None, inputs.embedding_model)
        step("begin the run" if has_server else "start a temporary server, load the models")
        result: dict[str, Any] = {}
        larger: int | None = settings.sampling.sample_count
        while larger:
            given |= {"sample_count": larger}
            settings = resolve_settings(**given)
            with inputs_handed_over(settings, inputs):
                result = experiment(**given)
            if result["report"] and not address:
                leave_receipt(settings, asdict(inputs), result["run_id"])
            larger = larger_draw(result["run_id"], options.grow_to) if options.grow_to else None
    return result


def _given(options: argparse.Namespace) -> dict[str, Any]:
    return (EVERYTHING if options.full else {}) | given_parameters(options)


def parameters_of_the_experiment() -> dict[str, Any]:
    """Return the parameters of flows/experiment.py and their types, without importing it, which takes seconds."""
    kinds = typing.get_type_hints(ExperimentSettings, include_extras=True)
    known: dict[str, Any] = {"profile": ProfileName}
    for name in ExperimentSettings.model_fields:
        section = kinds[name]
        is_section = isinstance(section, type) and issubclass(section, BaseModel)
        fields = typing.get_type_hints(section, include_extras=True) if is_section else kinds
        known |= {field: fields[field] for field in (section.model_fields if is_section else [name])}
    return known | {name: kind for name, (kind, _) in PLACEMENT.items()}


def add_parameters(parser: argparse.ArgumentParser, parameters: Mapping[str, Any]) -> None:
    """Add a flow's parameters, names and types, as flags under headings, with descriptions, limits and defaults."""
    defaults = PROFILES["demo"].model_dump()
    homes = {name: section for section, part in defaults.items() if isinstance(part, dict) for name in part}
    values = flat_settings(defaults) | {"profile": "demo"}
    groups: dict[str, Any] = {}
    named = names_by_setting()
    for name, kind in parameters.items():
        heading = "how it is run" if name in PLACEMENT else homes.get(name, "").replace("_", " ") or "experiment"
        if heading not in groups:
            groups[heading] = parser.add_argument_group(heading)
        schema, description = described(TypeAdapter(kind).json_schema())
        is_list = schema.get("type") == "array" and name != "arms"
        words = [description.replace("%", "%%"), "Separated by commas." if is_list else ""]
        names = schema.get("enum") or schema.get("items", {}).get("enum") or named.get(name)
        if names:
            words.append(f"{'Among' if is_list else 'One of'} {', '.join(names)}.")
        if (default := values.get(name)) is not None:
            words.append(f"[{','.join(default) if is_list else default}]" if default != () else "")
        if schema.get("type") == "boolean":
            groups[heading].add_argument(
                f"--{name.replace('_', '-')}", action="store_true", default=None, help=description
            )
            continue
        groups[heading].add_argument(
            f"--{name.replace('_', '-')}",
            metavar="FILE" if name == "arms" else "VALUE",
            default="demo" if name == "profile" else None,
            # Values stay text: the settings convert and refuse them, with one message for every way to give them.
            type=read_arms if name == "arms" else _split if is_list else None,
            help=" ".join(filter(None, words)),
        )
    # No parameter, since it changes no result.
    parser.add_argument(
        "--allow-download", action="store_true", help="Fetch a model of more than a gigabyte if it is not here."
    )
    parser.set_defaults(parameters=tuple(parameters))
    parser.epilog = "In brackets: the values of the profile demo."


def given_parameters(options: argparse.Namespace) -> dict[str, Any]:
    """Return the flow's parameters that were given, and allow large downloads in this process if that was given."""
    if options.allow_download:
        os.environ[ALLOW_DOWNLOAD] = "1"
    return {name: value for name, value in vars(options).items() if name in options.parameters and value is not None}


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))
