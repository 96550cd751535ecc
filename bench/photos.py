"""Download real photographs from two Debian packages and derive the benchmark's sets from them.

`make bench-photos` runs it; it needs Debian or a derivative (apt-get, dpkg). It writes to bench/photos/:

    originals/  the pictures of plasma-workspace-wallpapers and gnome-backgrounds: JPEG, PNG and WebP
    512/        all pictures at least 1000 pixels wide, as JPEGs 512 pixels wide
    12mp/       the JPEGs at least 2560 pixels wide, cropped to 4:3 and enlarged to 4000 x 3000, a camera's size
    12mp-cut/   crops of 4096 x 2880 pixels from the six largest, not enlarged
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image, ImageOps

PHOTOS = Path(__file__).parent / "photos"
PACKAGES = ("plasma-workspace-wallpapers", "gnome-backgrounds")
QUALITY = 92


def main() -> None:
    """Create the missing sets."""
    if not (PHOTOS / "originals").is_dir():
        fetch(PHOTOS / "originals")
    originals = sorted((PHOTOS / "originals").iterdir())
    if not (PHOTOS / "512").is_dir():
        save_set(resize_small(originals), PHOTOS / "512")
    jpegs = [path for path in originals if path.suffix == ".jpg" and Image.open(path).width >= 2560]
    if not (PHOTOS / "12mp").is_dir():
        save_set(enlarge(jpegs), PHOTOS / "12mp")
    if not (PHOTOS / "12mp-cut").is_dir():
        save_set(crop_large(jpegs), PHOTOS / "12mp-cut")


def fetch(folder: Path) -> None:
    """Download and unpack the packages, and keep their pictures in one folder."""
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(["apt-get", "download", *PACKAGES], cwd=scratch, check=True)
        for package in Path(scratch).glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, f"{scratch}/unpacked"], check=True)
        folder.mkdir(parents=True)
        root = Path(scratch) / "unpacked" / "usr" / "share"
        for path in sorted(root.rglob("*")):
            if path.suffix in (".jpg", ".png", ".webp") and not path.is_symlink():
                shutil.copy(path, folder / "-".join(path.relative_to(root).parts))


def resize_small(originals: list[Path]) -> Iterator[Image.Image]:
    """Each wide picture, resized to 512 pixels in width."""
    for picture in map(Image.open, originals):
        if picture.width >= 1000:
            size = (512, round(512 * picture.height / picture.width))
            yield picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def enlarge(originals: list[Path]) -> Iterator[Image.Image]:
    """Each picture, cropped and enlarged to twelve megapixels."""
    for picture in map(Image.open, originals):
        yield ImageOps.fit(picture.convert("RGB"), (4000, 3000), Image.Resampling.LANCZOS)


def crop_large(originals: list[Path]) -> Iterator[Image.Image]:
    """Crops of the left and the right end of each picture that is large enough."""
    for picture in map(Image.open, originals):
        if picture.width > 4096 and picture.height >= 2880:
            for left in (0, picture.width - 4096):
                yield picture.convert("RGB").crop((left, 0, left + 4096, 2880))


def save_set(pictures: Iterable[Image.Image], folder: Path) -> None:
    """Save a set atomically."""
    staging = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    for number, picture in enumerate(pictures):
        picture.save(staging / f"{number:03}.jpg", quality=QUALITY)
    staging.rename(folder)


if __name__ == "__main__":
    main()
