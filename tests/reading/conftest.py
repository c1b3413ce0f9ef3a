"""The published runs of the report's tests."""

from tests.report.conftest import published, query, shared_run

__all__ = ["published", "query", "shared_run"]
