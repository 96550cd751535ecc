from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from safelight.errors import FileMissingError, InputError
from safelight.moderation.finding import EXTENSIONS, find_pictures, looks_like_picture

GIF = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff"
    b",\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures and what only looks like one, at several depths."""
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
    }
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def names(target: str | Path, root: Path) -> list[str]:
    return [os.path.relpath(name, root) for name, _ in find_pictures(str(target))]


def test_a_folder_gives_everything_that_is_or_claims_to_be_a_picture(folder: Path) -> None:
    assert names(folder, folder) == [
        ".hidden.png",
        "a.jpg",
        "b.gif",
        "noname",
        "picture.txt",
        "sub/UPPER.JPEG",
        "sub/deep/c.webp",
        "sub.d/d.heic",
    ]


def test_the_order_is_the_same_every_time(folder: Path, tmp_path: Path) -> None:
    first = names(folder, folder)
    copy = tmp_path / "copy"
    for name in reversed(first):  # made in another order, so listed by the disk in another
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / name, copy / name)
    assert names(copy, copy) == first == names(folder, folder)


def test_each_pair_is_a_path_as_text_and_as_a_path(folder: Path) -> None:
    for name, source in find_pictures(str(folder)):
        assert isinstance(source, Path)
        assert name == str(source)
        assert name.startswith(str(folder))


@pytest.mark.skipif(sys.platform == "win32", reason="needs links")
def test_links_to_folders_are_not_followed(folder: Path) -> None:
    (folder / "sub" / "loop").symlink_to(folder)
    (folder / "link.gif").symlink_to(folder / "b.gif")
    (folder / "dangling.gif").symlink_to(folder / "nowhere")
    found = names(folder, folder)
    assert len(found) == 10
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
    found = [os.fsencode(os.path.relpath(name, tmp_path)) for name, _ in find_pictures(str(tmp_path))]
    assert sorted(found) == sorted(wanted)
    assert all(Path(source).read_bytes() == GIF for _, source in find_pictures(str(tmp_path)))


def test_a_folder_that_goes_away_meanwhile_does_not_end_the_search(folder: Path) -> None:
    found = find_pictures(str(folder))
    first = next(found)
    shutil.rmtree(folder / "sub")
    rest = [os.path.relpath(name, folder) for name, _ in [first, *found]]
    assert "b.gif" in rest
    assert "sub.d/d.heic" in rest


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.gif", ["b.gif"]),
        ("*", [".hidden.png", "a.jpg", "b.gif", "noname", "picture.txt"]),
        ("**/*.[wj]*", ["a.jpg", "sub/deep/c.webp"]),
        ("sub/**", ["sub/UPPER.JPEG", "sub/deep/c.webp"]),
    ],
)
def test_a_glob(folder: Path, pattern: str, expected: list[str]) -> None:
    assert names(folder / pattern, folder) == expected


def test_a_glob_without_a_match(folder: Path) -> None:
    with pytest.raises(FileMissingError) as caught:
        find_pictures(str(folder / "*.bmp"))
    assert caught.value.message == f"There is no folder, file or match for {str(folder / '*.bmp')!r}."
    assert "in quotes" in caught.value.hint


def test_a_folder_named_like_a_pattern_is_a_folder(tmp_path: Path) -> None:
    odd = tmp_path / "a[1]*"
    odd.mkdir()
    (odd / "x[0].gif").write_bytes(GIF)
    assert names(odd, odd) == ["x[0].gif"]
    assert names(odd / "x[0].gif", odd) == ["x[0].gif"]


def test_a_file_is_taken_whatever_it_is(folder: Path) -> None:
    assert list(find_pictures(str(folder / "notes.txt"))) == [
        (str(folder / "notes.txt"), folder / "notes.txt")
    ]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError):
        find_pictures(str(tmp_path / "nowhere"))
    assert list(find_pictures(str(tmp_path))) == []


def test_a_name_that_is_too_long() -> None:
    with pytest.raises(FileMissingError):
        find_pictures("x" * 300)


def test_extensions_and_first_bytes(folder: Path) -> None:
    assert {".jpg", ".png", ".webp", ".gif", ".bmp", ".tiff", ".avif", ".heic"} <= EXTENSIONS
    assert looks_like_picture(folder / "a.jpg")
    assert looks_like_picture(folder / "missing.JPG")
    assert looks_like_picture(folder / "noname")
    assert not looks_like_picture(folder / "notes.txt")
    assert not looks_like_picture(folder / "missing.txt")
    assert not looks_like_picture(folder / "movie.mp4")


def table(target: Path, /, **columns: Any) -> str:
    pq.write_table(pa.table(columns), target)
    return str(target)


@pytest.mark.parametrize("column", ["path", "file", "file_name", "filename"])
def test_a_table_of_paths_is_relative_to_itself(tmp_path: Path, column: str) -> None:
    target = table(tmp_path / "t.parquet", **{"other": [1, 2], column: ["a.jpg", "/abs/b.jpg"]})
    assert list(find_pictures(target)) == [
        ("a.jpg", tmp_path / "a.jpg"),
        ("/abs/b.jpg", Path("/abs/b.jpg")),
    ]


@pytest.mark.parametrize("column", ["image", "bytes", "content"])
def test_a_table_of_bytes_is_named_by_its_rows(tmp_path: Path, column: str) -> None:
    target = table(tmp_path / "t.parquet", **{column: [b"one", b"two", None]})
    assert list(find_pictures(target)) == [
        (f"{target}#0", b"one"),
        (f"{target}#1", b"two"),
        (f"{target}#2", b""),
    ]


def test_a_table_as_hugging_face_datasets_write_it(tmp_path: Path) -> None:
    rows = [
        {"bytes": b"one", "path": "x.jpg"},
        {"bytes": None, "path": "y.jpg"},
        {"bytes": None, "path": None},
    ]
    target = table(tmp_path / "t.parquet", image=rows, path=["ignored"] * 3)
    assert list(find_pictures(target)) == [
        (f"{target}#0", b"one"),
        ("y.jpg", tmp_path / "y.jpg"),
        (f"{target}#2", b""),
    ]


def test_a_long_table_keeps_counting(tmp_path: Path) -> None:
    target = table(tmp_path / "t.PARQUET", bytes=[str(i).encode() for i in range(200)])
    found = list(find_pictures(target))
    assert found[130] == (f"{target}#130", b"130")
    assert len({name for name, _ in found}) == 200


def test_a_table_without_pictures(tmp_path: Path) -> None:
    target = table(tmp_path / "t.parquet", text=["a"], label=[1])
    with pytest.raises(InputError) as caught:
        find_pictures(target)
    assert caught.value.message == f"{target} has no column of pictures: it has label, text."
    assert "'path'" in caught.value.hint


def test_a_table_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(InputError, match=r"t\.parquet is not a Parquet file: "):
        find_pictures(str(tmp_path / "t.parquet"))
    with pytest.raises(FileMissingError, match=r"^There is no file "):
        find_pictures(str(tmp_path / "u.parquet"))


@pytest.mark.parametrize("cell", [1.5, 5])
def test_a_column_of_numbers_holds_no_pictures(tmp_path: Path, cell: float) -> None:
    with pytest.raises(InputError, match="image"):
        list(find_pictures(table(tmp_path / "t.parquet", image=[cell])))
