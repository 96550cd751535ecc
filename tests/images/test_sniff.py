"""The content decides which format a file has."""

from __future__ import annotations

import time

import pytest

from safelight.errors import ImageEmptyError, ImageFormatError, ImageNotRecognisedError
from safelight.images import decode, is_image, read_header

REFUSED = {
    "Photoshop": b"8BPS\0\x01" + bytes(60),
    "PDF": b"%PDF-1.7\n",
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "SVG": b'<?xml version="1.0"?>\n<!-- made by hand -->\n<svg xmlns="http://www.w3.org/2000/svg"/>',
    "ICO": b"\0\0\x01\0\x01\0" + bytes(60),
    "JPEG XL": b"\xff\x0a" + bytes(60),
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60),
    "FITS": b"SIMPLE  =                    T",
    "DDS": b"DDS " + bytes(60),
    "OpenEXR": b"v/1\x01" + bytes(60),
    "PNM": b"P6 1 1 255 abc",
    "QOI": b"qoif" + bytes(60),
    "MP4": b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(60),
    "CR3": b"\0\0\0\x14ftypcrx \0\0\0\0crx " + bytes(60),
}
NEITHER = (
    b"hello, world",
    b"BMW is a make of car, not a picture",
    b"\0" * 100,
    b"PK\x03\x04" + bytes(60),
    b"\xff\xd8",
    b"G",
)


def test_every_opened_format_is_recognised(make, format_name):
    data = make.encode(make.image(), format_name)
    assert is_image(data[:64])
    assert read_header(data).format == decode(data).format == format_name


def test_extension_does_not_matter(make, tmp_path):
    path = tmp_path / "picture.gif"
    path.write_bytes(make.encode(make.image(), "PNG"))
    assert decode(path).format == "PNG"


@pytest.mark.parametrize("name", REFUSED)
def test_known_but_unsupported_formats_are_named(name):
    assert not is_image(REFUSED[name][:64])
    with pytest.raises(ImageFormatError, match=name):
        decode(REFUSED[name])


@pytest.mark.parametrize("data", NEITHER)
def test_unknown_content_is_not_recognised(data):
    assert not is_image(data)
    for look in (decode, read_header):
        with pytest.raises(ImageNotRecognisedError):
            look(data)


def test_an_empty_file_has_its_own_error(tmp_path):
    (tmp_path / "empty.jpg").touch()
    assert not is_image(b"")
    for source in (b"", tmp_path / "empty.jpg"):
        with pytest.raises(ImageEmptyError):
            decode(source)


@pytest.mark.parametrize(("brands", "name"), [(b"mif1....avifmif1", "AVIF"), (b"mif1....mif1heic", "HEIF")])
def test_a_shared_container_brand_is_resolved_by_the_compatible_brands(brands, name):
    from safelight.images.sniff import detect_format

    assert detect_format(b"\0\0\0\x18ftyp" + brands + bytes(40)) == name


def test_comments_without_an_image_are_recognised_quickly():
    for comment in (b"<!---->", b"<!-- a -->\n", b"<!--"):
        began = time.process_time()
        assert not is_image(comment * 60 + b"x")
        assert time.process_time() - began < 0.1
