from __future__ import annotations

import errno
import inspect
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from safelight.errors import FileMissingError, ImageFormatError, InputError
from safelight.images import decode
from safelight.moderation.scan.sources import EXTENSIONS, SkipReason, count_images, find_images

GIF = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff"
    b",\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images and similar files, at several depths."""
    root = tmp_path / "pictures"
    files = {
        "b.gif": GIF,
        "a.jpg": b"damaged",
        "notes.txt": b"words",
        "picture.txt": GIF,
        "noname": GIF,
        ".hidden.png": GIF,
        "sub/UPPER.JPEG": b"",
        "sub/deep/c.webp": GIF,
        "sub.d/d.heic": GIF,
        "movie.mp4": b"\x00\x00\x00\x18ftypmp42",
        "drawing": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "book.cbz": b"PK\x03\x04" + GIF,
        "empty": b"",
    }
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def found_names(target: str | Path, root: Path, **options: Any) -> list[str]:
    return [os.path.relpath(name, root) for name, _ in find_images(str(target), **options)]


def skipped_files(target: str | Path, root: Path, **options: Any) -> dict[str, SkipReason]:
    """What is left out, by its path below the root."""
    found: dict[str, SkipReason] = {}
    for _ in find_images(str(target), on_skip=found.__setitem__, **options):
        pass
    return {os.path.relpath(path, root): reason for path, reason in found.items()}


EVERYTHING = [
    ".hidden.png",
    "a.jpg",
    "b.gif",
    "drawing",
    "movie.mp4",
    "noname",
    "picture.txt",
    "sub/UPPER.JPEG",
    "sub/deep/c.webp",
    "sub.d/d.heic",
]


def test_a_folder_gives_everything_that_is_or_claims_to_be_an_image(folder: Path) -> None:
    assert found_names(folder, folder) == EVERYTHING
    assert count_images(str(folder)) == len(EVERYTHING)


def test_skipped_files_are_reported(folder: Path) -> None:
    assert skipped_files(folder, folder) == {
        "book.cbz": SkipReason.ARCHIVE,
        "empty": SkipReason.NOT_A_PICTURE,
        "notes.txt": SkipReason.NOT_A_PICTURE,
    }
    assert len(found_names(folder, folder)) + len(skipped_files(folder, folder)) == sum(
        path.is_file() for path in folder.rglob("*")
    ), "no file is neither"


def test_by_names_alone_nothing_is_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "safelight.moderation.scan.sources._source_by_content", lambda _: pytest.fail("opened")
    )
    known = [name for name in EVERYTHING if Path(name).suffix.lower() in EXTENSIONS]
    assert found_names(folder, folder, only_known=True) == known
    assert count_images(str(folder), only_known=True) == len(known)
    others = {"book.cbz", "drawing", "empty", "movie.mp4", "noname", "notes.txt", "picture.txt"}
    assert skipped_files(folder, folder, only_known=True) == dict.fromkeys(others, SkipReason.OTHER_NAME)


@pytest.mark.parametrize(
    ("content", "format_name"),
    [
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"8BPS\0\x01", "Photoshop (PSD)"),
        (b"<?xml version='1.0'?><svg/>", "SVG"),
        (b"%PDF-1.7", "PDF"),
        (b"\x1aE\xdf\xa3", "Matroska or WebM video"),
        (b"\0\0\0\x18ftypisom", "'isom' (MP4 family)"),
    ],
)
def test_known_but_unsupported_formats_are_errors_that_name_them(
    tmp_path: Path, content: bytes, format_name: str
) -> None:
    """However long the file, its first bytes are enough."""
    with (tmp_path / "file.dat").open("wb") as file:
        file.write(content)
        file.truncate(1 << 30)
    ((name, source),) = find_images(str(tmp_path))
    assert name == str(tmp_path / "file.dat")
    assert len(source) <= 1024
    with pytest.raises(ImageFormatError) as caught:
        decode(source)
    assert caught.value.message == f"The content is {format_name}, which is not opened."


@pytest.mark.parametrize(
    "content",
    [b"PK\x03\x04", b"\x1f\x8b\x08", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07\x01\0", b"x" * 257 + b"ustar\0"],
)
def test_archives_are_reported_as_such(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert skipped_files(tmp_path, tmp_path) == {"file": SkipReason.ARCHIVE}


@pytest.mark.skipif(sys.platform == "win32", reason="needs pipes and links")
def test_special_files(tmp_path: Path) -> None:
    """They are never waited for."""
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "round").symlink_to("round")
    (tmp_path / "up").symlink_to("..")
    assert skipped_files(tmp_path, tmp_path) == {
        "device": SkipReason.SPECIAL_FILE,
        "gone": SkipReason.BROKEN_LINK,
        "pipe": SkipReason.SPECIAL_FILE,
        "round": SkipReason.BROKEN_LINK,
        "socket": SkipReason.SPECIAL_FILE,
        "up": SkipReason.LINKED_FOLDER,
    }
    assert found_names(tmp_path, tmp_path) == ["pipe.jpg"], "which gets a line that says it is no file"


def test_an_unreadable_file_may_be_an_image(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, _flags: int) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr("safelight.moderation.scan.sources._open_nonblocking", refuse)
    assert {"notes.txt", "book.cbz", "empty"} <= set(found_names(folder, folder))
    assert skipped_files(folder, folder) == {}


def create_nested_folders(folder: Path, name: str, times: int) -> None:
    """Nested folders, deeper than a path can be."""
    deepest = os.open(folder, os.O_RDONLY)
    for _ in range(times):
        os.mkdir(name, dir_fd=deepest)
        below = os.open(name, os.O_RDONLY, dir_fd=deepest)
        os.close(deepest)
        deepest = below
    os.close(deepest)


@pytest.mark.skipif(sys.platform == "win32", reason="needs long paths")
def test_a_folder_deeper_than_the_longest_path(tmp_path: Path) -> None:
    """Its content has one line, which says that it was not searched."""
    create_nested_folders(tmp_path, "d" * 250, 20)
    (tmp_path / "z.gif").write_bytes(GIF)
    cut, last = found_names(tmp_path, tmp_path)
    assert cut.count("/") > 10
    assert last == "z.gif"
    subprocess.run(["rm", "-rf", str(tmp_path / ("d" * 250))], check=True)


def test_a_folder_deeper_than_the_recursion_limit(tmp_path: Path) -> None:
    create_nested_folders(tmp_path, "d", 300)
    deepest = tmp_path.joinpath(*"d" * 300, "z.gif")
    deepest.write_bytes(GIF)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 120)
    try:
        found = list(find_images(str(tmp_path)))
    finally:
        sys.setrecursionlimit(limit)
    assert found == [(str(deepest), deepest)]


@pytest.mark.skipif(sys.platform == "win32", reason="needs links")
@pytest.mark.timeout(20)
def test_a_pattern_follows_no_cycles(folder: Path) -> None:
    """Two links to a parent folder would give two to the fortieth folders."""
    for name in ("one", "two", "three"):
        (folder / "sub" / name).symlink_to(folder)
    assert found_names(folder / "**", folder) == EVERYTHING_BY_PATH
    assert found_names(folder / "**" / "*.gif", folder) == ["b.gif"]
    assert {
        name
        for name, reason in skipped_files(folder / "**", folder).items()
        if reason is SkipReason.LINKED_FOLDER
    } == {
        "sub/one",
        "sub/two",
        "sub/three",
    }


EVERYTHING_BY_PATH = [*EVERYTHING[:7], "sub/UPPER.JPEG", "sub/deep/c.webp", "sub.d/d.heic"]


def test_the_order_is_deterministic(folder: Path, tmp_path: Path) -> None:
    first = found_names(folder, folder)
    copy = tmp_path / "copy"
    for name in reversed(first):  # created in another order, so listed by the disk in another
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / name, copy / name)
    assert found_names(copy, copy) == first == found_names(folder, folder)


def test_each_pair_is_a_path_as_text_and_as_a_path(folder: Path) -> None:
    for name, source in find_images(str(folder)):
        if Path(name).name in ("drawing", "movie.mp4"):
            continue  # of unsupported files the first bytes suffice
        assert isinstance(source, Path)
        assert name == str(source)
        assert name.startswith(str(folder))


@pytest.mark.skipif(sys.platform == "win32", reason="needs links")
def test_links_to_folders_are_not_followed(folder: Path) -> None:
    (folder / "sub" / "loop").symlink_to(folder)
    (folder / "link.gif").symlink_to(folder / "b.gif")
    (folder / "dangling.gif").symlink_to(folder / "nowhere")
    found = found_names(folder, folder)
    assert len(found) == len(EVERYTHING) + 2
    assert {"link.gif", "dangling.gif"} <= set(found)


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes are Linux's")
def test_any_name_is_found(tmp_path: Path) -> None:
    wanted = [
        b"new\nline.gif",
        b"\"quoted\", 'twice'.gif",
        b"caf\xe9.gif",
        b"\xff\xfe.gif",
        "日本.gif".encode(),
    ]
    for name in wanted:
        (tmp_path / os.fsdecode(name)).write_bytes(GIF)
    found = [os.fsencode(os.path.relpath(name, tmp_path)) for name, _ in find_images(str(tmp_path))]
    assert sorted(found) == sorted(wanted)
    assert all(Path(source).read_bytes() == GIF for _, source in find_images(str(tmp_path)))


def test_a_folder_that_is_deleted_meanwhile_does_not_end_the_search(folder: Path) -> None:
    found = find_images(str(folder))
    first = next(found)
    shutil.rmtree(folder / "sub")
    rest = [os.path.relpath(name, folder) for name, _ in [first, *found]]
    assert "b.gif" in rest
    assert "sub.d/d.heic" in rest


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.gif", ["b.gif"]),
        ("*", EVERYTHING[:7]),
        ("***.gif", ["b.gif"]),
        ("su[b]/**/*.*", ["sub/UPPER.JPEG", "sub/deep/c.webp"]),
        ("**/*.[wj]*", ["a.jpg", "sub/deep/c.webp"]),
        ("sub/**", ["sub/UPPER.JPEG", "sub/deep/c.webp"]),
    ],
)
def test_a_glob(folder: Path, pattern: str, expected: list[str]) -> None:
    assert found_names(folder / pattern, folder) == expected


def test_a_glob_without_a_match(folder: Path) -> None:
    with pytest.raises(FileMissingError) as caught:
        find_images(str(folder / "*.bmp"))
    assert caught.value.message == f"There is no folder, file or match for {str(folder / '*.bmp')!r}."
    assert "in quotes" in caught.value.hint


def test_a_folder_named_like_a_pattern_is_a_folder(tmp_path: Path) -> None:
    odd = tmp_path / "a[1]*"
    odd.mkdir()
    (odd / "x[0].gif").write_bytes(GIF)
    assert found_names(odd, odd) == ["x[0].gif"]
    assert found_names(odd / "x[0].gif", odd) == ["x[0].gif"]


def test_an_explicit_file_is_always_taken(folder: Path) -> None:
    assert list(find_images(str(folder / "notes.txt"))) == [(str(folder / "notes.txt"), folder / "notes.txt")]


def test_a_missing_path(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError):
        find_images(str(tmp_path / "nowhere"))
    assert list(find_images(str(tmp_path))) == []


def test_a_name_that_is_too_long() -> None:
    with pytest.raises(FileMissingError):
        find_images("x" * 300)


def table(target: Path, /, **columns: Any) -> str:
    pq.write_table(pa.table(columns), target)
    return str(target)


@pytest.mark.parametrize("column", ["path", "file", "file_name", "filename"])
def test_a_table_of_paths_is_relative_to_itself(tmp_path: Path, column: str) -> None:
    target = table(tmp_path / "t.parquet", **{"other": [1, 2], column: ["a.jpg", "/abs/b.jpg"]})
    assert list(find_images(target)) == [
        ("a.jpg", tmp_path / "a.jpg"),
        ("/abs/b.jpg", Path("/abs/b.jpg")),
    ]


@pytest.mark.parametrize("column", ["image", "bytes", "content"])
def test_a_table_of_bytes_is_named_by_its_rows(tmp_path: Path, column: str) -> None:
    target = table(tmp_path / "t.parquet", **{column: [b"one", b"two", None]})
    assert list(find_images(target)) == [
        (f"{target}#0", b"one"),
        (f"{target}#1", b"two"),
        (f"{target}#2", b""),
    ]


def test_a_table_as_hugging_face_datasets_writes_it(tmp_path: Path) -> None:
    rows = [
        {"bytes": b"one", "path": "x.jpg"},
        {"bytes": None, "path": "y.jpg"},
        {"bytes": None, "path": None},
    ]
    target = table(tmp_path / "t.parquet", image=rows, path=["ignored"] * 3)
    assert list(find_images(target)) == [
        (f"{target}#0", b"one"),
        ("y.jpg", tmp_path / "y.jpg"),
        (f"{target}#2", b""),
    ]


def test_rows_of_a_long_table_are_numbered_through(tmp_path: Path) -> None:
    target = table(tmp_path / "t.PARQUET", bytes=[str(i).encode() for i in range(200)])
    found = list(find_images(target))
    assert found[130] == (f"{target}#130", b"130")
    assert len({name for name, _ in found}) == 200


def test_a_table_without_images(tmp_path: Path) -> None:
    target = table(tmp_path / "t.parquet", text=["a"], label=[1])
    with pytest.raises(InputError) as caught:
        find_images(target)
    assert caught.value.message == f"{target} has no column of pictures: it has label, text."
    assert "'path'" in caught.value.hint


def test_an_invalid_table(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(InputError, match=r"t\.parquet is not a Parquet file: "):
        find_images(str(tmp_path / "t.parquet"))
    with pytest.raises(FileMissingError, match=r"^There is no file "):
        find_images(str(tmp_path / "u.parquet"))


@pytest.mark.parametrize("cell", [1.5, 5])
def test_a_column_of_numbers_holds_no_images(tmp_path: Path, cell: float) -> None:
    with pytest.raises(InputError, match="image"):
        list(find_images(table(tmp_path / "t.parquet", image=[cell])))
