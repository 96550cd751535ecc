"""A zip archive of pictures that is made while it is sent: one picture is in memory at a time.

Pictures are stored as they are, since their formats compress already. Sizes and checksums are in front of each
picture, as programs expect that read an archive from its beginning.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from zipfile import ZIP_STORED, ZipFile, ZipInfo

LEFT_OUT_NAME = "not-included.txt"
"""The file that lists the pictures that are not in an archive."""
_FIRST_YEAR = 1980  # of times in archives


def write_archive(files: Iterable[tuple[str, datetime, bytes]]) -> Iterator[bytes]:
    """The bytes of a zip archive, a part for each file and one for the end.

    Args:
        files: Names, times and contents; each is read when it is needed.
    """
    buffer = _UnsentBytes()
    with ZipFile(buffer, "w", ZIP_STORED) as archive:
        for name, moment, data in files:
            archive.writestr(_file_info(name, moment), data)
            yield buffer.take()
    yield buffer.take()


def _file_info(name: str, moment: datetime) -> ZipInfo:
    time = moment.astimezone(UTC)
    info = ZipInfo(name, (max(_FIRST_YEAR, time.year), *time.timetuple()[1:6]))
    info.external_attr = 0o600 << 16
    return info


class _UnsentBytes(io.BytesIO):
    """A file of which only the end is in memory: positions count from its beginning, and what was taken is gone."""

    def __init__(self) -> None:
        super().__init__()
        self._taken = 0

    def take(self) -> bytes:
        """Remove what is in memory and return it; the position has to be its end."""
        data = self.getvalue()
        self._taken += len(data)
        self.truncate(0)
        super().seek(0)
        return data

    def tell(self) -> int:
        """The position, from the beginning of the whole file."""
        return self._taken + super().tell()

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position that is in memory."""
        if whence == io.SEEK_SET:
            position -= self._taken
        return self._taken + super().seek(position, whence)
