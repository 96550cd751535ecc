"""Metadata of images from anywhere: layouts of other programs, damage, decompression bombs."""

from __future__ import annotations

import random
import re
import struct
import time
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.hypothesis_profiles import example_count

from safelight.errors import FileMissingError, ImageEmptyError, ImageNotRecognisedError, SafelightError
from safelight.images.encoding import encode_image
from safelight.images.metadata.file_metadata import Metadata, read_metadata
from safelight.images.metadata.png_text import MAX_TEXT, MAX_TOTAL_TEXT
from safelight.images.metadata.xmp import NAMESPACE, build_packet
from safelight.images.types import DecodeLimits

KINDS = ("png", "jpeg", "webp")
TINY = Image.new("RGB", (3, 2), (200, 100, 50))
TEXT = "猫 and 🐈, (x:1.2)\nNegative prompt: y\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 8x8"


def exif(comment: bytes, order: str = ">") -> bytes:
    """An EXIF block as piexif writes it: Make in the first directory, the comment in the second."""
    head = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(f"{order}I", 8)
    main = struct.pack(f"{order}HHHI4sHHIII", 2, 0x010F, 2, 2, b"c\0\0\0", 0x8769, 4, 1, 38, 0)
    inner = struct.pack(f"{order}HHHI4sHHIII", 2, 0x9000, 7, 4, b"0232", 0x9286, 7, len(comment), 68, 0)
    return b"Exif\0\0" + head + main + inner + comment


def jpeg(*segments: bytes) -> bytes:
    plain = encode_image(TINY, "jpeg")
    marked = b"".join(b"\xff\xe1" + struct.pack(">H", len(each) + 2) + each for each in segments)
    return plain[:2] + marked + plain[2:]


def webp(name: bytes, content: bytes) -> bytes:
    plain = encode_image(TINY, "webp")
    body = plain[12:] + name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


@pytest.fixture(scope="session")
def png(make):
    def build(*chunks: tuple[bytes, bytes]) -> bytes:
        return make.png(3, 2, 8, 2, bytes(20), *(make.chunk(name, content) for name, content in chunks))

    return build


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=300)


@pytest.mark.parametrize("kind", KINDS)
@given(parameters=texts.filter(lambda text: text.strip() != ""))
@settings(max_examples=example_count(60))
def test_any_infotext_round_trips(kind, parameters):
    assert read_metadata(encode_image(TINY, kind, Metadata(parameters))).infotext == parameters


in_xml = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff") | st.sampled_from(
    "\t\r\n"
)


@pytest.mark.parametrize("kind", KINDS)
@given(record=st.text(in_xml, min_size=1, max_size=300))
@settings(max_examples=example_count(60))
def test_any_record_round_trips(kind, record):
    assert read_metadata(encode_image(TINY, kind, Metadata(record=record))) == Metadata(record=record)


@pytest.mark.parametrize(
    "comment",
    [
        b"UNICODE\0" + TEXT.encode("utf-16-be"),
        b"UNICODE\0" + b"\xff\xfe" + TEXT.encode("utf-16-le"),
        b"UNICODE\0" + b"\xfe\xff" + TEXT.encode("utf-16-be"),
        b"UNICODE\0" + TEXT.encode("utf-16-be") + b"\0\0\0\0",
        b"ASCII\0\0\0" + TEXT.encode(),
        bytes(8) + TEXT.encode(),
        TEXT.encode(),
    ],
)
@pytest.mark.parametrize("order", [">", "<"])
def test_comments_of_every_encoding_and_byte_order(comment, order, png):
    block = exif(comment, order)
    files = [jpeg(block), webp(b"EXIF", block), webp(b"EXIF", block[6:]), png((b"eXIf", block[6:]))]
    assert [read_metadata(data).infotext for data in files] == [TEXT] * 4


def test_unicode_in_the_order_of_a_little_endian_block():
    assert read_metadata(jpeg(exif(b"UNICODE\0" + TEXT.encode("utf-16-le"), "<"))).infotext == TEXT


def test_letters_that_end_in_a_zero_byte_are_not_taken_for_the_other_order():
    assert read_metadata(encode_image(TINY, "jpeg", Metadata("Āऀ"))).infotext == "Āऀ"


def test_latin_1_where_a_comment_is_no_utf_8():
    assert read_metadata(jpeg(exif(b"ASCII\0\0\0caf\xe9"))).infotext == "café"


@pytest.mark.parametrize(
    "comment", [b"", b"ASCII\0\0\0", b"UNICODE\0" + bytes(40), b"ASCII\0\0\0" + b" " * 40]
)
def test_empty_comments_of_cameras_are_ignored(comment):
    assert read_metadata(jpeg(exif(comment))) == Metadata()


def test_exif_after_other_segments():
    data = jpeg(
        b"http://example.invalid/\0x", exif(b"UNICODE\0" + "a".encode("utf-16-be")), exif(b"ASCII\0\0\0b")
    )
    padded = data[:2] + b"\xff\xff\xff" + data[3:]
    assert read_metadata(data).infotext == read_metadata(padded).infotext == "a"


@pytest.mark.parametrize(
    ("block", "complaint"),
    [
        (b"Exif\0\0rubbish", "not begin with a TIFF"),
        (exif(b"ASCII\0\0\0x")[:20], "ends within"),
        (exif(b"ASCII\0\0\0" + b"x" * 99)[:-50], "runs past its end"),
        (exif(b"UNICODE\0" + b"\xd8\x3d\0a"), "utf-16"),
    ],
)
def test_damaged_exif_is_skipped_with_a_note(block, complaint):
    for data in (jpeg(block), webp(b"EXIF", block)):
        found = read_metadata(data)
        assert found.infotext is None
        (note,) = found.notes
        assert note.startswith("EXIF block skipped: ")
        assert re.search(complaint, note)


def test_png_texts_of_each_kind(png):
    data = png(
        (b"tEXt", b"parameters\0caf\xe9"),
        (b"zTXt", b"Comment\0\0" + zlib.compress(b"caf\xe9" * 100)),
        (b"iTXt", b"safelight\0\1\0en\0titel\0" + zlib.compress("猫".encode())),
        (b"iTXt", "prompt\0\0\0\0\0🐈".encode()),
    )
    assert read_metadata(data) == Metadata("café", "猫", {"Comment": "café" * 100, "prompt": "🐈"})


def test_texts_after_the_pixels_are_read_too(png, make):
    data = png()
    late = make.chunk(b"tEXt", b"parameters\0late")
    assert read_metadata(data[:-12] + late + data[-12:]).infotext == "late"


def test_with_a_duplicate_key_the_last_text_counts(png):
    found = read_metadata(png((b"tEXt", b"parameters\0one"), (b"tEXt", b"parameters\0two")))
    assert found.infotext == "two"
    assert "more than once" in found.notes[0]


@pytest.mark.parametrize(
    "broken",
    [
        (b"iTXt", b"parameters\0\0\0\0\0\xff\xfe"),
        (b"iTXt", b"parameters\0\0\0"),
        (b"tEXt", b"parameters"),
        (b"zTXt", b"parameters\0\0rubbish"),
        (b"zTXt", b"parameters\0\0" + zlib.compress(b"x" * 500)[:-6]),
    ],
)
def test_a_damaged_text_is_skipped_with_a_note_and_the_rest_read(png, broken):
    found = read_metadata(png(broken, (b"tEXt", b"Title\0sea")))
    assert found.infotext is None
    assert found.other_texts == {"Title": "sea"}
    assert f"{broken[0].decode()} chunk skipped" in found.notes[0]


def test_a_text_with_a_wrong_checksum_is_ignored(png):
    data = png((b"tEXt", b"parameters\0a cat"))
    found = read_metadata(data.replace(b"a cat", b"a dog"))
    assert found == Metadata(notes=("tEXt chunk skipped: its checksum is wrong",))


def test_a_decompression_bomb_is_neither_unpacked_nor_fatal(png):
    bomb = zlib.compress(bytes(100_000_000), 9)
    chunks = [(b"zTXt", b"a\0\0" + bomb), (b"iTXt", b"b\0\1\0\0\0" + bomb)] * 30
    data = png((b"tEXt", b"parameters\0kept"), *chunks)
    tracemalloc.start()
    began = time.perf_counter()
    found = read_metadata(data)
    seconds, (_, peak) = time.perf_counter() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.infotext == "kept"
    assert found.other_texts == {}
    assert f"zTXt chunk skipped: more than {MAX_TEXT} bytes when decompressed" in found.notes
    assert found.notes[-1] == f"texts after the first {MAX_TOTAL_TEXT} bytes skipped"
    assert seconds < 2
    assert peak < 20_000_000


def test_the_number_of_texts_is_limited(png):
    found = read_metadata(png(*[(b"tEXt", b"key%d\0value" % number) for number in range(30_000)]))
    assert len(found.other_texts) < 20_000
    assert "skipped" in found.notes[-1]


def test_xmp_as_other_programs_rewrite_it():
    element = (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><R xmlns:s="{NAMESPACE}"><s:other>1</s:other>'
        "<s:record>{&quot;a&quot;: <![CDATA[1]]>}</s:record></R></x:xmpmeta>\n   \n"
    ).encode()
    header = b"http://ns.adobe.com/xap/1.0/\0"
    assert read_metadata(jpeg(header + element)).record == '{"a": 1}'
    assert read_metadata(webp(b"XMP ", element)).record == '{"a": 1}'
    assert read_metadata(jpeg(header + element.replace(NAMESPACE.encode(), b"urn:else:"))) == Metadata()


LAUGHS = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(9))
BILLION = f'<!DOCTYPE x [<!ENTITY l0 "ha">{LAUGHS}]><x xmlns:s="{NAMESPACE}"><s:record>&l9;</s:record></x>'


@pytest.mark.parametrize(
    "bad", [b"<x>", b"", b"\xff\xfe<\0x\0/\0>\0", BILLION.encode(), build_packet("x")[:-60]]
)
def test_damaged_or_hostile_xmp_is_skipped_with_a_note(bad):
    found = read_metadata(webp(b"XMP ", bad))
    assert found.record is None
    assert found.notes[0].startswith("XMP block skipped: ")


def test_deeply_nested_xmp_is_fast():
    began = time.perf_counter()
    read_metadata(webp(b"XMP ", b"<a>" * 1_000_000))
    assert time.perf_counter() - began < 2


def test_oversized_blocks_are_skipped():
    found = read_metadata(webp(b"EXIF", exif(b"ASCII\0\0\0" + b"x" * MAX_TEXT)))
    assert found == Metadata(notes=(f"EXIF block skipped: {MAX_TEXT} bytes or more",))


def test_formats_without_metadata_support_are_named(make):
    assert read_metadata(make.encode(TINY, "GIF")).notes == ("GIF files are not searched for metadata",)


def test_paths_and_bytes(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encode_image(TINY, "png", Metadata("x")))
    assert (
        read_metadata(path) == read_metadata(str(path)) == read_metadata(path.read_bytes()) == Metadata("x")
    )
    with pytest.raises(FileMissingError):
        read_metadata(tmp_path / "none.png")
    with pytest.raises(SafelightError, match="limit is 10"):
        read_metadata(path, limits=DecodeLimits(max_bytes=10))


def test_a_file_that_is_no_image_is_an_error():
    with pytest.raises(ImageEmptyError):
        read_metadata(b"")
    with pytest.raises(ImageNotRecognisedError):
        read_metadata(b"Dear reader")


def corrupted_file(original: bytes, rng: random.Random) -> bytes:
    data = bytearray(original)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(data))
        match rng.randrange(4):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at : at + 4] = rng.choice(
                    (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\1")
                )
            case 2:
                del data[at : at + rng.randint(1, 40)]
            case 3:
                data[at:at] = data[rng.randrange(len(data)) :][: rng.randint(1, 200)]
    return bytes(data[: rng.randrange(len(data))] if rng.random() < 0.2 else data) or b"\0"


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_give_metadata_or_our_error(kind, png):
    rng = random.Random(f"20261122{kind}")
    original = encode_image(TINY, kind, Metadata(TEXT, '{"a":[1,2,"é"]}'))
    if kind == "png":
        original = png(
            (b"tEXt", b"parameters\0a"),
            (b"zTXt", b"b\0\0" + zlib.compress(b"c" * 99)),
            (b"iTXt", "safelight\0\0\0\0\0é".encode()),
            (b"eXIf", exif(b"ASCII\0\0\0d")[6:]),
        )
    read = 0
    for _ in range(400):
        data = corrupted_file(original, rng)
        began = time.perf_counter()
        try:
            read += isinstance(read_metadata(data), Metadata)
        except SafelightError as error:
            assert error.code.startswith("image.")  # noqa: PT017 - both outcomes are allowed
        assert time.perf_counter() - began < 1
    assert 200 < read < 400
