"""The pages, read where people read them: in a browser, from disk, with the network off."""

import json
import shutil
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

import pytest

from normscope.report import report_run, report_study
from normscope.studies._explanations import PREDICTIONS
from tests.report import samples
from tests.report.pages import SMALL, evidence_page, run_page, small_study, study_page
from tests.report.test_pages import HOSTILE

SIZES = {"phone": {"width": 375, "height": 812}, "desktop": {"width": 1280, "height": 900}}
PAGES = {"run": run_page, "study": study_page, "evidence": evidence_page}


@pytest.fixture(scope="module")
def chromium() -> Iterator:
    """The system's Chromium."""
    playwright = pytest.importorskip("playwright.sync_api")
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as started:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = started.chromium.launch(executable_path=executable, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def read(chromium, tmp_path: Path) -> Iterator[Callable]:
    """Open a page from disk, offline; the console must stay silent and nothing may be asked for."""
    said: list[str] = []
    contexts = []

    def opened(page: str, size: str = "desktop", scheme: str = "light", **settings):
        path = tmp_path / "page.html"
        path.write_text(page, encoding="utf-8")
        context = chromium.new_context(
            offline=True, viewport=SIZES[size], color_scheme=scheme, **settings
        )
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("dialog", lambda dialog: said.append(f"dialog {dialog.message}"))
        tab.on(
            "request",
            lambda asked: (
                None
                if asked.url.startswith(("file:", "data:"))
                else said.append(f"asked for {asked.url}")
            ),
        )
        tab.goto(path.as_uri())
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert said == []


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_page_fits_its_screen(read, page: str, size: str, language: str) -> None:
    tab = read(PAGES[page](language), size)
    assert tab.evaluate("document.documentElement.scrollWidth") == SIZES[size]["width"]
    assert tab.evaluate("innerWidth") == SIZES[size]["width"]
    sizes = tab.evaluate(
        """[...document.querySelectorAll("svg.chart text")]
             .filter(text => text.getClientRects().length)
             .map(text => text.getBoundingClientRect().height)"""
    )
    assert len(sizes) > 20
    assert min(sizes) >= 10  # pixels, a line high: letters of 9 and more


@pytest.mark.parametrize(
    ("page", "size", "scheme", "language"),
    [
        ("study", "desktop", "light", "en"),
        ("study", "phone", "dark", "zh"),
        ("run", "desktop", "dark", "zh"),
        ("run", "phone", "light", "en"),
        ("evidence", "desktop", "dark", "en"),
        ("evidence", "phone", "light", "zh"),
    ],
)
def test_axe_finds_nothing_serious(read, page, size, scheme, language) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    tab = read(PAGES[page](language), size, scheme, bypass_csp=True)  # axe's own script is no part
    tab.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    found = axe.run(tab).response["violations"]
    serious = [
        (violation["id"], [node["html"][:200] for node in violation["nodes"][:3]])
        for violation in found
        if violation["impact"] in {"serious", "critical"}
    ]
    assert serious == []


def test_axe_would_find_something(read) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    broken = run_page().replace('<html lang="en">', "<html>")
    tab = read(broken, bypass_csp=True)
    assert "html-has-lang" in {v["id"] for v in axe.run(tab).response["violations"]}


def colours_of(tab) -> dict[str, str]:
    return json.loads(
        tab.evaluate(
            """JSON.stringify({
              paper: getComputedStyle(document.body).backgroundColor,
              line: getComputedStyle(document.querySelector("svg.chart [stroke='var(--arm-1)']"))
                .stroke,
            })"""
        )
    )


@pytest.mark.parametrize("language", ["en", "zh"])
def test_on_a_phone_every_cell_of_an_open_table_is_in_sight(read, language: str) -> None:
    tab = read(study_page(language), "phone")
    cells = tab.locator(".stacks td:visible")
    assert cells.count() > 30
    right = cells.evaluate_all("cells => cells.map(one => one.getBoundingClientRect().right)")
    assert max(right) <= SIZES["phone"]["width"]


def test_on_a_phone_no_words_lie_on_the_drawings(read) -> None:
    tab = read(run_page(), "phone")
    words = boxes(tab, ".path .name, .path .arrow, .path dl")
    drawings = boxes(tab, ".path canvas")
    assert len(words) > 10
    assert len(drawings) > 6
    assert not any(overlap(one, other) for one in words for other in drawings)
    assert any(overlap(one, one) for one in drawings)


@pytest.mark.parametrize("size", SIZES)
def test_long_names_of_classes_do_not_lie_on_each_other(read, size: str) -> None:
    classes = ["cross", "stripes", "a checkerboard", *"DEFGHIJ"]
    inspection = samples.inspection(widths=SMALL, classes=classes)
    tab = read(report_run(samples.run(data=samples.data(classes)), inspection), size)
    names = boxes(tab, ".confusion thead span")
    assert len(names) == len(classes)
    assert not any(overlap(one, other) for one, other in combinations(names, 2))


def boxes(tab, selector: str) -> list[dict[str, float]]:
    return tab.locator(f":is({selector}):visible").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect().toJSON())"
    )


def overlap(one: dict[str, float], other: dict[str, float]) -> bool:
    """By more than a pixel in both directions."""
    return all(
        min(one[end], other[end]) - max(one[start], other[start]) > 1
        for start, end in (("left", "right"), ("top", "bottom"))
    )


def test_light_and_dark_are_one_drawing(read) -> None:
    light = colours_of(read(study_page(), scheme="light"))
    dark = colours_of(read(study_page(), scheme="dark"))
    assert light == {"paper": "rgb(253, 252, 250)", "line": "rgb(0, 105, 171)"}
    assert dark == {"paper": "rgb(22, 22, 23)", "line": "rgb(88, 174, 234)"}


def test_the_reader_picks_an_arm_with_the_keyboard(read) -> None:
    tab = read(study_page())
    first, second = tab.query_selector_all("input[name=arm]")
    panels = tab.query_selector_all(".chosen")
    assert [panel.is_visible() for panel in panels] == [True, False]
    first.focus()
    tab.keyboard.press("ArrowDown")
    assert second.is_checked()
    assert [panel.is_visible() for panel in panels] == [False, True]


def seen_frames(tab) -> list[int]:
    return tab.locator(".frame:visible").evaluate_all("all => all.map(o => +o.dataset.step)")


def test_a_slider_leads_all_pictures_of_moments_through_training(read) -> None:
    tab = read(evidence_page())
    sliders = tab.locator(".stepper input")
    assert sliders.count() == 3
    ends = seen_frames(tab)
    assert len(ends) == 3
    sliders.nth(1).focus()
    tab.keyboard.press("Home")
    begins = seen_frames(tab)
    assert begins[1] == 200
    assert all(begin < end for begin, end in zip(begins, ends, strict=True))
    assert begins[0] <= begins[1]  # its own last moment before that
    assert sliders.nth(1).get_attribute("aria-valuetext") == "after step 200"
    assert tab.locator(".stepper output").nth(2).inner_text() == "after step 200"
    tab.keyboard.press("End")
    assert seen_frames(tab) == ends


def test_without_scripts_some_moments_stand_below_each_other(read) -> None:
    tab = read(evidence_page(), java_script_enabled=False)
    assert tab.locator(".stepper input:visible").count() == 0
    assert tab.locator(".frame:visible").count() == 9
    assert tab.locator(".moment:visible").count() == 9


def test_every_line_of_the_evidence_leads_to_its_row(read) -> None:
    tab = read(evidence_page())
    links = tab.locator(".scoreboard a")
    assert links.count() == len(PREDICTIONS)
    for link in links.all():
        assert tab.locator(f"article{link.get_attribute('href')}").count() == 1


def test_the_first_key_leads_past_the_head(read) -> None:
    tab = read(run_page())
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    outline = tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.id") == "content"


def test_every_link_leads_to_its_section(read) -> None:
    tab = read(study_page())
    links = tab.query_selector_all("nav a")
    assert len(links) == 6
    for link in links:
        target = link.get_attribute("href")
        assert tab.query_selector(f"section{target}")


def test_raw_figures_open_on_demand(read) -> None:
    tab = read(run_page(), "phone")
    table = tab.query_selector("details table")
    assert not table.is_visible()
    tab.query_selector("details > summary").click()
    assert table.is_visible()


def test_names_are_shown_and_not_run_in_a_browser(read) -> None:
    names = [HOSTILE, '"><img src=x onerror=alert(1)>']
    tab = read(report_study(small_study(names=names)))
    assert HOSTILE in tab.inner_text("h1")


def test_a_script_from_elsewhere_would_not_run(chromium, tmp_path: Path) -> None:
    """The control: even unescaped, the page's policy refuses what is not its own."""
    path = tmp_path / "page.html"
    path.write_text(run_page().replace("</main>", "<script>document.title = 1</script></main>"))
    context = chromium.new_context(offline=True)
    tab = context.new_page()
    tab.goto(path.as_uri())
    assert tab.title() == "A network with batch normalization, on letters"
    context.close()
