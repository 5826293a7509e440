"""The diagram, read where its readers read it: in a browser, with the network off."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from normscope.records import Inspection, LayerStatistics, Specimen
from normscope.report import _diagram
from normscope.report._diagram import diagram
from normscope.report._theme import variables
from tests.report.samples import LETTERS, inspection

WIDTHS = (40, 30, 10)
BOTH = (("norm=batch", "batch"), ("norm=none", "none"))


def page(fragment: str, language: str = "en") -> str:
    """A page with nothing but the diagram; its policy lets nothing come from elsewhere."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    return (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8"><title>Diagram</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}; img-src data:">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{variables()} body {{ background: var(--paper); color: var(--ink); }}</style>"
        f"</head><body><main><h1>Diagram</h1>{fragment}</main></body></html>"
    )


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
    """Open a fragment from disk, offline; the console must stay silent to the test's end."""
    said, contexts = [], []

    def opened(fragment: str, language: str = "en", **settings):
        path = tmp_path / "page.html"
        path.write_text(page(fragment, language), encoding="utf-8")
        context = chromium.new_context(offline=True, **settings)
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("request", lambda request: said.extend(foreign(request.url)))
        tab.goto(path.as_uri())
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert said == []


def foreign(url: str) -> list[str]:
    return [] if url.startswith(("file:", "data:")) else [url]


def choose(tab, *, arm: int = 0, layer: int = 0, image: int | None = None) -> None:
    tab.locator(".layer .choices").nth(arm).locator("input").nth(layer).check()
    if image is not None:
        tab.locator(".image input").nth(image).check()


def type_unit(tab, number: int) -> None:
    tab.get_by_role("spinbutton").fill(str(number))


@dataclass(frozen=True)
class Values:
    """A layer's stages by numpy, in float64."""

    s1: np.ndarray
    s2: np.ndarray | None
    s3: np.ndarray


def stages(layer: LayerStatistics, specimen: Specimen, index: int) -> Values:
    s1 = np.array(specimen.s1[index])
    if layer.norm == "none":
        return Values(s1, None, s1 + np.array(layer.beta))
    if layer.norm == "layer":
        s2 = np.array(specimen.s2[index])
    else:
        variance = np.array(layer.running_variance)
        s2 = (s1 - np.array(layer.running_mean)) / np.sqrt(variance + layer.eps)
    return Values(s1, s2, np.array(layer.gamma) * s2 + np.array(layer.beta))


def shown(tab, stage: str) -> str:
    return tab.locator(f".formulas [data-of={stage}]").text_content()


def assert_shows(text: str, value: float) -> None:
    """`text` is `value`, rounded to the digits that it has."""
    decimals = len(text.partition(".")[2])
    assert "e" not in text
    # 1e-5 of the value: the statistics go to the page with six digits.
    room = 0.5 * 10.0**-decimals + 1e-5 * (1 + abs(value))
    assert abs(float(text.replace("−", "-")) - value) <= room, (text, value)


def test_an_axis_shows_the_digits_that_its_numbers_have(read) -> None:
    tab = read("")
    script = resources.files("normscope.report") / "_diagram_numbers.js"
    numbers = "[0, -0.2, 0.6000000000000001, 1, 1.2, -1.25, 10, 100, 250, 5000, 2e-7, 3e8]"
    shown = tab.evaluate(f"(() => {{ {script.read_text()}; return {numbers}.map(tidied); }})()")
    text = "0 −0.2 0.6 1 1.2 −1.25 10 100 250 5000 2e−7 3e8"
    assert shown == text.split()


def test_rows_that_are_no_pictures_go_by_their_number(read) -> None:
    seen = inspection(widths=WIDTHS, history=False)
    bare = [specimen.model_copy(update={"image": ""}) for specimen in seen.specimens]
    tab = read(diagram([("it", seen.model_copy(update={"specimens": tuple(bare)}))], LETTERS, "en"))
    assert tab.locator("img").count() == 0
    shown = tab.locator(".image label").first
    assert f"#{bare[0].row}" in shown.text_content()
    assert f"Test image {bare[0].row}." in shown.get_by_role("img").get_attribute("aria-label")


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
def test_the_four_numbers_of_a_unit_are_those_of_numpy(read, norm) -> None:
    seen = inspection(norm, widths=WIDTHS, history=False)
    tab = read(diagram([("it", seen)], LETTERS, "en"))
    for layer, image, unit in ((0, 0, 0), (0, 3, 39), (1, 11, 17), (2, 11, 4)):
        choose(tab, layer=layer, image=image)
        type_unit(tab, unit + 1)
        values = stages(seen.layers[layer], seen.specimens[image], layer)
        assert_shows(shown(tab, "s1"), values.s1[unit])
        assert_shows(shown(tab, "s3"), values.s3[unit])
        if values.s2 is None:
            assert tab.locator("[data-of=s2]").count() == 0
        else:
            assert_shows(shown(tab, "s2"), values.s2[unit])
        if layer == len(WIDTHS) - 1:
            assert tab.locator("[data-of=h]").count() == 0
            assert_shows(shown(tab, "p"), seen.specimens[image].probabilities[unit])
        else:
            assert_shows(shown(tab, "h"), max(values.s3[unit], 0))


def test_the_comparison_with_numpy_would_see_another_unit(read) -> None:
    seen = inspection("batch", widths=WIDTHS, history=False)
    tab = read(diagram([("it", seen)], LETTERS, "en"))
    type_unit(tab, 2)
    values = stages(seen.layers[0], seen.specimens[0], 0)
    with pytest.raises(AssertionError):
        assert_shows(shown(tab, "s2"), values.s2[0])


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_mean_and_deviation_of_a_stage_are_over_its_units(read, norm) -> None:
    seen = inspection(norm, widths=WIDTHS, history=False)
    tab = read(diagram([("it", seen)], LETTERS, "en"))
    choose(tab, layer=1, image=2)
    values = stages(seen.layers[1], seen.specimens[2], 1)
    of_stage = {"s1": values.s1, "s2": values.s2, "s3": values.s3, "h": np.maximum(values.s3, 0)}
    for stage, numbers in of_stage.items():
        mean = tab.locator(f"[data-of={stage}-mean]")
        assert mean.count() == (numbers is not None)
        if numbers is not None:
            assert_shows(mean.text_content(), numbers.mean())
            assert_shows(tab.locator(f"[data-of={stage}-deviation]").text_content(), numbers.std())


def both() -> str:
    arms = [(name, inspection(norm, widths=WIDTHS, history=False)) for name, norm in BOTH]
    return diagram(arms, LETTERS, "en")


def test_formulas_have_a_s2_only_where_something_normalizes(read) -> None:
    tab = read(both())
    names = tab.locator(".path .name i")
    assert names.all_text_contents() == ["x", "s1", "s2", "s3", "h"]
    assert tab.locator(".way math").nth(1).text_content() == "s1−μσ2+ε"
    choose(tab, arm=1)
    assert names.all_text_contents() == ["x", "s1", "s3", "h"]
    assert tab.locator(".way math").nth(1).text_content() == "s1+b"
    choose(tab, arm=1, layer=2)
    assert names.all_text_contents() == ["x", "s1", "s3", "p"]


def test_numbers_are_put_into_the_formulas_with_their_signs(read) -> None:
    layer = LayerStatistics(
        norm="batch", eps=0.25, gamma=(1.5,), beta=(-0.5,),
        running_mean=(-1.0,), running_variance=(3.75,),
    )  # fmt: skip
    seen = made_of(layer, s1=(-5.0,))
    tab = read(diagram([("it", seen)], ["A"], "en"))
    formulas = tab.locator(".formulas math").all_text_contents()
    assert formulas[0] == "s1=−5.000"
    assert formulas[1] == "s2=s1−μσ2+ε=−5.000+1.0003.750+0.2500=−2.00"
    assert formulas[2] == "s3=γ⋅s2+β=1.500⋅(−2.000)−0.5000=−3.50"
    assert formulas[3] == "h=max(s3,0)=max(−3.500,0)=0"


def made_of(layer: LayerStatistics, s1: tuple[float, ...]) -> Inspection:
    """Two equal layers, the second of which is the output, and one image."""
    image = inspection(widths=(1,), classes=["A"], history=False, mistakes=0).specimens[0].image
    specimen = Specimen(row=0, image=image, label=0, probabilities=(1.0,), s1=(s1, s1))
    return Inspection(layers=(layer, layer), confusion=((1,),), specimens=(specimen,), mistakes=())


def test_everything_can_be_reached_by_keyboard(read) -> None:
    tab = read(both())
    tab.keyboard.press("Tab")  # the image
    tab.keyboard.press("ArrowRight")
    assert tab.locator(".image input").nth(1).is_checked()
    tab.keyboard.press("Tab")  # the network and the layer
    tab.keyboard.press("ArrowRight")
    assert tab.locator(".layer input").nth(1).is_checked()
    tab.keyboard.press("Tab")  # the units
    pad = tab.get_by_role("slider", name="The units of layer 2")
    assert pad.evaluate("element => element === document.activeElement")
    tab.keyboard.press("Home")
    for key, number in (("ArrowRight", 2), ("ArrowLeft", 1), ("ArrowLeft", 1), ("End", 30)):
        tab.keyboard.press(key)
        assert pad.get_attribute("aria-valuenow") == str(number)
    tab.keyboard.press("Home")
    tab.keyboard.press("ArrowDown")
    below = int(pad.get_attribute("aria-valuenow"))
    assert below > 2
    tab.locator(".spoken", has_text=f"Unit {below} of 30, layer 2: s1 = ").wait_for(
        state="attached"
    )
    tab.keyboard.press("Tab")
    assert tab.get_by_role("spinbutton").evaluate("input => input === document.activeElement")


def test_a_unit_is_pointed_at_in_any_of_its_pictures(read) -> None:
    tab = read(both(), viewport={"width": 1100, "height": 1400})
    unit = tab.get_by_role("spinbutton")
    for stage in ("s1", "h"):
        cells = tab.locator(f".cells[data-stage={stage}]")
        box = cells.bounding_box()
        cells.hover(position={"x": 2, "y": 2})
        assert unit.input_value() == "1"
        cells.hover(position={"x": box["width"] - 2, "y": 2})
        assert int(unit.input_value()) > 4
    highest = tab.locator(".histogram[data-stage=s3]")
    highest.hover(position={"x": 20, "y": 1})
    seen = inspection("batch", widths=WIDTHS, history=False)
    assert int(unit.input_value()) == 1 + np.argmax(stages(seen.layers[0], seen.specimens[0], 0).s3)


def test_a_unit_is_marked_in_every_stage(read) -> None:
    """The pictures change where another unit is chosen, all of them, and back again."""
    tab = read(both())
    canvases = ".cells, .flow, .histogram"
    pixels = f"[...document.querySelectorAll({json.dumps(canvases)})].map(c => c.toDataURL())"
    drawn = f"() => new Promise(r => requestAnimationFrame(() => r({pixels})))"
    type_unit(tab, 3)
    third = tab.evaluate(drawn)
    type_unit(tab, 8)
    eighth = tab.evaluate(drawn)
    assert len(third) == 11
    assert all(one != other for one, other in zip(third, eighth, strict=True))
    type_unit(tab, 3)
    assert tab.evaluate(drawn) == third


def test_the_image_stays_where_another_network_saw_it_too(read) -> None:
    tab = read(both())
    choose(tab, arm=0, image=4)
    choose(tab, arm=1, layer=1)
    assert tab.locator(".image input").nth(4).is_checked()
    assert "It is E" in tab.locator(".answer").text_content()


def test_a_mistake_is_called_one(read) -> None:
    seen = inspection("batch", widths=WIDTHS, history=False)
    tab = read(diagram([("it", seen)], LETTERS, "en"))
    choose(tab, image=len(LETTERS))
    wrong = seen.specimens[len(LETTERS)]
    answer = int(np.argmax(wrong.probabilities))
    assert answer != wrong.label
    assert (
        f"It is {LETTERS[wrong.label]}, the network says {LETTERS[answer]}"
        in tab.locator(".answer").text_content()
    )


def test_names_are_shown_and_not_run(read) -> None:
    hostile = [
        "</script><script>window.run = 1</script>",
        "<img src=x onerror='window.run = 1'>",
        "<!--<script>",
        *LETTERS[3:],
    ]
    seen = inspection("batch", widths=WIDTHS, history=False)
    tab = read(diagram([(hostile[1], seen), ("</script>{{ 1 }}", seen)], hostile, "en"))
    assert hostile[0] in tab.locator(".answer").text_content()
    assert hostile[1] in tab.locator(".layer").text_content()
    choose(tab, layer=2)
    assert hostile[2] in tab.locator(".bars").text_content()
    assert tab.evaluate("window.run") is None


def test_what_is_not_finite_is_counted_and_not_drawn(read) -> None:
    layer = LayerStatistics(norm="none", eps=0.0, gamma=(), beta=(0.0,) * 4)
    seen = made_of(layer, s1=(float("nan"), float("inf"), 1.0, 3.0))
    tab = read(diagram([("it", seen)], ["A"], "en"))
    stage = tab.locator(".stage", has=tab.locator("[data-stage=s1]"))
    assert "2 not finite" in stage.text_content()
    assert tab.locator("[data-of=s1-mean]").text_content() == "2.00"
    for unit, text in ((1, "NaN"), (2, "∞"), (3, "1.000")):
        type_unit(tab, unit)
        assert shown(tab, "s1") == text


@pytest.mark.parametrize("width", [375, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(read, width, scheme) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    tab = read(both(), viewport={"width": width, "height": 800}, color_scheme=scheme)
    for layer in (0, 2):
        choose(tab, arm=layer // 2, layer=layer)
        found = axe.run(tab).response["violations"]
        assert [v["id"] for v in found if v["impact"] in {"serious", "critical"}] == []


def test_nothing_scrolls_sideways_at_any_width(read) -> None:
    names = ["a class with a very long name", "Donaudampfschifffahrtsgesellschaft", *LETTERS[2:]]
    arms = [
        (f"{name}, 0.01", inspection(norm, widths=WIDTHS, history=False)) for name, norm in BOTH
    ]
    tab = read(diagram(arms, names, "en"))
    for width in (320, 375, 600, 900, 1200, 1800):
        tab.set_viewport_size({"width": width, "height": 800})
        for layer in (1, 2):
            choose(tab, layer=layer)
            assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_axe_would_find_a_picture_without_words(read) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    tab = read(both())
    tab.evaluate("document.querySelector('.input img').removeAttribute('alt')")
    found = axe.run(tab).response["violations"]
    assert "image-alt" in [violation["id"] for violation in found]


def test_without_scripts_a_sentence_stands_there(read) -> None:
    tab = read(both(), java_script_enabled=False)
    assert "scripts are turned off" in tab.locator("noscript").text_content()


def test_it_speaks_chinese(read) -> None:
    seen = inspection("batch", widths=WIDTHS, history=False)
    tab = read(diagram([("it", seen)], LETTERS, "zh"), language="zh")
    assert tab.locator(".answer").text_content().startswith("测试图片 0。它是 A")
    assert "标准化" in tab.locator(".path").text_content()
    assert not re.findall(r"\{\w+\}", tab.locator("main").inner_text())


def test_both_languages_have_the_same_words_and_blanks() -> None:
    english, chinese = _diagram._WORDS["en"], _diagram._WORDS["zh"]
    assert english.keys() == chinese.keys()
    for key, text in english.items():
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", chinese[key]))


def data_of(fragment: str) -> dict:
    text = re.search(r'<script type="application/json">(.*?)</script>', fragment, re.DOTALL)
    return json.loads(text[1])


def test_the_article_s_network_fits_into_the_page_with_all_its_images() -> None:
    arms = [(name, inspection(norm, history=False)) for name, norm in BOTH]
    fragment = diagram(arms, LETTERS, "en")
    assert len(fragment) < 1_100_000
    assert [len(arm["specimens"]) for arm in data_of(fragment)["arms"]] == [16, 16]
    assert "To keep the page small" not in fragment.split("<script")[0]


def test_what_does_not_fit_is_left_out_and_said(monkeypatch) -> None:
    arms = [(name, inspection(norm, widths=WIDTHS, history=False)) for name, norm in BOTH]
    monkeypatch.setattr(_diagram, "BUDGET", len(diagram(arms, LETTERS, "en")) // 4)
    data = data_of(fragment := diagram(arms, LETTERS, "en"))
    kept = {len(arm["specimens"]) for arm in data["arms"]}
    assert len(kept) == 1
    assert 1 <= kept.pop() < 16
    assert "of 16 images" in fragment
    assert len(json.dumps(data["arms"], separators=(",", ":"))) <= _diagram.BUDGET
    monkeypatch.setattr(_diagram, "BUDGET", 1)
    assert "too large" in diagram(arms, LETTERS, "en")


def test_a_network_that_nobody_could_look_into_is_a_sentence() -> None:
    seen = inspection("batch", widths=WIDTHS, history=False)
    unknown = seen.model_copy(update={"layers": ()})
    assert "no image to follow" in diagram([("it", unknown)], LETTERS, "en")
    assert [
        arm["name"]
        for arm in data_of(diagram([("it", unknown), ("other", seen)], LETTERS, "en"))["arms"]
    ] == ["other"]


def test_nothing_is_fetched_or_handled_in_attributes() -> None:
    style, script = (
        _diagram._file("_diagram.css"),
        "".join(map(_diagram._file, _diagram.SCRIPTS)),
    )
    assert "url(" not in style
    assert "@import" not in style
    assert "</script" not in script
    assert not re.search(r"fetch\(|XMLHttp|innerHTML|\beval\(|import\(", script)
    assert not re.search(r"\son\w+=", _diagram._file("_diagram.html"))
