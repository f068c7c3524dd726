"""Every view in both colour schemes: axe finds nothing, and nothing is wider than a phone. Leaves screenshots."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hallmark.serving.limits import RateLimitedError

PHONE = {"width": 360, "height": 780, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}
WIDE = {"width": 1440, "height": 900}
NARROW_PX = 320


@pytest.fixture(scope="module")
def screens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the screenshots lie, for people to look at."""
    return tmp_path_factory.mktemp("screens")


def _asked(*names: str) -> Callable[..., Any]:
    def act(visit: Any, service: Any, ask: Any, **look: Any) -> Any:
        service.with_certificates()
        page = visit("ask", **look)
        ask(page, *names)
        return page

    return act


def _limited(detail: str) -> Callable[..., Any]:
    def act(visit: Any, service: Any, ask: Any, **look: Any) -> Any:
        page = visit("ask", key=service.key("verify", detail=detail), **look)
        ask(page, "counterfeit")
        return page

    return act


def _plain(view: str) -> Callable[..., Any]:
    return lambda visit, service, ask, **look: visit(view, **look)


def _chosen(visit: Any, service: Any, ask: Any, photographs: dict[str, Path], **look: Any) -> Any:
    page = visit("ask", **look)
    page.set_input_files(
        "#ask-photographs input[data-picks=files]", [photographs["genuine"], photographs["genuine-label"]]
    )
    return page


def _waiting(visit: Any, service: Any, ask: Any, **look: Any) -> Any:
    service.graph.delay_s = 2.0
    page = visit("ask", **look)
    ask(page, "genuine", wait=False)
    page.wait_for_selector("progress:indeterminate")
    return page


def _told_to_wait(visit: Any, service: Any, ask: Any, **look: Any) -> Any:
    service.graph.refuses = RateLimitedError("found more than 60 requests a minute; wanted no more", 42, "rate")
    page = visit("ask", **look)
    ask(page, "genuine", wait=False)
    page.wait_for_selector(".problem")
    return page


def _not_allowed(visit: Any, service: Any, ask: Any, **look: Any) -> Any:
    return visit("enrol", key=service.key("verify"), **look)


def _key_wanted(visit: Any, service: Any, ask: Any, **look: Any) -> Any:
    service.refuse_all()
    page = visit("ask", **look)
    ask(page, "genuine", wait=False)
    page.wait_for_selector(".problem")
    return page


def _key_shown(visit: Any, service: Any, ask: Any, **look: Any) -> Any:
    page = visit("ask", key=service.key("verify", "enrol", rate=600, quota=200), **look)
    ask(page, "genuine")
    page.click("#key-button")
    return page


def _enrolled(visit: Any, service: Any, ask: Any, photographs: dict[str, Path], **look: Any) -> Any:
    page = visit("enrol", **look)
    page.set_input_files(
        "#enrol-photographs input[data-picks=files]",
        [photographs[name] for name in ("genuine", "counterfeit", "damaged")],
    )
    page.fill("#enrol-product", "aurelle-bag")
    page.click("#enrol-submit")
    page.wait_for_selector(".outcomes")
    return page


def _retiring(visit: Any, service: Any, ask: Any, **look: Any) -> Any:
    page = visit("references", **look)
    page.click(".reference >> nth=0 >> text=Retire")
    page.wait_for_selector("#confirm-picture img")
    return page


STATES = {
    "ask": _plain("ask"),
    "chosen": _chosen,
    "waiting": _waiting,
    "genuine": _asked("genuine"),
    "counterfeit": _asked("counterfeit"),
    "inconclusive": _asked("inconclusive"),
    "blurred": _asked("blurred"),
    "stranger": _asked("stranger"),
    "classified": _asked("classified"),
    "item": _asked("genuine", "genuine-buckle", "stranger"),
    "scores-only": _limited("scores"),
    "label-only": _limited("label"),
    "told-to-wait": _told_to_wait,
    "not-allowed": _not_allowed,
    "key-wanted": _key_wanted,
    "key-shown": _key_shown,
    "enrol": _plain("enrol"),
    "enrolled": _enrolled,
    "references": _plain("references"),
    "retiring": _retiring,
    "versions": _plain("versions"),
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("state", STATES)
def test_a_view_is_accessible_and_fits_a_phone(
    state: str, scheme: str, visit: Any, service: Any, ask: Any, photographs: dict[str, Path], screens: Path
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    act = STATES[state]
    more = {"photographs": photographs} if act in (_chosen, _enrolled) else {}
    page = act(visit, service, ask, color_scheme=scheme, **WIDE, **more)
    _settle(page)
    page.screenshot(path=screens / f"{state}-wide-{scheme}.png", full_page=True)
    found = axe.run(page)
    assert found.violations_count == 0, found.generate_report()

    service.graph.delay_s = 0.0
    page.set_viewport_size({"width": NARROW_PX, "height": 640})
    assert _overflow(page) == [], "wider than the window"
    if scheme == "light":
        page = act(visit, service, ask, **PHONE, **more)
        _settle(page)
        # A tall window, not a full-page screenshot: for that one the browser would lay the page out for a mouse.
        page.set_viewport_size({"width": PHONE["width"], "height": page.evaluate("document.body.scrollHeight")})
        page.screenshot(path=screens / f"{state}-phone.png")
        assert _overflow(page) == []
        assert _small_targets(page) == []


def _settle(page: Any) -> None:
    """Let what is loaded when it comes into view be loaded."""
    if page.locator("progress").count() or page.locator("dialog[open]").count():
        return
    for frame in page.locator("main .thumbnail").all():
        if frame.is_visible():
            frame.scroll_into_view_if_needed()
            frame.locator("img").wait_for()
    page.evaluate("Promise.all([...document.images].map(one => one.decode().catch(() => null)))")
    page.evaluate("window.scrollTo(0, 0)")


def _overflow(page: Any) -> list[str]:
    """What reaches beyond the window's right edge, or beyond a card that would cut it off."""
    return page.evaluate(
        """() => [...document.querySelectorAll("html, .card, dialog[open]")]
          .filter(one => one.checkVisibility() && one.scrollWidth > one.clientWidth)
          .flatMap(one => [one, ...one.querySelectorAll("*")])
          .filter(one => one.getBoundingClientRect().right > window.innerWidth + 1)
          .map(one => `${one.tagName}.${one.className} ${one.getBoundingClientRect().right}`)"""
    )


def _small_targets(page: Any) -> list[str]:
    """Controls that a finger may miss: under 44 px, where they are not part of a larger label."""
    return page.evaluate(
        """() => [...document.querySelectorAll("button, select, summary, nav a, input:not([type=file])")]
          .filter(one => one.checkVisibility() && !one.closest("label"))
          .map(one => [one, one.getBoundingClientRect()])
          .filter(([one, box]) => box.height < 43.5 || box.width < 43.5)
          .map(([one, box]) => `${one.tagName} ${one.textContent} ${box.width} x ${box.height}`)"""
    )
