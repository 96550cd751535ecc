"""What is planted in DBOS's tables runs nothing: each pickle here would leave a file behind."""

from __future__ import annotations

import base64
import pickle
from collections.abc import Callable
from contextlib import suppress
from json import JSONDecodeError
from pathlib import Path

import dbos
import pytest
from dbos import DBOSClient, _serialization
from sqlalchemy import insert, update
from tests.jobs.running import wait_for, workshop

from safelight.database import writing
from safelight.errors import InternalError, StoredObjectError
from safelight.jobs.dispatch import APPLICATION, QUEUE, TURN
from safelight.jobs.job import JobState
from safelight.jobs.no_pickle import refuse_pickle
from safelight.jobs.service import Service, prepare
from safelight.settings import Settings


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.mark,)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "code ran"


@pytest.fixture
def trap(mark: Path) -> str:
    """A pickle as DBOS would have written it."""
    text = base64.b64encode(pickle.dumps(Trap(mark))).decode()
    pickle.loads(base64.b64decode(text))
    mark.unlink()
    return text


def plant(service: Service, name: str, trap: str, **status: object) -> str:
    """Put a turn into the queue, and traps wherever DBOS keeps something for it; returns the turn's id."""
    tables, turn = service.dispatcher._client._sys_db.tables, f"turn-{name}"
    pickled = {"serialization": "py_pickle"}
    with writing(service.engine) as connection:
        service.dispatcher.enqueue(connection, name)

        def put(table: str, **values: object) -> None:
            connection.execute(insert(getattr(tables, table)).values(**values))

        found = tables.workflow_status.c.workflow_uuid == turn
        traps = {"inputs": trap, "output": trap, "error": trap}
        connection.execute(update(tables.workflow_status).where(found).values({**traps, **pickled, **status}))
        whose = tables.workflow_input.c.workflow_uuid == turn
        connection.execute(update(tables.workflow_input).where(whose).values(inputs=trap))
        put(
            "operation_outputs",
            workflow_uuid=turn,
            function_id=1,
            function_name="step",
            output=trap,
            retention_timestamp=0,
            **pickled,
        )
        put("notifications", destination_uuid=turn, topic="topic", message=trap, message_uuid=turn, **pickled)
        put("workflow_events", workflow_uuid=turn, key="key", value=trap, **pickled)
        put("workflow_events_history", workflow_uuid=turn, key="key", value=trap, function_id=1, **pickled)
        put("streams", workflow_uuid=turn, key="key", value=trap, offset=0, function_id=1, **pickled)
        put(
            "workflow_schedules",
            schedule_id=turn,
            schedule_name=turn,
            workflow_name=TURN,
            schedule="* * * * * *",
            context=trap,
            queue_name=QUEUE,
            application_name=APPLICATION,
        )
    return turn


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_worker_goes_on_beside_planted_rows(
    kind: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    mark: Path,
    trap: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    url = request.getfixturevalue("postgres_url") if kind == "postgresql" else ""
    with workshop(tmp_path / "home", url) as shop:
        refused = [
            plant(shop.service, "interrupted", trap, status="PENDING", executor_id="w"),
            plant(shop.service, "waiting", trap),
            plant(shop.service, "internal", trap, queue_name="_dbos_internal_queue"),
            plant(shop.service, "unknown", trap, serialization="something else"),
        ]
        shop.start()
        job = shop.submit()
        wait_for(lambda: shop.state(job).final)
        refused.append(plant(shop.service, "late", trap))
        other = shop.submit(seed=2)
        wait_for(lambda: shop.state(other).final)
        assert shop.state(job) is shop.state(other) is JobState.SUCCEEDED
        said = ""

        def all_said() -> bool:
            nonlocal said
            said += capfd.readouterr().err
            return all(turn in said for turn in refused)

        wait_for(all_said)
        assert shop.end() == 0
    assert not mark.exists()
    assert "a pickled Python object" in said


def readers(client: DBOSClient, turn: str) -> list[Callable[[], object]]:
    """The ways in which DBOS's client reads what is kept for a turn."""
    return [
        lambda: client.retrieve_workflow(turn).get_result(),
        lambda: client.get_event(turn, "key", 0.1),
        lambda: list(client.read_stream(turn, "key")),
        lambda: client.list_workflows(workflow_ids=[turn]),
        lambda: client.list_workflow_steps(turn),
        lambda: client.get_schedule(turn),
        lambda: client.list_schedules(),
        lambda: client._sys_db.get_all_events(turn),
        lambda: client._sys_db.recv(turn, 5, 6, "topic", 0.1),
        lambda: client.trigger_schedule(turn),
    ]


def test_nothing_that_is_kept_is_unpickled(database_settings: Settings, mark: Path, trap: str) -> None:
    prepare(database_settings)
    service = Service.open(database_settings)
    for status in ("SUCCESS", "ERROR"):
        turn = plant(service, status, trap, status=status)
        for read in readers(service.dispatcher._client, turn):
            with suppress(StoredObjectError, JSONDecodeError):  # some give the text instead
                read()
    service.close()
    assert not mark.exists()


def test_a_version_that_would_read_them_all_the_same_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_pickle()
    with pytest.raises(StoredObjectError):
        _serialization.DefaultSerializer().deserialize("")
    monkeypatch.setattr(_serialization, "deserialize_value", lambda *_: {})
    with pytest.raises(InternalError, match="DBOS reads pickles"):
        refuse_pickle()


def test_dbos_knows_pickles_in_one_place() -> None:
    """In a version that has another, somebody has to look."""
    folder = Path(dbos.__file__).parent
    using = [path.name for path in folder.rglob("*.py") if "import pickle" in path.read_text()]
    assert using == ["_serialization.py"]
