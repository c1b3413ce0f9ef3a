"""A server or a worker that is killed costs at most the chunks in flight, and the same command completes the run."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.operations.checkout import PARAMETERS, Checkout, Ui
from tests.operations.conftest import Undisturbed
from tests.operations.kills import Kill, Moment, draw_moments, kill_table, wait_for_moment
from tests.operations.runs import UNREMEMBERED, differences, export, finished
from tests.waiting import PATIENCE, wait_for

COMMANDS = {"server": "tasks.server.ui:create_app", "worker": "prefect worker start"}


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """`make ui` in a copy of the checkout."""
    started = Ui(Checkout(tmp_path_factory.mktemp("ui") / "checkout"))
    yield started
    started.end()


def kill_service(ui: Ui, victim: str, moment: Moment) -> Kill:
    """Start a run, kill a service at a moment, and start the same run until it has completed."""
    shutil.rmtree(ui.checkout.folder / "artifacts", ignore_errors=True)
    since = len(ui.worker_lines())
    deaths = ui.log.read_text().count("had died")
    watched = ui.checkout.start_deployment(*PARAMETERS)
    wait_for_moment(moment, lambda: ui.worker_lines()[since:], ui.process)
    kill = Kill(victim, moment, len(finished(ui.worker_lines()[since:])))
    for process in ui.processes(COMMANDS[victim]):
        process.kill()
    ui.wait_for("had died", deaths + 1)
    watched.wait(timeout=PATIENCE)
    wait_for(  # the server may still be starting
        "a run that completes",
        lambda: (ui.checkout.start_deployment(*PARAMETERS).wait(timeout=PATIENCE), ui.worker_lines()[since:]),
        enough=lambda seen: seen[0] == 0,
    )
    states = [
        line.partition("Task run '")[2].partition("'")[0]
        for line in ui.worker_lines()[since:]
        if "Finished in state Completed" in line and "Task run '" in line
    ]
    kill.recomputed = sorted(
        {name for name in states if states.count(name) > 1 and name.split()[0] not in UNREMEMBERED}
    )
    return kill


@pytest.mark.long
@pytest.mark.parametrize(("victim", "seed"), [("worker", 3), ("server", 4)])
def test_killed_services_are_replaced_and_the_same_command_completes_the_run(
    victim: str, seed: int, ui: Ui, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    kills = []
    for number, moment in enumerate(draw_moments(undisturbed.attempt, ("write", "score", "compute", "publish"), seed)):
        kills.append(kill_service(ui, victim, moment))
        found = export(ui.checkout.folder / "artifacts", tmp_path / str(number))
        assert differences(found, undisturbed.tables) == [], moment
    sys.stdout.write(kill_table(kills) + "\n")
    # a run whose worker or server dies goes on; where two overlapped for a moment, a chunk may be computed by both
    assert all(len(kill.recomputed) <= 1 for kill in kills)
