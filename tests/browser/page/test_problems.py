"""What goes wrong is said in words, where it happened; nothing that was chosen is lost, and trying again works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hallmark.serving.auth import Scope, read_keys, revoke_key
from hallmark.serving.limits import RateLimitedError
from hallmark.serving.stages import NotReadyError, OverloadedError


def _refused(page: Any, ask: Callable[..., None], *names: str) -> str:
    """Ask, and give the problem's words."""
    ask(page, *(names or ["genuine"]), wait=False)
    page.wait_for_selector("#ask-problem .problem")
    assert page.evaluate("document.activeElement.closest('.problem') !== null"), "focus has not moved to the problem"
    assert page.locator("#ask-photographs .previews li").count() == len(names or ["genuine"])
    return page.locator("#ask-problem .problem").inner_text()


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("heavy", 413, ("Too large", "2000000", "Send fewer or smaller photographs")),
        ("gif", 415, ("Not a photograph the service reads", "GIF", "Send JPEG, PNG")),
        ("damaged", 422, ("The photograph is damaged", "JPEG", "take it anew")),
    ],
)
def test_a_file_that_cannot_be_used(name: str, status: int, words: tuple[str, ...], visit: Any, ask: Any) -> None:
    page = visit("ask")
    with page.expect_response("**/v1/verdicts") as answered:
        told = _refused(page, ask, name)
    assert answered.value.status == status
    assert all(word in told for word in words), told
    assert page.get_by_role("button", name="Try again").count() == 0
    assert answered.value.json()["instance"] in told


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RateLimitedError("found more than 5 requests a minute", 7, "rate"), ("Too many requests", "Wait 7 seconds")),
        (OverloadedError("the queue is full"), ("Too many requests", "Wait 1 second")),
        (NotReadyError("a stage starts"), ("The service is not ready", "Wait 2 seconds")),
    ],
    ids=["rate", "overload", "not-ready"],
)
def test_a_wait_is_counted_down_and_then_trying_again_works(
    error: Exception, words: tuple[str, ...], visit: Any, ask: Any, service: Any
) -> None:
    page = visit("ask")
    page.clock.install()
    service.graph.refuses = error
    told = _refused(page, ask)
    assert all(word in told for word in words), told
    again = page.get_by_role("button", name="Try again")
    assert again.is_disabled()
    page.clock.fast_forward(8000)
    page.wait_for_selector("text=You can try again now.")
    again.click()
    page.wait_for_selector(".answer")
    assert page.locator(".problem").count() == 0


def test_a_quota_that_is_used_up_says_when_it_starts_anew(visit: Any, ask: Any, service: Any) -> None:
    page = visit("ask", key=service.key("verify", quota=1))
    ask(page, "genuine")
    page.click("#ask-clear")
    told = _refused(page, ask, "counterfeit")
    assert "Today's quota is used up" in told
    assert "midnight UTC" in told
    page.click("#key-button")
    assert "1 of 1 photographs" in page.locator("#key-permit").inner_text()


def test_a_failure_of_the_service_can_be_reported(visit: Any, ask: Any, service: Any) -> None:
    page = visit("ask")
    service.graph.refuses = RuntimeError("a secret of the inside")
    told = _refused(page, ask)
    assert "The service failed" in told
    assert "Request" in told
    assert "secret" not in told
    page.get_by_role("button", name="Try again").click()
    page.wait_for_selector(".answer")


def test_no_network(visit: Any, ask: Any) -> None:
    page = visit("ask")
    page.context.set_offline(True)
    told = _refused(page, ask)
    assert "No connection to the service" in told
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    page.wait_for_selector(".answer")


def test_a_page_that_cannot_reach_its_service_at_first(visit: Any, service: Any) -> None:
    page = visit("ask")
    refused = True

    def answer(route: Any) -> None:
        route.abort() if refused else route.continue_()

    page.route("**/v1/key", answer)
    page.reload()
    page.wait_for_selector("#service-problem .problem")
    assert "No connection" in page.locator("#service-problem").inner_text()
    refused = False
    page.get_by_role("button", name="Try again").click()
    page.wait_for_selector("nav >> text=Enrol")
    assert page.locator(".problem").count() == 0


def test_an_answer_that_cannot_be_read(visit: Any, ask: Any) -> None:
    page = visit("ask")
    page.route("**/v1/verdicts", lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>"))
    assert "The service failed" in _refused(page, ask)


def test_slow_work_says_so_and_can_be_cancelled(visit: Any, ask: Any, service: Any) -> None:
    page = visit("ask")
    page.clock.install()
    service.graph.delay_s = 30.0
    ask(page, "genuine", wait=False)
    page.wait_for_selector("progress:indeterminate")
    assert page.evaluate("document.activeElement.textContent") == "Cancel"
    page.clock.fast_forward(9000)
    page.wait_for_selector("text=Still at work")
    page.keyboard.press("Enter")
    page.wait_for_selector("progress", state="detached")
    assert page.evaluate("document.activeElement.id") == "ask-submit"
    assert page.locator("#status").inner_text() == "Cancelled."
    assert page.locator(".problem").count() == 0
    service.graph.delay_s = 0.0
    page.click("#ask-submit")
    page.wait_for_selector(".answer")


def test_a_key_revoked_meanwhile(visit: Any, ask: Any, service: Any) -> None:
    page = visit("ask", key=service.key("verify"))
    file = service.folder / "keys.json"
    revoke_key(file, read_keys(file)[0].key_id)
    other = service.key("verify")
    told = _refused(page, ask)
    assert "This key is not accepted" in told
    page.get_by_role("button", name="Change the key").click()
    page.fill("#key-input", other)
    page.keyboard.press("Enter")
    page.wait_for_selector("#key-dialog", state="hidden")
    assert page.locator(".problem").count() == 0
    assert page.evaluate("document.activeElement.id") == "ask-submit"
    page.keyboard.press("Enter")
    page.wait_for_selector(".answer")


def test_what_a_key_may_not_do_is_said(visit: Any, service: Any) -> None:
    page = visit("enrol", key=service.key("verify"))
    assert "Not with this key" in page.locator("main h1:visible").inner_text()
    assert page.locator("nav a:visible").all_inner_texts() == ["Ask", "References", "Versions"]


def test_a_scope_taken_away_meanwhile(visit: Any, service: Any) -> None:
    """403 as the service says it, where the page could not know."""
    page = visit("references", key=service.key("enrol", "verify"))
    file = service.folder / "keys.json"
    kept = [key.model_copy(update={"scopes": (Scope.VERIFY,)}) for key in read_keys(file)]
    file.write_text('{"keys": [' + ",".join(key.model_dump_json() for key in kept) + "]}")
    page.get_by_role("button", name="Retire").first.click()
    page.click("#confirm-yes")
    page.wait_for_selector("#references-problem .problem")
    assert "This key does not allow that" in page.locator("#references-problem").inner_text()
