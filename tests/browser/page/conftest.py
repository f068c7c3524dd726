"""The service on a port of this machine, and pages of it in a browser that fail on any error of a script."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from hallmark.serving.access import Services
from hallmark.serving.auth import Detail, KeyRing, Scope, add_key
from hallmark.serving.certificate import Issuer, make_key
from hallmark.serving.gateway import make_app
from hallmark.serving.limits import Limits

CHROMIUM = Path("/usr/bin/chromium")
_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
_PATIENCE_MS = 15_000
_MAX_BYTES = 2_000_000


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -e '.[browser]'")
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM}: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=str(CHROMIUM), args=_ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Service:
    """A gateway that listens, and what is behind it in this test."""

    url: str
    folder: Path
    graph: Any
    services: Services = field(init=False)

    def __post_init__(self) -> None:
        self.services = Services(graph=self.graph)

    def with_certificates(self) -> None:
        make_key(self.folder / "certificate.pem")
        self.services.issuer = Issuer(self.folder / "certificate.pem", "the tests")

    def key(self, *scopes: str, detail: str = "full", rate: int | None = None, quota: int | None = None) -> str:
        """A new key; from now on the service asks for one."""
        file = self.folder / "keys.json"
        told = {"detail": Detail(detail), "rate_per_minute": rate, "daily_quota": quota}
        token = add_key(file, f"shop {'+'.join(scopes)}", [Scope(scope) for scope in scopes], **told)
        self.services.keys = KeyRing(file)
        self.services.limits = Limits(self.folder / "limits.sqlite")
        return token

    def refuse_all(self) -> None:
        """Ask for a key that nobody has."""
        self.key("verify")


@dataclass
class _Listener:
    url: str
    behind: list[Service]


@pytest.fixture(scope="session")
def listener() -> Iterator[_Listener]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    behind: list[Service] = []
    app = make_app(lambda: behind[-1].services, _MAX_BYTES)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.02)
    yield _Listener(f"http://127.0.0.1:{port}", behind)
    server.should_exit = True
    thread.join(timeout=10)


@pytest.fixture
def service(listener: _Listener, make_graph: Callable[[], Any], tmp_path: Path) -> Service:
    """The service without keys, with a fresh gallery."""
    started = Service(listener.url, tmp_path, make_graph())
    listener.behind.append(started)
    return started


@pytest.fixture
def visit(chromium: Any, service: Service) -> Iterator[Callable[..., Any]]:
    """`visit(view, key, **context options)` opens the page; whatever its scripts get wrong fails the test."""
    contexts, wrong = [], []

    def open_page(view: str = "", key: str | None = None, width: int = 1280, height: int = 900, **options: Any) -> Any:
        context = chromium.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(_PATIENCE_MS)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if _is_wrong(message) else None)
        if key is not None:
            page.goto(f"{service.url}/healthz")
            page.evaluate("key => sessionStorage.setItem('hallmark-key', key)", key)
        page.goto(f"{service.url}/#{view}")
        page.wait_for_load_state("networkidle")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong, wrong


def _is_wrong(message: Any) -> bool:
    # A refused request is written to the console by the browser itself, and is what many tests are about.
    return message.type in ("error", "warning") and "Failed to load resource" not in message.text


@pytest.fixture
def ask(photographs: dict[str, Path]) -> Callable[..., None]:
    """`ask(page, *names)` chooses photographs and asks about them."""

    def choose_and_ask(page: Any, *names: str, wait: bool = True) -> None:
        page.set_input_files("#ask-photographs input[data-picks=files]", [photographs[name] for name in names])
        page.click("#ask-submit")
        if wait:
            page.wait_for_selector(".answer")

    return choose_and_ask
