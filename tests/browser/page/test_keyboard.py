"""From the first Tab to the evidence without a pointer."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

FOCUSED = """() => {
  const one = document.activeElement;
  return (one.getAttribute("aria-label") || one.labels?.[0]?.textContent || one.textContent).trim();
}"""


def _tab_to(page: Any, name: str, most: int = 40) -> None:
    """Press Tab until something of that name has the focus, which must be seen."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate(FOCUSED).startswith(name):
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", f"the focus on {name} is not seen"
            return
    raise AssertionError(f"{name}: not reached by Tab; last was {page.evaluate(FOCUSED)!r}")


def test_asking_by_keyboard_alone(visit: Any, photographs: dict[str, Path]) -> None:
    page = visit("ask")
    _tab_to(page, "Skip to the content", most=1)
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    assert page.evaluate("location.hash") == "#ask"
    _tab_to(page, "Choose photographs", most=1)
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(photographs["counterfeit"])
    page.wait_for_selector(".previews li")
    _tab_to(page, "Remove counterfeit.jpg")
    _tab_to(page, "Product")
    _tab_to(page, "Ask for a verdict")
    page.keyboard.press("Enter")
    page.wait_for_selector(".answer")
    assert page.evaluate(FOCUSED) == "Counterfeit"
    for stop in ("Certificate", "Copy verdict", "Cue 1,", "Cue 12,", "Map over photograph", "What it was made from"):
        _tab_to(page, stop)
    page.keyboard.press("Enter")
    assert page.locator("details code").first.is_visible()


def test_the_key_dialog_by_keyboard_alone(visit: Any, service: Any) -> None:
    token = service.key("verify")
    page = visit("ask")
    _tab_to(page, "Enter a key")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "key-input"
    page.keyboard.press("Escape")
    assert page.evaluate(FOCUSED) == "Enter a key"
    page.keyboard.press("Enter")
    page.keyboard.type(token)
    page.keyboard.press("Enter")
    page.wait_for_selector("#key-dialog", state="hidden")
    assert page.evaluate("document.activeElement !== document.body")


def test_views_change_with_their_title_and_focus(visit: Any) -> None:
    page = visit("ask")
    _tab_to(page, "References")
    page.keyboard.press("Enter")
    page.wait_for_selector("#view-references:visible")
    assert page.title() == "References · hallmark"
    assert page.evaluate("document.activeElement.id") == "references-title"
    assert page.locator("nav [aria-current=page]").inner_text() == "References"
    page.go_back()
    assert page.locator("#view-ask").is_visible()


def test_landmarks_and_headings(visit: Any, ask: Any) -> None:
    page = visit("ask")
    ask(page, "counterfeit")
    for role in ("banner", "navigation", "main", "contentinfo"):
        assert page.get_by_role(role).count() == 1
    levels = page.locator("h1:visible, h2:visible, h3:visible, h4:visible").evaluate_all(
        "all => all.filter(one => one.checkVisibility()).map(one => Number(one.tagName[1]))"
    )
    assert levels[0] == 1
    assert all(level <= before + 1 for before, level in pairwise(levels)), levels


def test_nothing_moves_where_less_motion_is_wanted(visit: Any, ask: Any, service: Any) -> None:
    service.graph.delay_s = 1.0
    page = visit("ask", reduced_motion="reduce")
    ask(page, "genuine", wait=False)
    page.wait_for_selector("progress:indeterminate")
    assert page.locator("progress").evaluate("one => getComputedStyle(one).animationName") == "none"
