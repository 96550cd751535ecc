from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib.resources import files
from xml.etree import ElementTree

import pytest
from starlette.testclient import TestClient

from safelight.jobs.queue_service import QueueService
from safelight.server.core.static_pages import FILES, PUBLIC_PAGES
from safelight.server.security.keys import KeyStore

FOLDER = files("safelight.server.core") / "sign_in"
HERE = "http://127.0.0.1:7860"


@pytest.fixture
def stranger(client: TestClient, service: QueueService) -> TestClient:
    """A client without a key, where one is needed."""
    KeyStore(service.engine).add("anna")
    return client


@pytest.mark.parametrize("path", sorted(PUBLIC_PAGES))
def test_the_sign_in_page_needs_no_key(stranger: TestClient, path: str) -> None:
    response = stranger.get(path)
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith(FILES[path][1])
    policy = response.headers["Content-Security-Policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"} < {
        *policy
    }
    assert stranger.post(path).status_code == 405
    assert stranger.get(path, headers={"Host": "evil.example"}).status_code == 403
    assert stranger.get(f"{path}/more").status_code == 401


def test_the_page_loads_only_public_files(stranger: TestClient) -> None:
    page = stranger.get("/sign-in?next=//evil.example").text
    scripts = "".join(stranger.get(path).text for path in PUBLIC_PAGES if path.endswith(".js"))
    named = re.findall(r'(?:src|href)="([^"]+)"', page)
    named += [f"/sign-in/{name}" for name in re.findall(r'from "\./([^"]+)"', scripts)]
    assert {*named} | {"/sign-in", "/favicon.ico"} == PUBLIC_PAGES
    assert "evil" not in page
    assert not re.search(r"<script>|<style|style=|\son\w+=", page)


def test_the_form_suits_password_managers_and_keeps_keys_out_of_urls(stranger: TestClient) -> None:
    page = stranger.get("/sign-in").text
    assert 'method="post"' in page
    assert 'type="password" autocomplete="current-password"' in page
    assert 'autocomplete="username" hidden' in page
    assert 'role="alert" aria-live="assertive"' in page


def test_the_lamp_is_an_svg_without_scripts() -> None:
    root = ElementTree.fromstring((FOLDER / "lamp.svg").read_text())
    assert {element.tag.rpartition("}")[2] for element in root.iter()} == {
        "svg", "defs", "radialGradient", "stop", "rect", "circle"
    }  # fmt: skip


def evaluate_script(expression: str, name: str) -> object:
    """The value of an expression in a program that has imported all of one of the page's modules as ``it``."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node to run the page's modules")
    module = json.dumps(
        "data:text/javascript," + "".join(f"%{byte:02x}" for byte in (FOLDER / name).read_bytes())
    )
    program = f"const it = await import({module}); console.log(JSON.stringify({expression}))"
    done = subprocess.run([node, "--input-type=module", "-e", program], capture_output=True, check=True)
    return json.loads(done.stdout)


def test_every_language_has_every_text() -> None:
    texts = evaluate_script("it.TEXTS", "texts.js")
    assert isinstance(texts, dict)
    assert set(texts) == {"en", "de", "fr"}
    used = set(re.findall(r"texts\.(?!js\b)(\w+)", (FOLDER / "script.js").read_text()))
    used |= set(re.findall(r'data-text="(\w+)"', (FOLDER / "page.html").read_text()))
    for language, words in texts.items():
        assert words.keys() == used, language
        assert all(words.values())
        for key, text in words.items():
            assert re.findall(r"\{\w+\}", text) == re.findall(r"\{\w+\}", texts["en"][key])


def test_sign_in_redirects_only_to_this_server() -> None:
    here = {
        "/": "/",
        "/studio/?tab=gallery#x": "/studio/?tab=gallery#x",
        "/.//evil": "//evil",
        "/@evil": "/@evil",
    }
    away = [
        "", "//evil", "///evil", "/\\evil", "\\\\evil", "https://evil", "/\t/evil", "/\n/evil", " //evil", "evil",
        "javascript:alert(1)", "//[", "http://127.0.0.1:7861/", "//127.0.0.1:7860@evil/",
    ]  # fmt: skip
    asked = [*here, *away, None]
    went = evaluate_script(
        f"{json.dumps(asked)}.map((next) => it.destination(next, {HERE!r}))", "destination.js"
    )
    studio = f"{HERE}/studio/"
    assert went == [*(HERE + path for path in here.values()), *(studio for _ in [*away, None])]
