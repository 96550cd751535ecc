from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from safelight.errors import UnprotectedServerError
from safelight.jobs.queue_service import QueueService
from safelight.server.security.bind_policy import check_bind_address, is_exposed, is_loopback
from safelight.server.security.keys import KeyStore
from safelight.settings import Settings


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost", "LocalHost"])
def test_loopback_addresses(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "example.org", "", "localhost.example.org"])
def test_addresses_beyond_loopback(host: str) -> None:
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
def test_addresses_beyond_loopback_need_keys(tmp_path: Path, fields: Mapping[str, Any]) -> None:
    settings = Settings(home=tmp_path, **fields)
    assert is_exposed(settings)
    with pytest.raises(UnprotectedServerError) as caught:
        check_bind_address(settings)
    assert "safelight keys add" in caught.value.hint


def test_addresses_beyond_loopback_are_allowed_with_a_key(service: QueueService, server_home: Path) -> None:
    settings = Settings(home=server_home, host="0.0.0.0")
    keys = KeyStore(service.engine)
    keys.add("anna")
    check_bind_address(settings)
    keys.revoke("anna")
    with pytest.raises(UnprotectedServerError):
        check_bind_address(settings)


def test_loopback_needs_no_keys_and_opens_no_database(tmp_path: Path) -> None:
    check_bind_address(Settings(home=tmp_path / "home"))
    assert not (tmp_path / "home").exists()
