from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, Engine, MetaData, Table, insert, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import StatementError

from safelight.database import read_transaction, write_transaction
from safelight.database.types import Instant

moments = Table("test_moments", MetaData(), Column("at", Instant))


def test_times_are_returned_in_utc_and_sort(engine: Engine):
    east = timezone(timedelta(hours=9))
    given_moments = [
        datetime(2026, 11, 24, 3, 0, 0, 1, UTC),
        datetime(2026, 11, 24, 12, 0, 0, 2, east),
        datetime(1969, 12, 31, tzinfo=UTC),
    ]
    with write_transaction(engine) as connection:
        moments.create(connection)
        connection.execute(insert(moments), [{"at": moment} for moment in (*given_moments, None)])
    with read_transaction(engine) as connection:
        found = connection.execute(
            select(moments.c.at).where(moments.c.at.is_not(None)).order_by(moments.c.at)
        ).scalars()
        assert list(found) == sorted(given_moments)
        late = moments.c.at >= datetime(2026, 11, 24, 12, 0, 0, 2, east)
        assert connection.execute(select(moments.c.at).where(late)).scalar_one().tzinfo is UTC


def test_a_time_without_zone_is_refused(engine: Engine):
    with pytest.raises((StatementError, TypeError)), engine.connect() as connection:
        connection.execute(select(moments.c.at).where(moments.c.at == datetime(2026, 1, 1)))


@given(st.datetimes(timezones=st.timezones()))
def test_no_microsecond_is_lost(moment: datetime):
    instant, dialect = Instant(), sqlite.dialect()
    kept = instant.process_bind_param(moment, dialect)
    assert instant.process_result_value(kept, dialect) == moment.astimezone(UTC)
