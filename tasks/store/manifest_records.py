"""What a run's manifest says: its fields, their types, and the tables whose rows are artifacts.

In: what the stages of a run report. Out: checked, frozen records; tasks/store/manifests.py reads and writes them.
"""

from typing import Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from tasks.priming.records import (
    Answer,
    Check,
    Comparison,
    Correlation,
    Cost,
    Distractor,
    Route,
    RoutingAgreement,
    RoutingChoice,
    Sample,
    Score,
    Stratum,
    Surrogate,
    Variant,
)

FORMAT: Final = 1
"""Of the manifests that this version writes, the latest that it reads."""

TABLES: dict[str, type] = {
    "sample": Sample,
    "distractor": Distractor,
    "surrogate": Surrogate,
    "route": Route,
    "score": Score,
    "comparison": Comparison,
    "variant": Variant,
    "stratum": Stratum,
    "correlation": Correlation,
    "routing_choice": RoutingChoice,
    "routing_agreement": RoutingAgreement,
    "cost": Cost,
    "check": Check,
    "answer": Answer,
}
"""The tables whose rows come from artifacts, and the record of each."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RunDescription(_Frozen):
    """What is known of a run at its start; the rest follows with `record_facts`."""

    run_id: str = Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z_-]{0,99}$")
    """Hash of the settings and the inputs: names the manifest and is the first part of every primary key."""
    profile: str
    """Name of the profile that the settings started from."""
    settings: dict[str, Any]
    """The ExperimentSettings, as JSON."""
    versions: dict[str, str] = {}
    """Version of each library that numbers depend on."""
    device: str | None = None
    """Where the models ran, in words."""
    numeric_path: str | None = None
    """How the numbers were computed: what decides whether bits repeat."""
    data: dict[str, Any] = {}
    """What identifies the data set."""
    language_model: dict[str, Any] = {}
    """What identifies the language model: revision or sha256, parameter_count, dtype, quantization."""
    embedding_model: dict[str, Any] = {}
    """What identifies the embedding model."""
    chunk_size: int | None = None
    """Samples in each chunk of its artifacts; None before any is recorded."""


class Funnel(_Frozen):
    """How rows of the data set became samples."""

    rows: int
    """Rows that were read."""
    eligible: int
    """Rows that could be samples."""
    drawn: int
    """Samples."""
    rejected: dict[str, int]
    """Rows that were dropped, by reason."""


class RecordedReference(BaseModel):
    """A reference to an artifact, with what else its stage reported, and which attempts recorded it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    path: str
    """Relative to artifacts/."""
    sha256: str
    """Of the file."""
    rows: int
    """Rows in the file."""
    recorded_by: tuple[str, ...] = ()
    """Ids of attempts, oldest first."""


class AttemptRecord(_Frozen):
    """One execution of a run."""

    attempt_id: str
    """Random."""
    flow_run_id: str | None
    """Prefect's id of the execution, where it has one."""
    started_at: AwareDatetime
    """UTC."""
    ended_at: AwareDatetime | None = None
    """UTC; None while it runs and for an attempt that was killed."""
    status: Literal["running", "complete", "failed", "interrupted"] = "running"
    """interrupted: it was stopped, or its process died."""
    error: str | None = None
    """Why it failed."""


class Manifest(RunDescription):
    """All that is known of a run."""

    # What a later version adds within this format is kept when an earlier one rewrites the file.
    model_config = ConfigDict(frozen=True, extra="allow")

    format: Literal[1] = FORMAT
    """Raised when an earlier version could no longer read the file."""
    status: Literal["running", "complete", "failed", "interrupted"] = "running"
    """Of the attempt that started or ended last."""
    funnel: Funnel | None = None
    """None until the samples are drawn."""
    stage_seconds: dict[str, float] = {}
    """What each stage's computation took (seconds)."""
    artifacts: dict[str, dict[str, RecordedReference]] = {}
    """Table -> chunk -> reference."""
    attempts: tuple[AttemptRecord, ...] = ()
    """Oldest first."""
