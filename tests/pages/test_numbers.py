"""Numbers are rounded as a reader would by hand; all expected texts were written down, not computed."""

import math
from collections.abc import Callable

import pytest

from tasks.pages import numbers


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ((0.0547, 0.0341, 0.0760), "0.0547 (0.0341 to 0.0760)"),
        ((-0.0072, -0.0265, 0.0125), "−0.0072 (−0.0265 to 0.0125)"),
        ((0.3064, 0.2811, 0.3317), "0.306 (0.281 to 0.332)"),
        ((1.25, -12.5, 15.0), "1.25 (−12.50 to 15.00)"),
        ((0.0004, -0.00003, 0.0025), "0.0004 (−0.0000 to 0.0025)"),
        ((0.0, 0.0, 0.0), "0 (0 to 0)"),
        ((0.5, None, None), "0.500"),
        ((None, None, None), "–"),
    ],
)
def test_a_mean_and_its_interval_have_the_same_decimals(values: tuple[float | None, ...], shown: str) -> None:
    assert numbers.interval(*values) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1.4031, "1.403"),
        (0.2349, "0.235"),
        (-0.0205, "−0.0205"),
        (0.00002, "+0.0000"),
        (-0.00002, "−0.0000"),
        (-0.0, "0"),
        (250.04, "250.0"),
        (123456.7, "123457"),
        (math.nan, "–"),
        (math.inf, "–"),
        (None, "–"),
    ],
)
def test_a_number_has_three_or_four_digits_and_keeps_its_side_of_zero(value: float | None, shown: str) -> None:
    assert numbers.number(value) == shown


@pytest.mark.parametrize(
    ("form", "value", "shown"),
    [
        (numbers.percent, 0.667, "66.7\u00a0%"),
        (numbers.percent, None, "–"),
        (numbers.count, 2500, "2,500"),
        (numbers.count, 1126.6, "1,127"),
        (numbers.probability, 0.000003, "< 0.0001"),
        (numbers.probability, 0.0421, "0.042"),
        (numbers.ratio, 12.04, "12"),
        (numbers.ratio, 0.9749, "0.975"),
        (numbers.ratio, 1234.0, "1230"),
        (numbers.duration, 0.0041, "0.0041 s"),
        (numbers.duration, 59.4, "59 s"),
        (numbers.duration, 6265.0, "1 h 44 min"),
        (numbers.duration, 119.0, "2 min"),
    ],
)
def test_other_quantities_have_forms_of_their_own(
    form: Callable[[float | None], str], value: float | None, shown: str
) -> None:
    assert form(value) == shown


def test_large_quantities_have_a_prefix() -> None:
    assert numbers.quantity(7_241_732_096) == "7.24\u00a0G"
    assert numbers.quantity(131_072, "B") == "131\u00a0kB"
    assert numbers.quantity(12.0) == "12"
