"""What DBOS's tables hold must not run code.

DBOS writes JSON here, as it is told to, yet reads each value in the way that its row names, and a row may name Python's
pickle, which runs whatever code its bytes say. Whoever can write to the database could run code in every worker. There
is no setting against it, so DBOS's serializer for pickles is made to refuse.
"""

from __future__ import annotations

import base64
import pickle
from typing import NoReturn

from dbos import DBOSPortableJSONSerializer, _serialization

from safelight.errors import InternalError, StoredObjectError


def refuse_pickle() -> None:
    """Make DBOS refuse every pickle that it reads in this process, from now on; calling it again changes nothing.

    Raises:
        InternalError: This version of DBOS would read them all the same.
    """
    _serialization.DefaultSerializer.deserialize = _refuse  # type: ignore[method-assign]
    harmless = base64.b64encode(pickle.dumps({})).decode()
    name, serializer = _serialization.DefaultSerializer().name(), DBOSPortableJSONSerializer()
    for read in (
        _serialization.deserialize_args,
        _serialization.deserialize_value,
        _serialization.deserialize_exception,
    ):
        try:
            read(harmless, name, serializer)
        except StoredObjectError:
            continue
        raise InternalError(f"DBOS reads pickles in {read.__name__} in spite of it all.")


def _refuse(_: object, __: str) -> NoReturn:
    raise StoredObjectError
