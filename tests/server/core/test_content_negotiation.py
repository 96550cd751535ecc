from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gallery.conftest import make_image_file, make_record

from safelight.errors import NotAcceptableError
from safelight.generation.record import ReproductionRecord
from safelight.images import DecodeLimits
from safelight.images.metadata.file_metadata import read_metadata
from safelight.server.core.content_negotiation import OFFERED_TYPES, convert_image, negotiate

RANGES = st.sampled_from(["*/*", "image/*", "text/*", *OFFERED_TYPES, "text/html", "", ";", "image/png;q"])
WEIGHTS = st.sampled_from(["", ";q=0", ";q=0.5", ";q=1", ";q=x", ";q=nan", ";q=-1", "; Q=0.3;level=1"])


@given(st.lists(st.tuples(RANGES, WEIGHTS).map("".join)).map(", ".join) | st.text(max_size=50))
def test_any_accept_header_gives_an_offered_type_or_the_error(accept: str) -> None:
    with suppress(NotAcceptableError):
        assert negotiate(accept) in OFFERED_TYPES


@pytest.mark.parametrize("kind", ["webp", "jpeg"])
def test_the_same_picture_gives_the_same_bytes(kind: str) -> None:
    data = make_image_file(make_record("a red apple"))
    made = convert_image(data, kind, DecodeLimits())
    assert made == convert_image(data, kind, DecodeLimits())
    assert convert_image(made, kind, DecodeLimits()) == made
    record = ReproductionRecord.parse(read_metadata(made).record or "")
    assert record.file is not None
    assert (record.file.kind, record.file.quality) == (kind, 95)


def test_a_picture_without_a_record_stays_without() -> None:
    assert read_metadata(convert_image(make_image_file(None), "webp", DecodeLimits())).record is None
