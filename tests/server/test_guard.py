from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from safelight.errors import KeysNeededError
from safelight.jobs.service import Service
from safelight.server.guard import check_address, is_loopback, listens_beyond_loopback
from safelight.server.keys import Keys
from safelight.settings import Settings


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost", "LocalHost"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "example.org", "", "localhost.example.org"])
def test_beyond(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "fields",
    [
        {"host": "0.0.0.0"},
        {"host": "::"},
        {"allowed_hosts": ("a.example",)},
        {"trusted_proxies": ("10.0.0.1",)},
    ],
)
def test_others_need_keys(tmp_path: Path, fields: Mapping[str, Any]) -> None:
    settings = Settings(home=tmp_path, **fields)
    assert listens_beyond_loopback(settings)
    with pytest.raises(KeysNeededError) as caught:
        check_address(settings)
    assert "safelight keys add" in caught.value.hint


def test_with_a_key_others_may_come(service: Service, server_home: Path) -> None:
    settings = Settings(home=server_home, host="0.0.0.0")
    keys = Keys(service.engine)
    keys.add("anna")
    check_address(settings)
    keys.revoke("anna")
    with pytest.raises(KeysNeededError):
        check_address(settings)


def test_this_machine_needs_none_and_no_database(tmp_path: Path) -> None:
    check_address(Settings(home=tmp_path / "home"))
    assert not (tmp_path / "home").exists()
