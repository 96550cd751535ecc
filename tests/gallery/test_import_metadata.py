from __future__ import annotations

import pytest
from tests.gallery.conftest import NOON, make_image_file, make_record, new_entry

from safelight.errors import ImageError
from safelight.file_formats import FileFormat
from safelight.gallery.entry_ids import make_entry_id, make_entry_key
from safelight.gallery.import_metadata import entry_from_file, infotext_fields, record_fields
from safelight.images.encoding import encode_image
from safelight.images.metadata.file_metadata import Metadata
from safelight.moderation.policy import Decision

NAME = make_entry_id(NOON, make_entry_key("job", 0))


def test_a_record_has_the_fields_of_an_entry():
    told, new = record_fields(make_record("a red apple", seed=5)), new_entry(5)
    assert {name: getattr(new, name) for name in told} == told
    assert {"prompt", "seed", "sampler", "checkpoint", "checkpoint_digest", "policy"} < set(told)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_a_file_with_its_record(kind: FileFormat):
    record = make_record("a red apple", seed=5, width=16, height=16)  # of a first pass
    found = entry_from_file(NAME, make_image_file(record, kind))
    assert (found.prompt, found.seed, found.checkpoint) == ("a red apple", 5, "starter")
    assert (found.width, found.height) == (32, 16)
    assert (found.record, found.decision, found.created) == (record.to_json(), Decision.ALLOW, NOON)
    assert (found.job_id, found.owner) == (None, None)


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ("Steps: 20, Sampler: Euler, CFG scale: 4, Seed: 7, Model: m", (20, "Euler", 7, "m")),
        ("Steps: x, Sampler: Euler, CFG scale: 4, Seed: -1, Model: m", (None, "Euler", None, "m")),
        (f"Steps: {2**31}, Sampler: E, CFG scale: 4, Seed: {2**63}, Model: m", (None, "E", None, "m")),
        (
            f"Steps: {2**31 - 1}, Sampler: E, CFG scale: 4, Seed: {2**63 - 1}",
            (2**31 - 1, "E", 2**63 - 1, None),
        ),
    ],
)
def test_an_infotext(parameters: str, found: tuple[object, ...]):
    fields = infotext_fields(f"a red apple\nNegative prompt: blurry\n{parameters}")
    assert (fields["prompt"], fields["negative_prompt"]) == ("a red apple", "blurry")
    assert tuple(fields[name] for name in ("steps", "sampler", "seed", "checkpoint")) == found


@pytest.mark.parametrize("verdict", [None, "review", "block"])
def test_images_of_unknown_verdict_are_for_review(verdict: str | None):
    given = verdict and {"policy": "p", "version": "1", "digest": "ef" * 32, "decision": verdict}
    assert entry_from_file(NAME, make_image_file(make_record("x", verdict=given))).decision is Decision.REVIEW


def test_files_of_other_programs():
    import numpy as np
    from PIL import Image

    image = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    infotext = "a lake\nNegative prompt: fog\nSteps: 9, Sampler: DDIM, Seed: 3, Model: hills"
    found = entry_from_file(
        NAME, encode_image(image, "png", Metadata(infotext=infotext, record='{"format":9}'))
    )
    assert (found.prompt, found.negative_prompt, found.sampler, found.checkpoint) == (
        "a lake",
        "fog",
        "DDIM",
        "hills",
    )
    assert (found.infotext, found.record) == (infotext, '{"format":9}')
    bare = entry_from_file(NAME, encode_image(image, "png"))
    assert (bare.prompt, bare.infotext, bare.record, bare.decision) == ("", None, None, Decision.REVIEW)


def test_a_file_that_is_no_image():
    with pytest.raises(ImageError):
        entry_from_file(NAME, b"nothing of the kind")
