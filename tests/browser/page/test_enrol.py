"""Enrolling: what became a reference, what was refused and why, and the same key for every try of one form."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from hallmark.serving.stages import NotReadyError

PICK = "#enrol-photographs input[data-picks=files]"


def _fill(page: Any, photographs: dict[str, Path], *names: str, product: str = "aurelle-bag") -> None:
    page.set_input_files(PICK, [photographs[name] for name in names])
    page.fill("#enrol-product", product)
    page.fill("#enrol-part", "leather_tag")


def test_each_file_is_told_what_became_of_it(visit: Any, photographs: dict[str, Path], service: Any) -> None:
    page = visit("enrol")
    _fill(page, photographs, "genuine", "counterfeit", "damaged")
    page.fill("#enrol-item", "bag-17")
    page.click("#enrol-submit")
    page.wait_for_selector(".outcomes")
    assert page.evaluate("document.activeElement.textContent") == "1 reference enrolled, 2 refused"
    told = page.locator(".outcomes li").all_inner_texts()
    assert "genuine.jpg" in told[0]
    assert "Enrolled" in told[0]
    assert "does not fit what is in the gallery" in told[1]
    assert "enrolled as counterfeit" in told[1]
    assert "The photograph is damaged" in told[2]
    # What was refused stays chosen, to be put right.
    assert page.locator("#enrol-photographs .file-name").all_inner_texts() == ["counterfeit.jpg", "damaged.jpg"]
    record = service.graph.latest[-1]
    assert (record.product, record.part, record.item_id, record.authenticity) == (
        "aurelle-bag",
        "leather_tag",
        "bag-17",
        "genuine",
    )


def test_a_reference_that_is_there_already_is_not_added_again(
    visit: Any, photographs: dict[str, Path], service: Any
) -> None:
    page = visit("enrol")
    _fill(page, photographs, "counterfeit")
    page.get_by_role("radio", name="Counterfeit").check()
    before = len(service.graph.latest)
    page.click("#enrol-submit")
    page.wait_for_selector(".outcomes")
    assert page.locator("#enrol-result h2").inner_text() == "1 already there"
    assert len(service.graph.latest) == before


def test_what_is_missing_is_said_beside_its_field(visit: Any, photographs: dict[str, Path], service: Any) -> None:
    page = visit("enrol")
    page.set_input_files(PICK, photographs["genuine"])
    page.click("#enrol-submit")
    assert page.locator("#enrol-product-problem").inner_text() == "Name the product."
    assert page.evaluate("document.activeElement.id") == "enrol-product"
    page.get_by_role("button", name="Remove genuine.jpg").click()
    page.fill("#enrol-product", "aurelle-bag")
    page.click("#enrol-submit")
    assert "Choose a photograph first." in page.locator("#enrol-problem").inner_text()
    assert not service.graph.idempotency_keys


def test_known_products_are_suggested(visit: Any) -> None:
    page = visit("enrol")
    options = page.locator("#known-products option").evaluate_all("all => all.map(one => one.value)")
    assert options == ["aurelle-bag", "mirelune-jam"]


def test_a_retry_carries_the_same_idempotency_key_and_another_form_another(
    visit: Any, photographs: dict[str, Path], service: Any
) -> None:
    page = visit("enrol")
    _fill(page, photographs, "genuine")
    service.graph.refuses = NotReadyError("a stage starts")
    page.click("#enrol-submit")
    page.wait_for_selector("#enrol-problem .problem")
    assert page.locator("#enrol-photographs .previews li").count() == 1
    assert page.input_value("#enrol-product") == "aurelle-bag"
    service.graph.refuses = NotReadyError("a stage starts")
    page.click("#enrol-submit")
    page.wait_for_selector("#enrol-problem .problem")
    page.fill("#enrol-item", "another")
    page.click("#enrol-submit")
    page.wait_for_selector(".outcomes")
    first, again, other = service.graph.idempotency_keys
    assert first == again != other
    assert uuid.UUID(first).version == 4


def test_files_of_one_name_are_told_apart(visit: Any, photographs: dict[str, Path], tmp_path: Path) -> None:
    for name in ("genuine", "damaged"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tag.jpg").write_bytes(photographs[name].read_bytes())
    page = visit("enrol")
    page.set_input_files(PICK, [tmp_path / "genuine" / "tag.jpg", tmp_path / "damaged" / "tag.jpg"])
    page.fill("#enrol-product", "aurelle-bag")
    page.click("#enrol-submit")
    page.wait_for_selector(".outcomes")
    told = page.locator(".outcomes li").all_inner_texts()
    assert "tag.jpg" in told[0]
    assert "Enrolled" in told[0]
    assert "tag (2).jpg" in told[1]
    assert "damaged" in told[1]


def test_all_refused_is_one_problem_and_nothing_is_lost(visit: Any, photographs: dict[str, Path]) -> None:
    page = visit("enrol")
    _fill(page, photographs, "damaged")
    page.click("#enrol-submit")
    page.wait_for_selector(".outcomes, #enrol-problem .problem")
    assert "The photograph is damaged" in page.locator("#view-enrol").inner_text()
    assert page.locator("#enrol-photographs .previews li").count() == 1
