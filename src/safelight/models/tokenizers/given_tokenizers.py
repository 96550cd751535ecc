"""Where the tokenizer of a text encoder in a weights file is given: beside its file, or beside the denoiser's."""

from __future__ import annotations

from pathlib import Path

from safelight.models.checkpoints.parts import PartFile
from safelight.models.checkpoints.sections import read_contents
from safelight.models.checkpoints.sidecar import given_tokenizer


def given_folder(part: PartFile, checkpoint: Path | None = None, *, beside: bool = False) -> Path | None:
    """The folder with the tokenizer that is given for a text encoder; None if there is none.

    Args:
        part: The text encoder's file.
        checkpoint: The file with the denoiser, beside which a tokenizer may be given too.
        beside: A tokenizer in the encoder's own folder counts, whatever the file's name is.
    """
    names = [part.component.replace("text_encoder", "tokenizer")]
    if part.component == "text_encoder":
        names.append("processor")
    alone = len(read_contents(part.path).of_role("text encoder")) == 1
    folder = given_tokenizer(part.path, names, alone=alone, beside=beside)
    if folder is None and checkpoint is not None and checkpoint != part.path:
        return given_tokenizer(checkpoint, names, alone=False, beside=False)
    return folder
