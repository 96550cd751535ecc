from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.gallery.entry_ids import created_of, is_entry_id, key_of, make_entry_id, make_entry_key

TIMES = st.datetimes(datetime(1970, 1, 1), datetime(2169, 1, 1), timezones=st.just(UTC))
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_ids_are_stable():
    assert make_entry_id(NOON, make_entry_key("job-1", 0)) == "1m86ptpg0zvdgmp1p28c00"


@given(st.text(), st.text(), st.integers(0, 1000), st.integers(0, 1000))
def test_each_image_of_each_job_has_its_own_key(job: str, other: str, index: int, second: int):
    same = (job, index) == (other, second)
    assert (make_entry_key(job, index) == make_entry_key(other, second)) is same


@given(TIMES, TIMES)
def test_ids_sort_by_time(first: datetime, second: datetime):
    names = [make_entry_id(moment, make_entry_key("x", 0)) for moment in (first, second)]
    earlier = created_of(names[0]) < created_of(names[1])
    assert (names[0] < names[1]) is earlier
    assert timedelta(0) <= first - created_of(names[0]) < timedelta(milliseconds=1)


@given(TIMES, st.text(), st.integers(0, 1000))
def test_key_and_time_can_be_read_from_an_id(moment: datetime, job: str, index: int):
    name = make_entry_id(moment, make_entry_key(job, index))
    assert is_entry_id(name)
    assert len(name) == 22
    assert key_of(name) == make_entry_key(job, index)


@pytest.mark.parametrize("moment", [NOON.replace(year=1969), NOON.replace(year=2300)])
def test_times_out_of_range(moment: datetime):
    with pytest.raises(ValueError, match="out of range"):
        make_entry_id(moment, make_entry_key("x", 0))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "0" * 21,
        "0" * 23,
        "0" * 21 + "u",
        "0" * 21 + "\n",
        "../../etc/passwd",
        "z" * 22,
        "\uff10" * 22,
    ],
)
def test_invalid_ids(text: str):
    assert not is_entry_id(text)
