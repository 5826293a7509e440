"""A chart as a file of its own."""

from xml.etree import ElementTree as ET

from normscope.report._standalone import standalone

CHART = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 370 300" class="chart">'
    '<path stroke="var(--arm-2)" fill="var(--line)"/></svg>'
)


def test_no_style_sheet_is_needed() -> None:
    assert "var(" in CHART
    assert "var(" not in standalone(CHART, title="%", names=["batch", "none"])


def test_the_legend_stands_above_and_names_every_arm() -> None:
    root = ET.fromstring(standalone(CHART, title="%", names=["batch", "none"]))
    _, top, _, height = map(float, root.get("viewBox").split())
    [text] = root.findall("{*}text")
    assert top < float(text.get("y")) < 0
    assert top + height > 300
    assert [span.text for span in text] == ["%", "● batch", "■ none"]
    assert text[2].get("fill") == root.find("{*}path").get("stroke"), "as its line is drawn"


def test_what_does_not_fit_into_a_line_begins_another() -> None:
    names = [f"learning rate {rate}" for rate in (0.002, 0.02, 0.2)]
    root = ET.fromstring(standalone(CHART, title="angle, radians", names=names))
    lines = [[span.text for span in text] for text in root.findall("{*}text")]
    assert len(lines) == 2
    assert [name[2:] for line in lines for name in line][1:] == names
    heights = [float(text.get("y")) for text in root.findall("{*}text")]
    assert heights[0] < heights[1] < 0


def test_without_names_nothing_is_added() -> None:
    root = ET.fromstring(standalone(CHART))
    assert not root.findall("{*}text")
    assert root.get("viewBox") == "0 0 370 306"
