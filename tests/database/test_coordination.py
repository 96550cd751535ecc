from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Column, Engine, MetaData, Table, insert, select

from safelight.database import write_transaction
from safelight.database.coordination import current_time, now
from safelight.database.types import Instant

moments = Table("test_moments", MetaData(), Column("at", Instant))


def test_the_time_is_the_same_as_a_value_and_in_a_statement(engine: Engine) -> None:
    with write_transaction(engine) as connection:
        moments.create(connection)
        before = now(connection)
        connection.execute(insert(moments).values(at=current_time(connection)))
        after = now(connection)
        kept = connection.execute(select(moments.c.at)).scalar_one()
        read = connection.execute(select(current_time(connection))).scalar_one()
    assert before <= kept <= after <= read
    assert kept.tzinfo is UTC
    assert abs(kept - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_hosts_own_clock_is_not_used_where_there_may_be_others(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: ahead)
    with write_transaction(engine) as connection:
        read = connection.execute(select(current_time(connection))).scalar_one()
        times = [now(connection), read]
    known = [moment.timestamp() > ahead - 60 for moment in times]
    assert known == [engine.dialect.name == "sqlite"] * 2
