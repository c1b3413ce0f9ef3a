"""Every setting, with its limits, description and default, and the named profiles.

A profile's name and the values that differ from it become one frozen `ExperimentSettings`. Each stage gets only the
section that it reads, so that a setting changes only the results that depend on it.
"""

import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from tasks.priming.arms.contexts import OwnArm
from tasks.priming.errors import SECRET, describe_refusals, did_you_mean, refuse_secrets
from tasks.priming.errors import SettingsError as SettingsError  # settings are where a reader looks for it
from tasks.priming.records import KEPT


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


# In the form's schema too, so that Prefect's server refuses a secret before it stores anything.
Name = Annotated[str, Field(min_length=1, max_length=1000, json_schema_extra={"not": {"pattern": SECRET}})]
Revision = Annotated[Name, Field(description="Commit, tag or branch on the hub; the newest commit if not given.")]

DATA_FILES = ".parquet, .jsonl, .json or .csv file (the last three also as .gz)"
Data = Annotated[Name, Field(description=f"example, msmarco-v1.1, a hub id, or a local {DATA_FILES}.")]
DataConfig = Annotated[Name, Field(description="Configuration of the data set on the hub.")]
DataSplit = Annotated[Name, Field(description="Split on the hub, e.g. validation.")]
Columns = Annotated[
    tuple[Name, ...],
    Field(
        max_length=20,
        description="Columns of the data that have other names than docs/own_data.md says, e.g. "
        "passage=text,query=question,answers=answers.text.",
    ),
]
_NAMED_COLUMNS = ("passage", "query", "answer", "answers", "query_type", "surrogates")


class DataSettings(_Frozen):
    """Which rows are read."""

    data: Data = "msmarco-v1.1"
    data_config: DataConfig | None = None
    data_split: DataSplit | None = None
    data_revision: Revision | None = None
    columns: Columns = ()

    @property
    def column_names(self) -> dict[str, str]:
        """Our name of a column -> the data's name for it, where that is another one."""
        return dict(named.split("=", 1) for named in self.columns)

    @model_validator(mode="after")
    def _columns_have_known_names(self) -> "DataSettings":
        ours = [named.partition("=")[0] for named in self.columns]
        unknown = [name for name in ours if name not in _NAMED_COLUMNS]
        if unknown or len({*ours}) < len(ours) or not all(named.partition("=")[2] for named in self.columns):
            raise ValueError(
                f"`columns` must be NAME=COLUMN, each name once and among {', '.join(_NAMED_COLUMNS)}, got "
                f"{','.join(self.columns):.200}.{did_you_mean(unknown[0], _NAMED_COLUMNS) if unknown else ''} "
                "Use passage=text,query=question."
            )
        return self


SampleCount = Annotated[int, Field(ge=1, le=1_000_000, description="Samples to draw (count).")]
Words = Annotated[int, Field(ge=1, le=100_000, description="Bound on the passage's length (words).")]
Draw = Annotated[
    Literal["notebook", "nested"],
    Field(
        description="notebook: shuffle the first 2 x sample_count eligible rows, as published. nested: order by a hash "
        "of seed and text, so that a smaller run is part of a larger one."
    ),
]
DistractorCount = Annotated[
    int, Field(ge=0, le=20, description="Wrong answers to score besides each gold answer (count); 0 for none.")
]
SkipBadRows = Annotated[
    bool, Field(description="Count rows that cannot be read as rejected ones, with the reason, in place of stopping.")
]


class SamplingSettings(_Frozen):
    """Which of the rows become samples."""

    sample_count: SampleCount = 2500
    min_words: Words = 50
    max_words: Words = 200
    draw: Draw = "nested"
    distractor_count: DistractorCount = 2
    skip_bad_rows: SkipBadRows = False

    @model_validator(mode="after")
    def _words_are_a_range(self) -> "SamplingSettings":
        if self.min_words > self.max_words:
            raise ValueError(
                f"`min_words` must not exceed `max_words`, got {self.min_words} and {self.max_words}. "
                "The notebook uses 50 and 200, the full run 50 and 300."
            )
        return self


LanguageModel = Annotated[
    Name,
    Field(description="A causal model: a hub id, a folder with safetensors weights, a .gguf file or packaged/<name>."),
]
DType = Annotated[
    Literal["float32", "bfloat16", "float16"],
    Field(description="Number format of the weights, or of the arithmetic where they are quantised."),
]
Quantization = Annotated[
    Literal["none", "nf4"], Field(description="nf4: 4-bit weights with double quantisation, as in the notebook.")
]
Device = Annotated[
    Literal["auto", "cpu", "cuda"], Field(description="Where the models run; auto takes a CUDA GPU if there is one.")
]
FirstToken = Annotated[
    Name,
    Field(
        description="Token that every context begins with: auto (BOS if the tokenizer adds it, else the token that "
        "separates documents, else EOS), none, or a token's own name."
    ),
]


class LanguageModelSettings(_Frozen):
    """The causal language model that scores answers, and writes surrogates unless another one does."""

    language_model: LanguageModel = "mistralai/Mistral-7B-Instruct-v0.2"
    language_model_revision: Revision | None = None
    dtype: DType = "bfloat16"
    quantization: Quantization = "none"
    device: Device = "auto"
    first_token: FirstToken = "auto"


EmbeddingModel = Annotated[
    Name, Field(description="The sentence-embedding model that routes: a hub id, a local folder or packaged/<name>.")
]


class EmbeddingSettings(_Frozen):
    """The sentence-embedding model that routes queries (always float32: bfloat16 changes routes)."""

    embedding_model: EmbeddingModel = "sentence-transformers/all-MiniLM-L6-v2"
    embedding_model_revision: Revision | None = None


Temperature = Annotated[float, Field(gt=0, le=10, description="Softmax temperature of generation.")]
TopK = Annotated[int, Field(ge=1, le=100_000, description="Candidates per generated token (count).")]
NewTokens = Annotated[int, Field(ge=1, le=1000, description="Longest generated surrogate (tokens).")]


WriterModel = Annotated[
    Name, Field(description="Another causal model that writes the surrogates; the reading one if not given.")
]


class WriterSettings(_Frozen):
    """Which model writes; number format, quantisation and device are the reading model's."""

    writer_model: WriterModel | None = None
    writer_model_revision: Revision | None = None


class GenerationSettings(_Frozen):
    """How surrogates are sampled; the notebook's values."""

    temperature: Temperature = 0.3
    top_k: TopK = 50
    max_new_tokens: NewTokens = 45


Resamples = Annotated[int, Field(ge=100, le=1_000_000, description="Bootstrap resamples (count).")]
ConfidenceLevel = Annotated[float, Field(gt=0, lt=1, description="Coverage of the intervals, e.g. 0.95.")]
EquivalenceMargin = Annotated[
    float,
    Field(
        gt=0,
        le=100,
        description="Improvements below this are negligible (percentage points of an answer token's probability).",
    ),
]


AnswersMargin = Annotated[
    float,
    Field(
        gt=0, le=100, description="Differences of written answers below this are negligible (points of F1 and recall)."
    ),
]


class StatisticsSettings(_Frozen):
    """How conditions are compared."""

    bootstrap_resamples: Resamples = 10_000
    confidence_level: ConfidenceLevel = 0.95
    # Declared, never from the run's own spread.
    equivalence_margin: EquivalenceMargin = 1.0
    answers_margin: AnswersMargin = 2.0


Seed = Annotated[int, Field(ge=0, lt=2**32, description="Seed of every random draw.")]
FamilyName = Literal["baseline", "static", "generated", "free", "control"]
Families = Annotated[
    tuple[FamilyName, ...],
    Field(min_length=1, description="Families of arms to run; baseline among them, and generated with control."),
]
Controls = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=100)], ...],
    Field(min_length=1, description="Controls that the family control runs, by name, or all."),
]

Answers = Annotated[
    Literal["none", "main", "all"],
    Field(
        description="Contexts after which the model also writes answers. main: the plain and the bare document, the "
        "actual query, random words, and of each family one declared arm and what the router chose."
    ),
]

FreeTexts = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=100)], ...],
    Field(min_length=1, description="Texts that the family free runs, by name, or all."),
]

Treatments = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=100)], ...],
    Field(
        min_length=1,
        description="What is done with a computed context, by name, kept among them, or all: each arm gets those that "
        "it can have.",
    ),
]


FAMILY_NAMES = (*typing.get_args(FamilyName), "provided")
"""The built-in families; `provided` runs wherever the data have a column `surrogates`."""

OwnArms = Annotated[
    tuple[OwnArm, ...],
    Field(max_length=200, description="Texts of your own, which run besides the families: a YAML file; docs/texts.md."),
]


class ExperimentSettings(_Frozen):
    """One experiment: what a run id is made from."""

    seed: Seed = 42
    families: Families = ("baseline", "static", "generated", "control")
    controls: Controls = ("all",)
    free_texts: FreeTexts = ("all",)
    treatments: Treatments = ("all",)
    answers: Answers = "main"
    arms: OwnArms = ()
    data: DataSettings = DataSettings()
    sampling: SamplingSettings = SamplingSettings()
    language_model: LanguageModelSettings = LanguageModelSettings()
    writer: WriterSettings = WriterSettings()
    embedding: EmbeddingSettings = EmbeddingSettings()
    generation: GenerationSettings = GenerationSettings()
    statistics: StatisticsSettings = StatisticsSettings()

    @model_validator(mode="after")
    def _families_are_a_set_with_baseline(self) -> "ExperimentSettings":
        if len(set(self.families)) != len(self.families) or "baseline" not in self.families:
            raise ValueError(
                f"`families` must name each family once and include baseline, got {', '.join(self.families)}. "
                "Use baseline,static,generated."
            )
        names = [f"{arm.family}/{arm.key}" for arm in self.arms]
        if len(set(names)) < len(names) or {arm.family for arm in self.arms} & {*FAMILY_NAMES}:
            raise ValueError(
                f"`arms` must give each text another name and no family the name of a built-in one "
                f"({', '.join(FAMILY_NAMES)}), got {', '.join(names)}. Rename the texts."
            )
        if "control" in self.families and "generated" not in self.families:
            raise ValueError(
                f"`families` must include generated with control, whose arms are made from generated surrogates, got "
                f"{', '.join(self.families)}. Use baseline,static,generated,control."
            )
        return self


def _changed(settings: ExperimentSettings, changes: Mapping[str, Any]) -> ExperimentSettings:
    """Return settings with other values in place of some, given by their own names."""
    values = settings.model_dump()
    homes = {name: values for name, value in values.items() if not isinstance(value, dict)}
    homes |= {name: section for section in values.values() if isinstance(section, dict) for name in section}
    for name, value in changes.items():
        if name not in homes:
            raise SettingsError(f"Unknown setting {name!r}. Known settings: {', '.join(sorted(homes))}.")
        homes[name][name] = value
    try:
        return ExperimentSettings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(describe_refusals(error)) from None


ProfileName = Literal["demo", "smollm2-msmarco", "laptop", "mistral-7b", "mistral-7b-bf16"]
_LAPTOP = {"sample_count": 200, "language_model": "HuggingFaceTB/SmolLM2-360M-Instruct", "dtype": "float32"}
_PACKAGED = {"language_model": "packaged/smollm2-135m-instruct", "embedding_model": "packaged/all-MiniLM-L6-v2"}
_SMOLLM2 = _LAPTOP | _PACKAGED | {"device": "cpu"}
# The published run's words (50-300) and draw; the notebook's walkthrough uses 50-200.
_PAPER = {"max_words": 300, "draw": "notebook", "device": "cuda"}
# A first look: as many samples and conditions as two plain cores compute in three and a half minutes. Answers would
# take two minutes more.
_FIRST_LOOK = {
    "data": "example",
    "sample_count": 10,
    "controls": ("bare_document", "random_words", "actual_query", "answer_given", "no_passage"),
    "free_texts": ("extract", "echo"),
    "treatments": ("kept", "stripped"),
    "answers": "none",
}

PROFILES: dict[ProfileName, ExperimentSettings] = {
    "demo": _changed(ExperimentSettings(), _SMOLLM2 | _FIRST_LOOK),
    "smollm2-msmarco": _changed(ExperimentSettings(), _SMOLLM2),
    "laptop": _changed(ExperimentSettings(), _LAPTOP),
    "mistral-7b": _changed(ExperimentSettings(), _PAPER | {"dtype": "float16", "quantization": "nf4"}),
    "mistral-7b-bf16": _changed(ExperimentSettings(), _PAPER),
}

EVERYTHING: dict[str, Any] = {
    "families": typing.get_args(FamilyName),
    "controls": ("all",),
    "free_texts": ("all",),
    "treatments": ("all",),
    "answers": "main",
}
"""The settings of a run that leaves out no condition, and has its main ones answered."""

ChunkSize = Annotated[
    int,
    Field(
        ge=1,
        le=10_000,
        description="Samples per chunk (count): what a crash may lose; never changes a number. By default as many as "
        "take about two minutes, or as an earlier run with the same model had.",
    ),
]
Workers = Annotated[int, Field(ge=1, le=64, description="Parallel processes (count); by default one per GPU or core.")]
RayAddress = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9.:/_-]{0,199}$",
        description="Ray cluster whose processes compute in place of this machine's: HOST:PORT, auto, or local.",
    ),
]
RunName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=80,
        json_schema_extra={"not": {"pattern": SECRET}},
        description="What the run is called in lists and in the UI, besides its settings.",
    ),
]
PLACEMENT: dict[str, tuple[Any, str]] = {
    "name": (RunName, "1 to 80 characters"),
    "chunk_size": (ChunkSize, "a whole number from 1 to 10,000"),
    "workers": (Workers, "a whole number from 1 to 64"),
    "ray_address": (RayAddress, 'HOST:PORT, "auto" or "local"'),
}
"""The parameters that say how a run is called and computed, not what it is, and their allowed values."""


def flat_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings, as `model_dump` gives them, by their own names, without the sections."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= value if isinstance(value, Mapping) else {name: value}
    return flat


def resolve_settings(profile: str, **changes: object) -> ExperimentSettings:
    """Return the settings of a profile with the given values in place of its own.

    Args:
        profile: A name in PROFILES.
        **changes: Flat setting names (e.g. sample_count) and values; None leaves the profile's value. Those in
            PLACEMENT are checked and left out.

    Raises:
        SettingsError: The profile or a setting is unknown, or a value is out of its limits.
    """
    changes = {name: value for name, value in changes.items() if value is not None}
    for name, (kind, allowed) in PLACEMENT.items():
        try:
            TypeAdapter(kind | None).validate_python(changes.pop(name, None))
        except ValidationError as error:
            raise SettingsError(f"`{name}` must be {allowed}: {error.errors()[0]['msg']}.") from None
    refuse_secrets({"profile": profile, **changes})
    if profile not in PROFILES:
        known = f"Known profiles: {', '.join(PROFILES)}."
        raise SettingsError(f"Unknown profile {profile!r}. {known}{did_you_mean(profile, PROFILES)}")
    settings = _changed(PROFILES[profile], changes)
    names = names_by_setting()
    for setting, choices in names.items():
        if (given := getattr(settings, setting)) != ("all",):
            _require_names(f"`{setting}` must be all, or", given, choices)
    for arm in settings.arms:
        text = f"`treatments` of the text {arm.family}/{arm.key} must be"
        _require_names(text, arm.treatments, names["treatments"])
    return settings


def names_by_setting() -> dict[str, tuple[str, ...]]:
    """Return the names that the settings which list names may have, besides all."""
    from tasks.priming.arms.arms import CONTROLS, FREE_TEXTS  # whose module imports this one
    from tasks.priming.arms.treatments import TREATMENTS

    return {"controls": (*CONTROLS,), "free_texts": (*FREE_TEXTS,), "treatments": (*TREATMENTS,)}


def _require_names(what: str, given: Sequence[str], known: Sequence[str]) -> None:
    """Refuse names that are not among the known ones, and treatments without the one that all others need."""
    unknown = [name for name in given if name not in known]
    if unknown or (KEPT in known and KEPT not in given):
        also = f" with {KEPT} among them" if KEPT in known else ""
        advice = (did_you_mean(unknown[0], known) if unknown else "") or f" Use {known[0]},{known[1]}."
        raise SettingsError(f"{what} names among {', '.join(known)}{also}, got {', '.join(given)}.{advice}")
