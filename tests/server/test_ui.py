"""From nothing to a run that is watched in a real browser, and back to nothing; test_own_pages.py is the quick part."""

import functools
import http.server
import json
import re
import signal
import threading
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tasks.server import address
from tests.operations.browser import CHROMIUM, Browser, opened_browser
from tests.operations.checkout import PARAMETERS, Checkout, Ui
from tests.operations.runs import model_flag
from tests.places import ROOT
from tests.tiny_models import tiny_folder
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.slow  # a server, a worker, a browser and whole runs


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """`make ui` in a copy of the checkout, with one finished run."""
    started = Ui(Checkout(tmp_path_factory.mktemp("ui") / "checkout"))
    try:
        watched = started.checkout.start_deployment(*PARAMETERS)
        wait_for("the end of the first run", started.worker_lines, enough=lambda _: watched.poll() is not None)
        assert watched.returncode == 0, "\n".join(started.worker_lines())
        yield started
    finally:
        if started.process.poll() is None:
            started.end()


@pytest.fixture(scope="module")
def page(ui: Ui, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A page of a headless Chromium."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with opened_browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


def ask(ui: Ui, path: str, **body: Any) -> Any:
    """Ask the server's API."""
    question = urllib.request.Request(
        f"{ui.url}/api{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(question, timeout=PATIENCE) as answer:
        return json.load(answer)


def newest_run(ui: Ui) -> dict[str, Any]:
    runs: list[dict[str, Any]] = ask(ui, "/flow_runs/filter", sort="EXPECTED_START_TIME_DESC", limit=1)
    return runs[0]


# --- from nothing to a verdict ---


def test_a_deployment_that_was_started_in_a_second_terminal_leaves_its_verdict_in_the_database(ui: Ui) -> None:
    with duckdb.connect(str(ui.checkout.folder / "artifacts" / "results.duckdb"), read_only=True) as connection:
        answers = connection.execute("SELECT subject, n, sentence FROM latest.does_priming_help ORDER BY subject")
        subjects = ("generated", "generated+stripped", "static", "static+stripped")
        said = "undecided: the bare document was not run"
        assert answers.fetchall() == [(subject, 6, said) for subject in subjects]


def test_the_address_file_names_the_server_and_nothing_else(ui: Ui) -> None:
    assert tomllib.loads(ui.checkout.address.read_text()) == {"api": {"url": f"{ui.url}/api"}}
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert "prefect.toml" in ignored


def test_a_second_ui_in_the_same_checkout_is_refused(ui: Ui) -> None:
    refused = ui.checkout.command(".venv/bin/python", "-m", "flows", "ui")
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"error: `make ui` is running here already: {ui.url}.")
    assert ui.checkout.address.exists()


def test_nothing_lands_in_the_home_of_the_user_and_nothing_listens_to_other_machines(ui: Ui) -> None:
    (server,) = ui.processes("tasks.server.ui:create_app")
    listening = [c for c in server.net_connections("tcp") if c.status == "LISTEN"]
    assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}
    # the command in the second terminal may note which profile it used, the processes of the UI nothing
    assert not list((ui.checkout.folder / "home").rglob("*.db"))


# --- who may ask ---

START_BY_PAGE = """
(async () => {
    const post = (path, body) => fetch(`${SERVER}/api${path}`, {
        method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)});
    try {
        const [deployment] = await (await post("/deployments/filter", {})).json();
        const run = {job_variables: {command: `touch ${FILE}`}};
        return (await post(`/deployments/${deployment.id}/create_flow_run`, run)).status;
    } catch (error) {
        return String(error);
    }
})()
"""
# A body without a type needs no leave of the server, and Prefect takes it for JSON.
STORE_BLINDLY = """
(async () => {
    const body = new Blob([JSON.stringify({name: "planted", value: 1})]);
    try {
        return (await fetch(`${SERVER}/api/variables/`, {method: "POST", mode: "no-cors", body})).type;
    } catch (error) {
        return String(error);
    }
})()
"""
OPEN_SOCKET = """
new Promise(resolve => {
    const socket = new WebSocket(`${SERVER.replace("http", "ws")}/api/events/out`, ["prefect"]);
    socket.onopen = () => resolve("open");
    socket.onerror = () => resolve("refused");
})
"""


@pytest.fixture(params=["another port", "a file"])
def foreign_page(request: pytest.FixtureRequest, page: Browser, tmp_path: Path) -> Iterator[Browser]:
    """A page that is none of the server's, open in the same browser."""
    (tmp_path / "page.html").write_text("<p>harmless</p>")
    if request.param == "a file":
        page.open((tmp_path / "page.html").as_uri(), "harmless")
        yield page
        return
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        page.open(f"http://127.0.0.1:{server.server_address[1]}/page.html", "harmless")
        yield page
        server.shutdown()
        thread.join()


def test_a_foreign_page_starts_nothing_stores_nothing_and_hears_nothing(
    ui: Ui, foreign_page: Browser, tmp_path: Path
) -> None:
    before = newest_run(ui)["id"]
    names = f"const SERVER = {json.dumps(ui.url)}, FILE = {json.dumps(str(tmp_path / 'planted'))};"
    foreign_page.evaluate(names)
    assert foreign_page.evaluate(START_BY_PAGE) == "TypeError: Failed to fetch"
    foreign_page.evaluate(STORE_BLINDLY)  # whatever it says: it cannot see what became of it
    assert foreign_page.evaluate(OPEN_SOCKET) == "refused"
    assert newest_run(ui)["id"] == before
    assert ask(ui, "/variables/filter") == []
    assert not (tmp_path / "planted").exists()


# --- what the UI shows ---


def test_the_run_is_named_by_profile_size_and_model_and_its_tasks_by_stage_family_and_chunk(ui: Ui) -> None:
    run = newest_run(ui)
    changed = "families baseline,static,generated, bootstrap resamples 100"
    assert run["name"] == f"demo, 6 samples, {tiny_folder()}, {changed}"
    tasks = ask(ui, "/task_runs/filter", flow_runs={"id": {"any_": [run["id"]]}}, limit=200)
    names = {task["name"] for task in tasks}
    assert {
        "draw 6 samples",
        "write generated surrogates 3-6",
        "score static contexts 0-3",
        "route queries 3-6",
    } <= names


def test_each_stage_has_its_progress_and_each_question_its_table(ui: Ui) -> None:
    artifacts = ask(ui, "/artifacts/filter", artifacts={"flow_run_id": {"any_": [newest_run(ui)["id"]]}}, limit=200)
    progress = {a["key"]: (a["data"], a["description"]) for a in artifacts if a["type"] == "progress"}
    # 2 chunks of 2 families that are written and of 3 that are scored; of 6 samples the baseline and 10 arms, each kept
    # and stripped; 11 statistics
    assert progress == {
        "progress-draw-samples": (100.0, "Draw samples: 1 of 1"),
        "progress-write-surrogates": (100.0, "Write surrogates: 30 of 30 lines"),
        "progress-route-queries": (100.0, "Route queries: 2 of 2"),
        "progress-score-contexts": (100.0, "Score contexts: 126 of 126 scores"),
        "progress-check-scoring": (100.0, "Check scoring: 1 of 1"),
        "progress-compute-statistics": (100.0, "Compute statistics: 11 of 11"),
    }
    # Strict JSON: NaN or Infinity, which a browser cannot read, would end the test.
    tables = {a["key"]: json.loads(a["data"], parse_constant=pytest.fail) for a in artifacts if a["type"] == "table"}
    assert {"does-priming-help", "is-generated-better-than-static", "does-routing-help", "what-does-it-cost"} <= set(
        tables
    )
    assert [row["answer"] for row in tables["does-priming-help"]] == ["controls_missing"] * 4
    (page,) = (a["data"] for a in artifacts if a["type"] == "markdown")
    assert page.startswith("## Undecided: no answer with fewer than 100 passages\n")


def test_a_browser_shows_the_run_its_tasks_and_its_results(ui: Ui, page: Browser, tmp_path: Path) -> None:
    run = newest_run(ui)
    page.open(f"{ui.url}/runs/flow-run/{run['id']}", f"demo, 6 samples, {tiny_folder()}", "Completed")
    page.click("Task Runs")
    page.wait_for("publish results", "compute run_check rows", "compute cost rows")
    page.click("Artifacts")
    page.wait_for("progress-score-contexts", "Score contexts: 126 of 126 scores", "does-priming-help")
    assert len(page.screenshot(tmp_path / "run.png")) > 10_000
    artifacts = ask(ui, "/artifacts/filter", artifacts={"flow_run_id": {"any_": [run["id"]]}}, limit=200)
    by_key = {artifact["key"]: artifact["id"] for artifact in artifacts}
    said = page.open(f"{ui.url}/artifacts/artifact/{by_key['results']}", "Does routing by similarity help?", "answer")
    assert "undecided: the bare document was not" in said  # and "run" in the next line of the cell
    assert "<br>" not in said  # it is drawn, not shown
    # priming, generated against static, its worth, dropped surrogates, routing: all others need controls
    assert page.evaluate("document.querySelectorAll('table').length") == 5
    widths = page.evaluate("[...document.images].map(image => image.naturalWidth)")
    assert widths  # the plots, in the page itself
    assert min(widths) > 100
    page.evaluate("document.images[0].scrollIntoView()")
    assert len(page.screenshot(tmp_path / "results.png")) > 10_000
    page.open(f"{ui.url}/artifacts/artifact/{by_key['does-priming-help']}", "generated routed vs baseline", "answer")
    assert len(page.screenshot(tmp_path / "table.png")) > 10_000


def test_the_form_says_of_each_setting_what_it_is_and_what_is_allowed(ui: Ui, page: Browser) -> None:
    (deployment,) = (d for d in ask(ui, "/deployments/filter") if d["name"] == "demo")
    before = newest_run(ui)["id"]

    def send_form() -> dict[str, Any]:
        said = page.open(
            f"{ui.url}/deployments/deployment/{deployment['id']}/run",
            "Settings below that are left empty take this profile's values.",
            "Samples to draw (count). Allowed: at least 1, at most 1,000,000.",
            "a hub id, a local folder or packaged/NAME.",
            "bfloat16",
        )
        assert 'Property is type "None"' not in said  # what Prefect shows of X | None
        page.evaluate(
            "(() => { let place = [...document.querySelectorAll('*')].find("
            "  e => !e.children.length && e.innerText && e.innerText.trim().startsWith('sample_count'));"
            "while (!place.querySelector('input')) place = place.parentElement;"
            "const field = place.querySelector('input');"
            "Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(field, '3');"
            "field.dispatchEvent(new Event('input', {bubbles: true})); })()"
        )
        # the page takes the value up before it draws the next frame
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        page.click("Submit")
        started, _ = wait_for(
            "what the form answers",
            lambda: (newest_run(ui), page.text()),
            enough=lambda seen: seen[0]["id"] != before or "Something went wrong" in seen[1],
        )
        return started

    # While another connection writes into its database, the server answers 503: Prefect's client asks again, its page
    # does not.
    run = wait_for("a run that the form started", send_form, enough=lambda run: run["id"] != before)
    # what was left empty is left to the profile; a box that was not ticked says no
    assert run["parameters"] == {"profile": "demo", "sample_count": 3, "skip_bad_rows": False}
    # It would compute for minutes, and its end would be told of by the automations below.
    ui.checkout.command(".venv/bin/prefect", "flow-run", "cancel", run["id"])
    wait_for("its end", lambda: newest_run(ui)["state_name"], enough=lambda name: name == "Cancelled")


def test_a_browser_asks_no_other_machine(ui: Ui, page: Browser) -> None:
    page.requests.clear()  # of the foreign pages above
    page.open(f"{ui.url}/dashboard", "Dashboard")
    assert page.requests
    foreign = [url for url in page.requests if not url.removeprefix("blob:").startswith((ui.url, "data:", "about:"))]
    assert foreign == []


# --- the examples of docs/operations.md ---


def test_of_runs_at_once_one_is_cancelled_and_goes_on_later_and_one_fails_and_says_why(ui: Ui) -> None:
    checkout, before = ui.checkout, len(ui.worker_lines())

    def run_named(name: str) -> dict[str, Any]:
        (run,) = ask(ui, "/flow_runs/filter", flow_runs={"name": {"like_": f"{name}: "}})
        return dict(run)

    def finished(lines: list[str], name: str) -> list[str]:
        return [line for line in lines if "- Finished in state" in line and f"'{name}'" in line]

    watched = [checkout.start_deployment("seed=21", "name=undisturbed", *PARAMETERS)]
    watched.append(checkout.start_deployment("seed=22", "name=cancelled", *PARAMETERS))
    both = "write static surrogates 0-3"
    wait_for(both, lambda: ui.worker_lines()[before:], enough=lambda lines: len(finished(lines, both)) == 2)
    assert checkout.command(".venv/bin/prefect", "flow-run", "cancel", run_named("cancelled")["id"]).returncode == 0
    watched.append(checkout.start_deployment("seed=23", "name=failed", "data=nowhere.jsonl", *PARAMETERS))
    wait_for("three ends", lambda: [each.poll() for each in watched], enough=lambda ends: None not in ends)
    states = {name: run_named(name)["state"] for name in ("undisturbed", "cancelled", "failed")}
    assert {name: state["name"] for name, state in states.items()} == {
        "undisturbed": "Completed",
        "cancelled": "Cancelled",
        "failed": "Failed",
    }
    assert "nowhere.jsonl" in states["failed"]["message"]
    after = len(ui.worker_lines())
    again = checkout.start_deployment("seed=22", "name=gone on", *PARAMETERS)
    wait_for("the end of the run that goes on", again.poll, enough=lambda end: end is not None)
    assert run_named("gone on")["state"]["name"] == "Completed"
    (line,) = finished(ui.worker_lines()[after:], both)
    assert "Cached" in line


def test_a_killed_run_is_started_again_and_its_end_is_told(ui: Ui, tmp_path: Path) -> None:
    """As documented but for the address."""
    operations = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    retry, notify = re.findall(r"```yaml\n(name: .*?)```", operations, re.DOTALL)
    (block,) = re.findall(r"```python\n(.*?)```", operations, re.DOTALL)
    told: list[bytes] = []

    class Address(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Address) as address_told:
        threading.Thread(target=address_told.serve_forever).start()
        try:
            here = f"http://127.0.0.1:{address_told.server_port}/"
            saved = ui.checkout.command(".venv/bin/python", "-c", block.replace("https://example.org/hook", here))
            notify = re.sub("(block_document_id:) .*", rf"\1 {saved.stdout.split()[-1]}", notify)
            for text in (retry, notify):
                path = tmp_path / "automation.yaml"
                path.write_text(text)
                create = (".venv/bin/prefect", "automation", "create", "--from-file", str(path))
                assert ui.checkout.command(*create).returncode == 0
            (limit,) = re.findall(r"^\.venv/bin/prefect work-pool set-.*", operations, re.MULTILINE)
            assert ui.checkout.command(*limit.split()).returncode == 0
            before = len(ui.worker_lines())
            watched = ui.checkout.start_deployment("seed=11", *PARAMETERS)
            wait_for(
                "a run that writes surrogates",
                lambda: ui.worker_lines()[before:],
                enough=lambda lines: any("write static surrogates 0-3' - Finished" in line for line in lines),
            )
            (worker,) = ui.processes("prefect worker start")
            for process in worker.children(recursive=True):
                process.kill()
            # Crashed is an end, too: `--watch` leaves, and a second message comes later.
            wait_for("two messages", lambda: told, enough=lambda said: len(said) == 2)
            watched.wait(timeout=PATIENCE)
        finally:
            address_told.shutdown()
    run = newest_run(ui)
    assert (run["state_name"], run["run_count"]) == ("Completed", 2)
    assert [json.loads(said)["text"].partition(":")[0] for said in told] == ["Crashed", "Completed"]
    assert json.loads(told[1])["text"] == f"Completed: {run['name']}: {run['state']['message']}"
    lines = "\n".join(ui.worker_lines()[before:])
    assert "write static surrogates 0-3' - Finished in state Cached" in lines


# --- back to nothing ---


def test_ctrl_c_ends_everything_with_a_run_in_progress_which_then_goes_on(ui: Ui) -> None:
    checkout = ui.checkout
    watched = checkout.start_deployment("seed=7", *PARAMETERS)
    finished = "Task run 'write static surrogates 3-6' - Finished"
    before = sum(finished in line for line in ui.worker_lines())
    wait_for(
        "surrogates of the second run",
        ui.worker_lines,
        enough=lambda lines: sum(finished in line for line in lines) > before,
        during=ui.process,
    )
    assert len(ui.processes()) >= 4  # guardian, server, worker and the run
    ui.end()
    assert ui.process.returncode == 0  # in good time: at its deadline it would end with another status
    assert not checkout.address.exists()
    watched.kill()
    watched.wait()
    statuses = [
        json.loads(path.read_text())["status"] for path in (checkout.folder / "artifacts" / "runs").glob("*.json")
    ]
    assert statuses.count("interrupted") >= 1
    assert "running" not in statuses


def test_a_killed_ui_takes_its_processes_with_it_and_its_stale_address_is_no_obstacle(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "checkout")
    ui = Ui(checkout)
    ui.end(signal.SIGKILL)
    assert checkout.address.exists()
    again = Ui(checkout)
    try:
        assert tomllib.loads(checkout.address.read_text()) == {"api": {"url": f"{again.url}/api"}}
    finally:
        again.end()
    assert not checkout.address.exists()


def test_make_run_passes_over_a_stale_address(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "checkout")
    (checkout.folder / "prefect.toml").write_text(address._OURS + '[api]\nurl = "http://127.0.0.1:9/api"\n')
    flags = f"FLAGS=--verbose {model_flag()} --sample-count=2 --families=baseline,static "
    flags += "--bootstrap-resamples=100 --distractor-count=0"
    ran = checkout.command("make", "--assume-old=.venv/.installed", "run", flags)
    assert ran.returncode == 0
    assert "Starting temporary server" in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stdout + ran.stderr
    assert "static routed vs baseline" in ran.stdout
