"""The files of the page: what is served, to whom, and with which headers."""

import asyncio
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.serving import Server

from server.api.clients.api_keys import ApiKey, KeyRing
from server.api.settings import HttpSettings, KeyScope

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "server" / "api" / "page" / "web"
FILES = sorted(path for path in FOLDER.rglob("*") if path.is_file())
OWN = [path for path in FILES if "vendor" not in path.parts]


async def test_the_page_forbids_all_code_but_its_own(server: Server) -> None:
    async with server.http.get("/") as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
        policy = response.headers["Content-Security-Policy"]
    directives = dict(part.split(" ", 1) for part in policy.split("; "))
    assert directives == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "img-src": "'self' data: blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }


@pytest.mark.parametrize("path", [path for path in FILES if path.name != "index.html"], ids=str)
async def test_every_file_is_served(path: Path, server: Server) -> None:
    content = await asyncio.to_thread(path.read_bytes)
    async with server.http.get(f"/web/{path.relative_to(FOLDER).as_posix()}") as response:
        assert response.status == 200
        assert await response.read() == content
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "Content-Security-Policy" in response.headers


async def test_a_file_that_the_browser_has_is_not_sent_again(server: Server) -> None:
    async with server.http.get("/web/app.js") as response:
        tag = response.headers["ETag"]
        assert response.headers["Cache-Control"] == "no-cache"
    async with server.http.get("/web/app.js", headers={"If-None-Match": tag}) as response:
        assert (response.status, await response.read()) == (304, b"")
        assert response.headers["ETag"] == tag
    async with server.http.get("/web/app.js", headers={"If-None-Match": '"old"'}) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    "path", ["/web/", "/web", "/web/no.js", "/web/../files.py", "/web/%2e%2e/files.py"]
)
async def test_nothing_else_is_served(path: str, server: Server) -> None:
    async with server.http.get(path) as response:
        assert response.status == 404


async def test_the_page_takes_get_only(server: Server) -> None:
    async with server.http.head("/") as response:
        assert response.status == 200
    async with server.http.post("/", json={}) as response:
        assert response.status == 405


class TestWithoutPage:
    @pytest.fixture
    def settings(self) -> HttpSettings:
        return HttpSettings(has_page=False)

    async def test_the_flag_takes_it_away(self, server: Server) -> None:
        for path in ("/", "/web/app.js"):
            async with server.http.get(path) as response:
                assert response.status == 404


class TestWithKeys:
    @pytest.fixture
    def settings(self) -> HttpSettings:
        return HttpSettings(keys=KeyRing([ApiKey.of("secret")]), key_scope=KeyScope.ALL)

    async def test_the_page_comes_without_a_key(self, server: Server) -> None:
        """A browser cannot send one; the page asks for it."""
        for path in ("/", "/web/app.js"):
            async with server.http.get(path) as response:
                assert response.status == 200

    async def test_what_it_shows_does_not(self, server: Server) -> None:
        for path in ("/v1/status", "/v3/models", "/v1/config", "/webs"):
            async with server.http.get(path) as response:
                assert response.status == 401


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_files_load_nothing_from_elsewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    urls = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"')]*", text))
    # Names of formats, and sources of methods in comments.
    assert {url for url in urls if "w3.org" not in url and "whatwg.org" not in url} == set()


@pytest.mark.parametrize("path", [p for p in OWN if p.suffix == ".js"], ids=lambda path: path.name)
def test_modules_are_small_and_build_elements_only(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 300
    for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "document.write"):
        assert forbidden not in text


def test_the_wheel_has_every_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", tmp_path, ROOT], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    assert {path.relative_to(ROOT).as_posix() for path in FILES} <= packed
