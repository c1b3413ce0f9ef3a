"""The last steps of a run: the database, and from it the report as a file and plots for the page in the UI.

Nothing is cached: a rerun rebuilds all of it.
"""

from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from tasks.loading.redaction import without_secrets
from tasks.results import rebuild_database

_SHOWN_PLOTS = 3
"""The first plots of the report that the page in the UI shows; Prefect stores them with the page."""


@task(name="publish results", task_run_name="publish results", cache_policy=NO_CACHE, persist_result=False)
@without_secrets()
def publish_results() -> dict[str, Any]:
    """Rebuild the database from all runs; see `rebuild_database`."""
    published = rebuild_database()
    get_run_logger().info("published %(runs)d runs, %(rows)d rows: %(path)s", published)
    return published


@task(name="report results", task_run_name="report results", cache_policy=NO_CACHE, persist_result=False)
@without_secrets()
def report_results(run_id: str) -> dict[str, Any]:
    """Write the report of a published run; if that fails, the run is complete all the same.

    Returns:
        {"path": of the report or None, "plots": title -> PNG}.
    """
    try:
        # matplotlib takes seconds to load.
        from tasks.pages.html import write_page
        from tasks.reading.database import read_run
        from tasks.report.page import render_report
        from tasks.report.plots import plot_pngs, plots_of

        rows = read_run(run_id)
        plots = plots_of(rows)
        path = write_page(run_id, render_report(rows, plots))
        shown = plot_pngs(plots, _SHOWN_PLOTS)
    except Exception as error:  # of any plot; the results are published already
        get_run_logger().warning("no report was written: %s: %s", type(error).__name__, error)
        return {"path": None, "plots": {}}
    get_run_logger().info("wrote the report %s", path)
    return {"path": str(path), "plots": shown}
