"""Browsing: references by product, retiring them, and going back to a version."""

from __future__ import annotations

from typing import Any

from hallmark.serving.stages import NoGalleryError


def _has(page: Any, selector: str, count: int) -> None:
    """Wait until there are so many."""
    page.locator(f"{selector} >> nth={count - 1}").wait_for()
    page.locator(f"{selector} >> nth={count}").wait_for(state="detached")


def test_products_and_references_are_listed_and_filtered(visit: Any, service: Any) -> None:
    page = visit("references")
    assert "14 references of 2 products" in page.locator("#references-lead").inner_text()
    assert page.locator(".product").all_inner_texts()[0].split() == [
        *("aurelle-bag", "leather_tag", "3", "genuine", "3", "counterfeit")
    ]
    assert page.locator(".reference").count() == 14
    page.locator(".reference img").first.wait_for()
    page.locator(".product >> nth=1").click()
    _has(page, ".reference", 4)
    assert page.input_value("#filter-part") == "metal_buckle"
    assert page.evaluate("document.activeElement.id") == "listing-title"
    page.select_option("#filter-authenticity", "counterfeit")
    _has(page, ".reference", 2)
    assert set(page.locator(".reference .chip").all_inner_texts()) == {"Counterfeit"}
    page.select_option("#filter-product", "mirelune-jam")
    _has(page, ".reference", 2)
    assert page.input_value("#filter-part") == ""


def test_long_lists_come_page_by_page(visit: Any, service: Any) -> None:
    graph = service.graph
    records = [
        one.model_copy(update={"reference_id": f"{one.reference_id}-{copy}"})
        for copy in range(8)
        for one in graph.latest
    ]
    graph._add(records)
    page = visit("references")
    assert page.locator(".reference").count() == 48
    page.click("#references-more")
    _has(page, ".reference", 96)
    assert page.evaluate("[...document.querySelectorAll('.reference')].indexOf(document.activeElement)") == 48
    page.click("#references-more")
    _has(page, ".reference", 126)
    assert page.locator("#references-more").is_hidden()


def test_retiring_is_confirmed_first(visit: Any, service: Any) -> None:
    page = visit("references")
    retire = page.get_by_role("button", name="Retire aurelle-bag, leather_tag, item 0000").first
    retire.click()
    assert page.evaluate("document.activeElement.id") == "confirm-no"
    page.keyboard.press("Escape")
    assert len(service.graph.latest) == 14
    assert page.evaluate("document.activeElement.textContent") == "Retire"
    retire.click()
    page.click("#confirm-yes")
    _has(page, ".reference", 13)
    assert len(service.graph.latest) == 13
    assert page.locator("#status").inner_text() == "Retired. Gallery version 7."
    assert page.evaluate("document.activeElement.textContent") == "Retire"
    page.wait_for_selector("text=13 references of 2 products")


def test_a_reference_retired_by_someone_else_is_said(visit: Any, service: Any) -> None:
    page = visit("references")
    service.graph._write("retired", service.graph.latest[1:])
    page.get_by_role("button", name="Retire").first.click()
    page.click("#confirm-yes")
    page.wait_for_selector("#references-problem .problem")
    assert "Not found" in page.locator("#references-problem").inner_text()


def test_a_verify_key_may_look_and_not_touch(visit: Any, service: Any) -> None:
    page = visit("references", key=service.key("verify"))
    assert page.locator(".reference").count() == 14
    assert page.get_by_role("button", name="Retire").count() == 0
    page.click("nav >> text=Versions")
    page.wait_for_selector(".versions tbody tr")
    assert page.get_by_role("button", name="Roll back").count() == 0


def test_rolling_back_is_confirmed_and_makes_a_new_version(visit: Any, service: Any) -> None:
    page = visit("versions")
    assert page.locator(".versions tbody tr").count() == 6
    assert "in use" in page.locator(".versions tbody tr").first.inner_text()
    page.get_by_role("button", name="Roll back to version 2", exact=True).click()
    assert "6 references" in page.locator("#confirm-text").inner_text()
    page.click("#confirm-yes")
    _has(page, ".versions tbody tr", 7)
    first = page.locator(".versions tbody tr").first.inner_text()
    assert "7" in first
    assert "Rolled back" in first
    assert len(service.graph.latest) == 6
    assert "Version 7 has the content of version 2" in page.locator("#status").inner_text()


def test_a_version_that_is_gone_is_said(visit: Any, service: Any) -> None:
    page = visit("versions")
    del service.graph.versions_[3:]
    page.get_by_role("button", name="Roll back to version 5", exact=True).click()
    page.click("#confirm-yes")
    page.wait_for_selector("#versions-problem .problem")
    assert "gallery version 5: is gone" in page.locator("#versions-problem").inner_text()


def test_an_empty_gallery_says_so(visit: Any, service: Any) -> None:
    service.graph._write("retired", ())
    page = visit("references")
    assert page.locator("#references-none").inner_text() == "No references have been enrolled yet."
    assert page.locator("#products-title").is_hidden()


def test_a_service_without_a_gallery_says_so(visit: Any, service: Any) -> None:
    service.graph.refuses = NoGalleryError("bundle kag: served without a gallery; wanted one that has one")

    async def none(*_: Any) -> None:
        raise service.graph.refuses

    service.graph.references = service.graph.products = service.graph.versions = none
    page = visit("references")
    page.wait_for_selector("#references-problem .problem")
    told = page.locator("#references-problem .problem").inner_text()
    assert "There is no gallery" in told
    assert "compares with no references" in told
