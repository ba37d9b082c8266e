"""What a job id may be, and that the batch check agrees with the single one."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_schemas.ids import are_valid_ids, derived_id, is_valid_id, is_valid_id_bytes, new_id

GOOD = ["a", "a~b", "A.b_c:d~e-f", "0" * 128, "-", "."]
BAD = ["", "~a", "~", "a b", "a\n", "\na", "é", "0" * 129, "a/b", "a\x00", '"', "a\nb"]


@pytest.mark.parametrize("text", GOOD)
def test_a_good_id_is_valid(text: str) -> None:
    assert is_valid_id(text)
    assert are_valid_ids([text.encode()])


@pytest.mark.parametrize("text", BAD)
def test_a_bad_id_is_not(text: str) -> None:
    assert not is_valid_id(text)
    assert not are_valid_ids([text.encode()])
    assert not are_valid_ids([b"fine", text.encode(), b"fine"])


@given(st.lists(st.one_of(st.sampled_from(GOOD + BAD).map(str.encode), st.binary(max_size=4)), max_size=6))
def test_a_batch_is_valid_if_each_of_it_is(ids: list[bytes]) -> None:
    assert are_valid_ids(ids) == all(is_valid_id_bytes(one) for one in ids)


def test_new_ids_are_valid_sort_by_time_and_hold_80_random_bits() -> None:
    first = new_id()
    began = time.time_ns() // 1_000_000
    while time.time_ns() // 1_000_000 == began:
        pass
    second = new_id()
    assert is_valid_id(first)
    assert first < second
    assert len({new_id()[12:] for _ in range(1000)}) == 1000
    assert len(first[12:]) * 4 == 80


def test_a_derived_id_is_no_callers_id() -> None:
    assert derived_id(3, 17, 1_700_000_000_000) == "~3-17-1700000000000"
    assert not is_valid_id(derived_id(3, 17, 1_700_000_000_000))
