"""Masks: what may be shown of a personal value."""

import subprocess
import sys

from hypothesis import given, strategies as st

from feature_store_assets.declaration.mask import MASKS, mask_value

VALUES = st.text(min_size=4) | st.integers(min_value=10**6)


def test_there_are_two_masks() -> None:
    assert MASKS == ("redact", "hash")


@given(VALUES)
def test_nothing_of_the_value_is_shown(value: object) -> None:
    assert mask_value(value, "redact") == "***"
    shown = mask_value(value, "hash")
    assert shown is not None
    assert len(shown) == 9
    assert str(value) not in shown


@given(VALUES, VALUES)
def test_digests_tell_equal_values_from_others(one: object, other: object) -> None:
    assert (mask_value(one) == mask_value(other)) == (one == other)


def test_a_missing_value_is_shown_as_missing() -> None:
    assert mask_value(None, "hash") is mask_value(None, "redact") is None


def test_digests_do_not_lead_back_from_one_process_to_another() -> None:
    code = "from feature_store_assets.declaration.mask import mask_value; print(mask_value('ada'))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() != mask_value("ada")
