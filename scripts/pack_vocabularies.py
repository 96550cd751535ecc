"""Pack the vocabularies of T5 and Qwen from the sources of stable-diffusion.cpp, for the package.

Run it with the folder of an unpacked source distribution of stable-diffusion-cpp-python. The files that it writes are
the same each time.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from pathlib import Path

VOCABULARIES = Path(__file__).parents[1] / "src" / "safelight" / "models" / "tokenizers" / "vocabularies"
SOURCES = "vendor/stable-diffusion.cpp/src/tokenizers/vocab"


def read_array(path: Path, name: str) -> bytes:
    """The bytes of an array in a C header."""
    found = re.search(rf"{name}\[\] = \{{(.*?)\}};", path.read_text(), re.DOTALL)
    if found is None:
        raise SystemExit(f"{path} has no array {name}.")
    return bytes(int(each, 16) for each in re.findall(r"0x([0-9a-fA-F]{2})", found[1]))


def pack(name: str, text: str) -> None:
    """Write a compressed text."""
    (VOCABULARIES / name).write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def main() -> None:
    """Write ``t5.json.gz`` and ``qwen2.txt.gz``."""
    sources = Path(sys.argv[1]) / SOURCES
    t5 = json.loads(read_array(sources / "clip_t5.hpp", "t5_tokenizer_json_str"))
    pack("t5.json.gz", json.dumps(t5, ensure_ascii=False, separators=(",", ":")))
    pack("qwen2.txt.gz", read_array(sources / "qwen.hpp", "qwen2_merges_utf8_c_str").decode())


if __name__ == "__main__":
    main()
