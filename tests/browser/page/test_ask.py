"""Asking: from a photograph to a verdict with its evidence, and what can be done with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hallmark.serving.certificate import check_certificate
from hallmark.serving.stages import Examined
from hallmark.types import Verdict

PICK = "#ask-photographs input[data-picks=files]"


@pytest.mark.parametrize(
    ("name", "word", "icon"),
    [
        ("genuine", "Genuine", "#icon-genuine"),
        ("counterfeit", "Counterfeit", "#icon-counterfeit"),
        ("inconclusive", "Inconclusive", "#icon-inconclusive"),
        ("stranger", "Not in gallery", "#icon-not_in_gallery"),
    ],
)
def test_each_verdict_is_told_by_word_icon_and_reason(name: str, word: str, icon: str, visit: Any, ask: Any) -> None:
    page = visit("ask")
    ask(page, name)
    assert page.locator(".verdict-word").inner_text() == word
    assert page.locator(".banner use").first.get_attribute("href") == icon
    assert page.evaluate("document.activeElement.className") == "verdict-word"
    assert page.locator("#status").inner_text() == f"Verdict: {word}."
    assert page.locator(".banner .reason").inner_text()


def test_not_in_gallery_is_not_called_counterfeit(visit: Any, ask: Any) -> None:
    page = visit("ask")
    ask(page, "stranger")
    assert "not the same as counterfeit" in page.locator(".banner").inner_text()
    assert page.locator(".banner .probability, .banner .decision").count() == 0
    assert "Another part?" in page.locator(".advice").inner_text()


def test_scores_stand_beside_their_thresholds(visit: Any, ask: Any) -> None:
    page = visit("ask")
    ask(page, "counterfeit")
    assert "2\u00a0%" in page.locator(".banner .probability").inner_text()
    assert "Counterfeit below \u22120.350" in page.locator(".banner .decision").inner_text()
    rows = page.locator(".scores tbody tr").all_inner_texts()
    assert any("global_similarity" in row and "0.914" in row and "at least 0.431" in row for row in rows)
    assert any("decision" in row and "\u22121.120" in row and "counterfeit below \u22120.350" in row for row in rows)
    assert page.get_by_role("table", name="Scores by stage").get_by_role("rowheader").count() > 10


def test_a_blurred_photograph_is_to_be_taken_again(visit: Any, ask: Any) -> None:
    page = visit("ask")
    ask(page, "blurred")
    advice = page.get_by_role("region", name="What to do").inner_text()
    assert "Too blurred. Hold the camera still" in advice
    assert "320 \u00d7 240 px" in advice


def test_a_pair_of_cues_is_marked_by_pointer_and_by_focus(visit: Any, ask: Any) -> None:
    page = visit("ask")
    ask(page, "genuine")
    page.locator(".pair .thumbnail img").wait_for()
    cues = page.get_by_role("list", name="Matched cues").get_by_role("button")
    assert cues.count() == 12
    assert "Cue 3, similarity 0.9" in cues.nth(2).get_attribute("aria-label")
    drawn = "document.querySelector('.pair > canvas').toDataURL()"
    plain = page.evaluate(drawn)
    cues.nth(2).focus()
    assert "chosen" in cues.nth(2).get_attribute("class")
    focused = page.evaluate(drawn)
    assert focused != plain
    cues.nth(0).focus()
    assert page.evaluate(drawn) not in (plain, focused)
    page.evaluate("document.activeElement.blur()")
    assert page.evaluate(drawn) == plain
    cues.nth(2).hover()
    assert page.evaluate(drawn) == focused
    cues.nth(2).click()
    assert cues.nth(2).get_attribute("aria-pressed") == "true"


def test_marks_lie_where_the_cues_are(visit: Any, ask: Any, service: Any) -> None:
    page = visit("ask")
    with page.expect_response("**/v1/verdicts") as answered:
        ask(page, "genuine")
    pair = answered.value.json()["cue_pairs"][0]
    page.locator(".pair").scroll_into_view_if_needed()
    page.locator(".pair .thumbnail img").wait_for()
    # A portrait photograph fills its figure's height or width, and lies in the middle of it.
    box = page.locator(".pair figure img").first.bounding_box()
    shape = page.locator(".pair figure img").first.evaluate("one => [one.naturalWidth, one.naturalHeight]")
    scale = min(box["width"] / shape[0], box["height"] / shape[1])
    x = box["x"] + (box["width"] - shape[0] * scale) / 2 + pair["query"][0] * shape[0] * scale
    y = box["y"] + (box["height"] - shape[1] * scale) / 2 + pair["query"][1] * shape[1] * scale
    page.mouse.move(x, y)
    page.wait_for_selector(".cue.chosen")
    assert page.locator(".cue.chosen .cue-number").inner_text() == "1"


def test_the_residual_map_is_laid_over_with_a_slider(visit: Any, ask: Any) -> None:
    page = visit("ask")
    ask(page, "counterfeit")
    slider = page.get_by_label("Map over photograph")
    strength = lambda: page.locator("canvas.heat").evaluate("one => one.style.opacity")  # noqa: E731
    assert strength() == "0.8"
    slider.focus()
    page.keyboard.press("Home")
    assert strength() == "0"
    page.keyboard.press("ArrowRight")
    assert (strength(), slider.get_attribute("aria-valuetext")) == ("0.05", "5 percent")
    assert page.locator("canvas.heat").evaluate("one => [one.width, one.height]") == [32, 32]


def test_where_a_classifier_looked_is_laid_over_the_photograph(visit: Any, ask: Any) -> None:
    page = visit("ask")
    with page.expect_response("**/v1/verdicts") as answered:
        ask(page, "classified")
    told = answered.value.json()
    card = page.get_by_role("region", name="Where it looked")
    card.scroll_into_view_if_needed()
    photograph = card.locator(".overlaid img").bounding_box()
    size, windows = told["quality"], told["attention"]["windows"]
    assert card.locator(".window").count() == len(windows) == 4
    for number, window in enumerate(windows):
        box = card.locator(".window").nth(number).bounding_box()
        assert box["x"] == pytest.approx(photograph["x"] + window["x0"] * photograph["width"] / size["width"], abs=1)
        assert box["y"] == pytest.approx(photograph["y"] + window["y0"] * photograph["height"] / size["height"], abs=1)
        across = (window["x1"] - window["x0"]) * photograph["width"] / size["width"]
        assert box["width"] == pytest.approx(across, abs=1)
    heat = card.locator("canvas.heat").bounding_box()
    x0, _, x1, _ = told["attention"]["box"]
    assert heat["width"] == pytest.approx((x1 - x0) * photograph["width"] / size["width"], abs=1)
    card.get_by_label("Heat over photograph").focus()
    page.keyboard.press("Home")
    assert card.locator("canvas.heat").evaluate("one => one.style.opacity") == "0"


def test_each_window_is_shown_by_itself_with_what_it_counts(visit: Any, ask: Any) -> None:
    page = visit("ask")
    ask(page, "classified")
    crops = page.get_by_role("list", name="Windows by what they count").get_by_role("button")
    assert [one.split() for one in crops.all_inner_texts()] == [
        [number, share, "%"] for number, share in (("1", "46"), ("2", "31"), ("3", "16"), ("4", "7"))
    ]
    assert "Window 2, 31" in crops.nth(1).get_attribute("aria-label")
    crops.nth(1).focus()
    lit = page.locator(".window.lit .window-number").all_inner_texts()
    assert lit == ["2"]
    page.evaluate("document.activeElement.blur()")
    assert page.locator(".window.lit, .window.faint").count() == 0


def test_without_a_classifier_nothing_is_said_of_where_it_looked(visit: Any, ask: Any) -> None:
    page = visit("ask")
    ask(page, "genuine")
    assert "Where it looked" not in page.locator(".answer h3").all_inner_texts()


def test_nearest_references_are_shown_by_authenticity(visit: Any, ask: Any) -> None:
    page = visit("ask")
    ask(page, "genuine")
    pictures = page.locator(".nearest .thumbnail")
    assert pictures.count() == 6
    pictures.last.scroll_into_view_if_needed()
    pictures.last.locator("img").wait_for()
    alt = pictures.last.locator("img").get_attribute("alt")
    assert alt == "Counterfeit reference of aurelle-bag, leather_tag"
    assert "0.910 similarity" in page.locator(".nearest li").first.inner_text()


@pytest.mark.parametrize("name", ["classified", "classified-beside-references"])
def test_a_classifiers_verdict_has_no_empty_panels(visit: Any, ask: Any, name: str) -> None:
    page = visit("ask")
    ask(page, name)
    banner = page.locator(".banner").inner_text()
    assert "Classifier, log odds of genuine" in banner
    assert "Decision score" not in page.locator(".answer").inner_text()
    assert page.locator(".pair, .residual").count() == 0
    titles = page.locator(".answer h3").all_inner_texts()
    has_gallery = name != "classified"
    assert ("Nearest references" in titles) == has_gallery
    assert not {"Matched cues", "Where it differs"} & set(titles)
    assert "matched cue" not in page.locator(".answer").inner_text()
    page.get_by_text("What it was made from").click()
    ids = page.locator("dl.ids").inner_text()
    assert ("none" in ids) == (not has_gallery)


def test_several_photographs_get_one_verdict_and_one_each(visit: Any, ask: Any) -> None:
    page = visit("ask")
    ask(page, "genuine", "genuine-buckle", "stranger")
    assert page.locator(".banner .verdict-word").inner_text() == "Genuine"
    assert "3 photographs" in page.locator(".banner .shows").inner_text()
    parts = page.locator(".parts tbody tr").all_inner_texts()
    assert [row.split()[0] for row in parts] == ["leather_tag", "metal_buckle"]
    assert "Not in gallery" in page.locator(".aside").inner_text()
    tabs = page.get_by_role("tab")
    assert tabs.count() == 3
    tabs.nth(0).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.getAttribute('aria-selected')") == "true"
    assert "Not in gallery" in page.get_by_role("tabpanel").inner_text()
    page.keyboard.press("ArrowRight")
    assert "+0.740" in page.get_by_role("tabpanel").inner_text()


def test_photographs_of_two_products_are_inconclusive(visit: Any, ask: Any) -> None:
    page = visit("ask")
    ask(page, "genuine", "genuine-label")
    assert page.locator(".banner .verdict-word").inner_text() == "Inconclusive"
    assert "one item at a time" in page.locator(".advice").first.inner_text()


def test_a_chosen_product_is_asked_for(visit: Any, ask: Any, service: Any) -> None:
    page = visit("ask")
    page.select_option("#ask-product", "mirelune-jam")
    ask(page, "stranger")
    assert service.graph.asks[-1].product == "mirelune-jam"
    assert "Only mirelune-jam was asked about" in page.locator(".advice").inner_text()


def test_photographs_can_be_dropped_pasted_and_removed(visit: Any, photographs: dict[str, Path]) -> None:
    page = visit("ask")
    give = """([kind, name]) => {
      const carried = new DataTransfer();
      carried.items.add(new File([new Uint8Array(40)], name, { type: "image/png" }));
      const target = kind === "drop" ? document.querySelector(".drop") : document;
      target.dispatchEvent(kind === "drop"
        ? new DragEvent("drop", { dataTransfer: carried, bubbles: true, cancelable: true })
        : new ClipboardEvent("paste", { clipboardData: carried, bubbles: true }));
    }"""
    page.evaluate(give, ["drop", "dropped.png"])
    page.evaluate(give, ["paste", "pasted.png"])
    assert page.locator("#ask-photographs .file-name").all_inner_texts() == ["dropped.png", "pasted.png"]
    page.get_by_role("button", name="Remove dropped.png").click()
    assert page.locator("#ask-photographs .file-name").all_inner_texts() == ["pasted.png"]
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Remove pasted.png"


def test_what_is_no_photograph_or_too_many_is_left_out_and_said(
    visit: Any, photographs: dict[str, Path], tmp_path: Path
) -> None:
    page = visit("ask")
    page.set_input_files(PICK, photographs["text"])
    assert "notes.txt is text/plain; wanted JPEG" in page.locator("#ask-photographs [role=alert]").inner_text()
    many = [tmp_path / f"{number}.jpg" for number in range(9)]
    for number, file in enumerate(many):
        file.write_bytes(bytes(20 + number))
    page.set_input_files(PICK, many)
    assert page.locator("#ask-photographs .previews li").count() == 8
    assert "8.jpg is one too many" in page.locator("#ask-photographs [role=alert]").inner_text()


def test_asking_without_a_photograph_says_what_is_missing(visit: Any, service: Any) -> None:
    page = visit("ask")
    page.click("#ask-submit")
    assert "Choose a photograph first." in page.locator("#ask-problem").inner_text()
    assert page.evaluate("document.activeElement.className") == "choose"
    assert not service.graph.asks


def test_certificates_are_saved_signed_and_printable(visit: Any, ask: Any, service: Any, tmp_path: Path) -> None:
    service.with_certificates()
    page = visit("ask")
    ask(page, "genuine")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Certificate", exact=True).click()
    assert saved.value.suggested_filename.endswith(".json")
    saved.value.save_as(tmp_path / "certificate.json")
    certificate = check_certificate((tmp_path / "certificate.json").read_bytes())
    assert certificate.verdicts[0].verdict == "genuine"
    with page.expect_download() as saved:
        page.get_by_role("button", name="Printable certificate").click()
    assert saved.value.suggested_filename.endswith(".html")
    saved.value.save_as(tmp_path / "certificate.html")
    assert "Genuine" in (tmp_path / "certificate.html").read_text()


def test_a_service_without_certificates_says_so_and_keeps_the_verdict(visit: Any, ask: Any) -> None:
    page = visit("ask")
    ask(page, "genuine")
    page.get_by_role("button", name="Certificate", exact=True).click()
    page.wait_for_selector(".banner .problem")
    assert "issues no certificates" in page.locator(".banner .problem").inner_text()
    assert page.locator(".verdict-word").inner_text() == "Genuine"


def test_the_verdict_is_copied_as_json(visit: Any, ask: Any) -> None:
    page = visit("ask", permissions=["clipboard-read", "clipboard-write"])
    ask(page, "genuine")
    page.get_by_role("button", name="Copy verdict").click()
    page.wait_for_selector("text=Copied")
    told = json.loads(page.evaluate("navigator.clipboard.readText()"))
    assert Verdict.model_validate(told).verdict == "genuine"


@pytest.mark.parametrize(("detail", "shown"), [("scores", True), ("label", False)])
def test_a_key_that_is_shown_less_gets_a_whole_page(
    detail: str, shown: bool, visit: Any, ask: Callable[..., None], service: Any
) -> None:
    page = visit("ask", key=service.key("verify", detail=detail))
    ask(page, "counterfeit")
    assert page.locator(".verdict-word").inner_text() == "Counterfeit"
    assert page.locator(".scores").count() == shown
    assert page.locator(".probability").count() == shown
    assert page.locator(".pair, .residual, .nearest").count() == 0
    assert page.get_by_role("button", name="Certificate", exact=True).count() == 0
    assert "This key is shown" in page.locator(".withheld").inner_text()


def test_a_key_that_is_shown_less_gets_a_whole_item(visit: Any, ask: Any, service: Any) -> None:
    page = visit("ask", key=service.key("verify", detail="label"))
    ask(page, "genuine", "genuine-buckle")
    assert page.locator(".banner .verdict-word").inner_text() == "Genuine"
    assert page.get_by_role("tab").count() == 2
    assert page.locator(".parts, .probability").count() == 0


def test_text_from_the_service_is_never_markup(visit: Any, ask: Any, service: Any) -> None:
    page = visit("ask")

    examine = service.graph.examine

    async def evil(*told: Any) -> Any:
        (answered,) = (await examine(*told)).photographs
        markup = "<img src=x onerror=alert(1)>"
        verdict = answered.verdict.model_copy(update={"reason": markup, "product": markup})
        return Examined((replace(answered, verdict=verdict),), None)

    service.graph.examine = evil
    ask(page, "genuine")
    assert page.locator(".banner .reason").inner_text() == "<img src=x onerror=alert(1)>"
    assert page.locator("img[src=x]").count() == 0


def test_starting_again_leaves_nothing_behind(visit: Any, ask: Any) -> None:
    page = visit("ask")
    ask(page, "genuine")
    page.click("#ask-clear")
    assert page.locator(".answer, .previews li").count() == 0
    assert page.locator("#ask-guide").is_visible()
