"""Six measured comparisons give what the measuring run itself reported, from the same 200 pairs."""

import json

import pyarrow.parquet
import pytest

from tasks.priming.statistics.paired import PairedStatistics, Pairs, describe_pairs
from tests.places import GOLDEN

MEASURED = json.loads((GOLDEN / "paired_statistics.json").read_text(encoding="utf-8"))["t5gemma_v3_exp01_200"]
COLUMNS = pyarrow.parquet.read_table(GOLDEN / "paired_nll_200.parquet")


def describe(condition: str, passages_of: int = 1) -> PairedStatistics:
    """Describe one condition against the bare document, with so many pairs to a passage."""
    reference, arm = COLUMNS["nll_bare"].to_numpy(), COLUMNS[f"nll_{condition}"].to_numpy()
    passage_ids = [f"passage-{number // passages_of:03d}" for number in range(len(arm))]
    return describe_pairs(Pairs(reference, arm, passage_ids), 0.95)


@pytest.mark.parametrize("condition", MEASURED)
def test_the_pairs_give_what_the_measuring_run_reported(condition: str) -> None:
    reported = MEASURED[condition]["published"]  # by the measuring run's own code
    found = describe(condition)
    assert found.arm_mean == pytest.approx(reported["mean_nll"], rel=1e-9)
    assert found.improvement_mean == pytest.approx(reported["delta"], rel=1e-9)
    assert found.cohens_d == pytest.approx(reported["d"], rel=1e-9)
    assert 100 * found.win_count / found.n == pytest.approx(reported["win_pct"], rel=1e-9)
    assert found.t_p_value == pytest.approx(reported["p"], rel=1e-9)


@pytest.mark.parametrize("condition", MEASURED)
def test_passages_change_the_inference_and_nothing_that_is_recorded(condition: str) -> None:
    recorded = MEASURED[condition]
    found = describe(condition, passages_of=4)
    assert (found.n, found.passage_count) == (200, 50)
    assert found.improvement_sd == pytest.approx(recorded["sd_delta"], rel=1e-9)
    assert found.t_statistic == pytest.approx(recorded["t"], rel=1e-9)  # takes the pairs as independent
    assert found.t_p_value == pytest.approx(recorded["p"], rel=1e-9)
    assert found.wilcoxon_p_value == pytest.approx(recorded["wilcoxon_p"], rel=1e-9)
    assert found.p_value != pytest.approx(recorded["p"], rel=1e-3)  # takes the passages as independent
