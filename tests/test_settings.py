from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from safelight.errors import SettingsError
from safelight.settings import DEPRECATED, Settings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory that the environment variable names."""
    monkeypatch.setenv("SAFELIGHT_HOME", str(tmp_path))
    return tmp_path


def write(folder: Path, toml: str) -> None:
    (folder / "safelight.toml").write_text(toml)


def test_defaults(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAFELIGHT_WEB_UI")  # which the tests turn off
    monkeypatch.delenv("SAFELIGHT_HASH_MODELS")
    monkeypatch.delenv("SAFELIGHT_GENERATION_BACKEND")
    settings = Settings.load()
    assert settings.model_dump(exclude={"home"}) == {
        "database": SecretStr(""),
        "classifier": "open-nsfw",
        "policy": "standard",
        "exact": False,
        "tiles": False,
        "max_pixels": 64_000_000,
        "max_bytes": 268_435_456,
        "max_frames": 16,
        "background": (255, 255, 255),
        "checkpoint": "starter",
        "checkpoint_defaults": {},
        "device": "auto",
        "device_fallback": False,
        "text_encoder_device": "",
        "vae_device": "",
        "generation_quality": "balanced",
        "noise_source": "cpu",
        "generation_precision": "auto",
        "text_encoder_precision": "auto",
        "vae_precision": "auto",
        "generation_backend": "auto",
        "compile_cache_bytes": 17_179_869_184,
        "memory_budget": 0,
        "memory_steps": ("phases", "blocks", "sliced-attention", "tiling", "bf16", "int8", "disk"),
        "model_folders": (),
        "max_batch_size": 8,
        "batch_timeout": 20.0,
        "hash_models": True,
        "allow_network": False,
        "hub_url": "",
        "max_upload_bytes": 100_000_000_000,
        "hub_token_file": None,
        "civitai_url": "https://civitai.com",
        "civitai_token_file": None,
        "host": "127.0.0.1",
        "port": 7860,
        "worker_devices": (),
        "web_ui": True,
        "languages": (),
        "queue_capacity": 10_000,
        "waiting_per_owner": 1000,
        "waiting_bytes_per_owner": 1024**3,
        "max_job_work": 1_000_000,
        "max_job_seconds": 86400,
        "max_attempts": 3,
        "job_retention": 7 * 86400,
        "gallery_retention": 0,
        "allowed_hosts": (),
        "cors_origins": (),
        "trusted_proxies": (),
        "max_request_bytes": 67_108_864,
        "body_timeout": 30.0,
        "requests_per_minute": 1200,
        "pictures_per_minute": 0,
        "megapixels_per_minute": 0.0,
        "allow_image_urls": False,
        "openai_models": {},
        "text_blocklist": "",
        "moderation_texts": "refuse",
        "audit_bytes": 60_000_000,
        "audit_prompts": False,
        "server": "",
        "key": SecretStr(""),
        "backend": "auto",
        "precision": "auto",
        "moderation_device": "cpu",
        "threads": 0,
    }
    assert (settings.home, settings.models_folder, settings.cache_folder) == (
        folder,
        folder / "models",
        folder / "cache",
    )


def test_home_defaults_to_the_platforms_data_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    from platformdirs import user_data_path

    monkeypatch.delenv("SAFELIGHT_HOME", raising=False)
    assert Settings.load().home == user_data_path("safelight", appauthor=False)


def test_precedence_is_flags_environment_toml_defaults(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "max_frames = 3\nmax_bytes = 30\nmax_pixels = 300\n")
    monkeypatch.setenv("SAFELIGHT_MAX_FRAMES", "2")
    monkeypatch.setenv("SAFELIGHT_MAX_BYTES", "20")
    settings = Settings.load(max_frames=1)
    assert (settings.max_frames, settings.max_bytes, settings.max_pixels) == (1, 20, 300)
    assert settings.threads == 0


def test_flags_that_are_none_count_as_not_given(folder: Path) -> None:
    write(folder, 'policy = "strict"\nexact = true\n')
    settings = Settings.load(policy=None, exact=None, classifier=None)
    assert (settings.policy, settings.exact, settings.classifier) == ("strict", True, "open-nsfw")
    assert Settings.load(exact=False).exact is False


def test_toml_is_read_from_the_home_that_a_flag_names(folder: Path, tmp_path_factory: Any) -> None:
    other = tmp_path_factory.mktemp("other")
    write(folder, 'policy = "strict"')
    write(other, 'policy = "lenient"')
    assert Settings.load(home=other).policy == "lenient"
    assert Settings.load().policy == "strict"


def test_toml_holds_lists_and_environment_json(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "background = [1, 2, 3]")
    assert Settings.load().background == (1, 2, 3)
    monkeypatch.setenv("SAFELIGHT_BACKGROUND", "[4, 5, 6]")
    assert Settings.load().background == (4, 5, 6)


@pytest.mark.parametrize(
    ("flag", "complaint"),
    [
        ({"max_pixels": 0}, "max_pixels: Input should be greater than or equal to 1 (given: 0)."),
        ({"max_bytes": -1}, "max_bytes: Input should be greater than or equal to 1 (given: -1)."),
        ({"max_frames": 0}, "max_frames: Input should be greater than or equal to 1 (given: 0)."),
        ({"max_frames": 1001}, "max_frames: Input should be less than or equal to 1000 (given: 1001)."),
        ({"threads": -1}, "threads: Input should be greater than or equal to 0 (given: -1)."),
        ({"precision": "fp8"}, "precision: Input should be 'auto', 'fp32', 'bf16' or 'int8' (given: 'fp8')."),
        ({"shoe_size": 43}, "There is no setting 'shoe_size'."),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_flag_out_of_range(folder: Path, flag: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load(**flag)
    assert caught.value.message == complaint
    assert caught.value.exit_code == 2


def test_the_database_defaults_to_sqlite_in_the_data_directory(folder: Path) -> None:
    assert Settings.load().database_url == f"sqlite:///{folder}/safelight.db"
    write(folder, 'database = "postgresql://user:hush@host/name"')
    assert Settings.load().database_url == "postgresql://user:hush@host/name"


def test_the_database_url_is_never_shown(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFELIGHT_DATABASE", "postgresql://user:hush@host/name")
    settings = Settings.load()
    assert (
        "hush" not in f"{settings!r}{settings}{settings.model_dump(mode='json')}{settings.model_dump_json()}"
    )
    monkeypatch.delenv("SAFELIGHT_DATABASE")
    write(folder, 'database = ["postgresql://user:hush@host/name"]')
    with pytest.raises(SettingsError, match=r"^database: .*string\.$"):
        Settings.load()


def test_background_out_of_range(folder: Path) -> None:
    with pytest.raises(SettingsError, match=r"^background"):
        Settings.load(background=(0, 0))


def test_background_holds_bytes(folder: Path) -> None:
    with pytest.raises(SettingsError, match=r"^background"):
        Settings.load(background=(0, 0, 256))


def test_environment_out_of_range(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFELIGHT_MAX_FRAMES", "many")
    with pytest.raises(SettingsError, match=r"^max_frames: .*\(given: 'many'\)\.$"):
        Settings.load()


def test_environment_that_cannot_be_parsed_is_not_blamed_on_the_toml(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAFELIGHT_BACKGROUND", "red")
    with pytest.raises(SettingsError, match="background") as caught:
        Settings.load()
    assert "safelight.toml" not in caught.value.message


@pytest.mark.parametrize(
    ("toml", "complaint"),
    [
        ("max_frames = 0", "max_frames: Input should be greater than or equal to 1 (given: 0)."),
        ("shoe_size = 43", "There is no setting 'shoe_size'."),
    ],
)
def test_toml_with_a_wrong_value(folder: Path, toml: str, complaint: str) -> None:
    write(folder, toml)
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    assert caught.value.message == complaint


@pytest.mark.parametrize("content", [b"max_frames = ", b"\xff\xfe\x00", b"a = 1\na = 2"])
def test_invalid_toml(folder: Path, content: bytes) -> None:
    (folder / "safelight.toml").write_bytes(content)
    with pytest.raises(SettingsError, match=r"^safelight\.toml cannot be read: "):
        Settings.load()


def test_settings_are_immutable(folder: Path) -> None:
    settings = Settings.load()
    with pytest.raises(ValidationError, match="frozen"):
        settings.threads = 3


def former_names() -> list[tuple[str, str, object]]:
    """Former and present name of each renamed setting, with a value that is not its default."""
    values = {
        "batch_pictures": 3,
        "batch_wait": 7.5,
        "body_patience": 12.5,
        "drawing_precision": "bf16",
        "studio": False,
    }
    return [(former, present, values[former]) for former, present in DEPRECATED.items()]


@pytest.mark.parametrize(("former", "present", "value"), former_names())
@pytest.mark.parametrize("source", ["argument", "environment", "file"])
def test_a_former_name_is_still_read_with_a_warning(
    source: str, former: str, present: str, value: object, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SAFELIGHT_WEB_UI", raising=False)  # which the tests turn off
    flags: dict[str, object] = {}
    if source == "argument":
        flags[former] = value
    elif source == "environment":
        monkeypatch.setenv(f"SAFELIGHT_{former.upper()}", str(value))
    else:
        write(folder, f"{former} = {json.dumps(value)}")
    with pytest.warns(FutureWarning, match=f"The setting {former} is called {present} now"):
        settings = Settings.load(**flags)
    assert getattr(settings, present) == value


def test_a_setting_given_by_both_of_its_names_is_refused(folder: Path) -> None:
    write(folder, "batch_wait = 1.0\nbatch_timeout = 2.0")
    with pytest.raises(SettingsError, match="batch_timeout and batch_wait, its former name, are both given"):
        Settings.load()


def test_a_present_name_goes_before_a_former_one_of_a_lesser_source(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, "batch_wait = 1.0")
    monkeypatch.setenv("SAFELIGHT_BATCH_TIMEOUT", "2.0")
    with pytest.warns(FutureWarning):
        assert Settings.load().batch_timeout == 2.0


def test_model_folders_follow_the_file_while_a_program_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.load()
    assert settings.current_model_folders == ()
    write(folder, 'model_folders = ["/one"]')
    assert settings.current_model_folders == (Path("/one"),)
    write(folder, 'model_folders = ["/one", "/three"]')
    copied = pickle.loads(pickle.dumps(settings))
    assert copied.current_model_folders == (Path("/one"), Path("/three"))
    for damaged in ("model_folders = [", "model_folders = 3"):
        write(folder, damaged)
        assert settings.current_model_folders == settings.model_folders
    write(folder, 'model_folders = ["/one"]')
    given = Settings.load(model_folders=("/given",))
    assert (given.current_model_folders, given.model_folders_can_change) == ((Path("/given"),), False)
    monkeypatch.setenv("SAFELIGHT_MODEL_FOLDERS", '["/two"]')
    assert Settings.load().current_model_folders == (Path("/two"),)
