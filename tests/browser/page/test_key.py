"""The key: masked, kept no longer than asked, and what it may do is what the page shows."""

from __future__ import annotations

from typing import Any


def _enter(page: Any, key: str, remember: bool = False) -> None:
    page.get_by_role("button", name="Enter a key").first.click()
    page.fill("#key-input", key)
    page.set_checked("#key-remember", remember)
    page.click("#key-use")


def test_a_service_without_keys_asks_for_none(visit: Any) -> None:
    page = visit("ask")
    assert page.locator("#key-button").is_hidden()
    assert page.locator("#key-wanted").is_hidden()
    assert page.locator("nav a:visible").all_inner_texts() == ["Ask", "Enrol", "References", "Versions"]


def test_a_key_is_typed_masked_and_lives_in_memory_alone(visit: Any, service: Any) -> None:
    token = service.key("verify", "enrol", rate=600, quota=200)
    page = visit("ask")
    assert page.locator("#key-wanted").is_visible()
    assert page.locator("nav a:visible").all_inner_texts() == ["Ask"]
    assert page.locator("#key-input").get_attribute("type") == "password"
    _enter(page, token)
    page.wait_for_selector("#key-dialog", state="hidden")
    assert page.locator("#key-label").inner_text() == "shop verify+enrol"
    assert page.locator("nav a:visible").all_inner_texts() == ["Ask", "Enrol", "References", "Versions"]
    page.click("#key-button")
    told = page.locator("#key-permit").inner_text()
    assert all(words in told for words in ("verify, enrol", "600 requests a minute", "0 of 200 photographs"))
    assert page.evaluate("sessionStorage.length + localStorage.length") == 0
    assert token not in page.content()
    page.reload()
    page.wait_for_selector("#key-wanted")


def test_a_key_is_kept_until_the_tab_is_closed_where_asked(visit: Any, service: Any) -> None:
    token = service.key("verify")
    page = visit("ask")
    _enter(page, token, remember=True)
    page.wait_for_selector("#key-dialog", state="hidden")
    page.reload()
    page.wait_for_selector("nav >> text=References")
    assert page.evaluate("localStorage.length") == 0
    page.click("#key-button")
    page.click("#key-forget")
    page.wait_for_selector("#key-wanted")
    assert page.evaluate("sessionStorage.length") == 0


def test_a_wrong_key_is_said_beside_the_field(visit: Any, service: Any) -> None:
    service.refuse_all()
    page = visit("ask")
    page.get_by_role("button", name="Enter a key").first.click()
    for wrong, words in (
        ("", "Enter a key."),
        ("a key with ünicode", "plain letters"),
        ("hallmark_000000000000_no", "not accepted"),
    ):
        page.fill("#key-input", wrong)
        page.click("#key-use")
        page.locator("#key-problem:visible", has_text=words).wait_for()
        assert page.evaluate("document.activeElement.id") == "key-input"
    page.keyboard.press("Escape")
    assert page.locator("#key-wanted").is_visible()


def test_a_stored_key_that_is_gone_says_so(visit: Any, service: Any) -> None:
    service.refuse_all()
    page = visit("references", key="hallmark_000000000000_gone")
    assert "not accepted any more" in page.locator("#key-wanted").inner_text()


def test_a_key_that_only_enrols_starts_with_enrolling(visit: Any, service: Any) -> None:
    page = visit("", key=service.key("enrol"))
    assert page.locator("nav a:visible").all_inner_texts() == ["Enrol"]
    assert page.locator("main h1:visible").inner_text() == "Enrol references"
