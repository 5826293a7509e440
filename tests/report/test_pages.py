"""What stands on a page, and that nothing on it can do harm."""

import base64
import hashlib
import importlib.util
import math
import re
from itertools import pairwise

import pytest

from normscope._errors import InputError
from normscope.records import Analysis, Estimate, Run, Study
from normscope.report import GENERATOR, report_run, report_study
from normscope.report._curves import _whole_epochs
from normscope.report._effects import comparisons_table
from normscope.report._sweep import _apart, _rows
from normscope.report._theme import DARK, LIGHT
from normscope.report._words import Words
from tests.report import samples
from tests.report.pages import SMALL, Read, run_page, small_study, study_page

HOSTILE = '<script>alert("x")</script>'


def section_names(page: str) -> list[str]:
    return [tag["id"] for tag in Read(page).all("section") if tag.get("id")]


def test_a_run_has_its_parts() -> None:
    page = run_page()
    assert section_names(page) == ["letter", "learning", "inside", "conditions"]
    text = Read(page).text
    for said in ("91.40 %", "91.50 %", "91.80 %", "Running statistics", "Not a fair test"):
        assert said in text
    for part in (
        "Learning curves", "Pre-activations through training", "layer 1, s1", "logits, s3",
        "Running against population statistics", "Who is taken for whom", "What it got wrong",
        "24 of", "Recipe", "learning_rate", "A processor at 2.6 GHz",
    ):  # fmt: skip
        assert part in text, part


def test_a_study_has_its_parts() -> None:
    page = study_page()
    expected = ["rates", "letter", "speed", "differences", "inside", "conditions"]
    assert section_names(page) == expected
    text = Read(page).text
    for part in (
        "norm=batch and norm=none, compared on letters", "Accuracy over the learning rate",
        "Steps to the target", "Seed by seed", "Each at its own best rate", "Every run",
        "95 %", "never", "Look inside",
    ):  # fmt: skip
        assert part in text, part
    assert len([tag for tag in Read(page).all("input") if tag.get("name") == "arm"]) == 2


def test_every_raw_value_of_a_study_is_on_its_page() -> None:
    study, text = small_study(), Read(study_page()).text
    for run in study.runs:
        if run.test:
            assert f"{run.test.running.accuracy:.2f} %" in text
    for cell in study.analysis.cells:
        assert all(f"{steps:,}" in text for steps in cell.steps if steps)


def test_the_page_says_what_it_is_so_that_it_may_be_overwritten() -> None:
    assert GENERATOR in run_page()[:1000]


@pytest.mark.parametrize("page", [run_page, study_page])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_headings_descend_one_by_one(page, language: str) -> None:
    levels = [int(tag[1]) for tag, _ in Read(page(language)).tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_the_language_is_declared() -> None:
    assert [Read(run_page(code)).all("html")[0]["lang"] for code in ("en", "zh")] == [
        "en",
        "zh-Hans",
    ]


@pytest.mark.parametrize("page", [run_page, study_page])
def test_nothing_comes_from_elsewhere(page) -> None:
    seen = Read(page())
    for tag, attributes in seen.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert not {"src", "href"} & set(attributes) or (
            (attributes.get("src") or attributes.get("href")).startswith(("data:", "#"))
        )
    assert "url(" not in page()
    assert "@import" not in page()


def test_only_our_own_scripts_may_run() -> None:
    page = run_page()
    policy = next(
        tag["content"] for tag in Read(page).all("meta") if tag.get("http-equiv") is not None
    )
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy
    scripts = re.findall(r"<script(?![^>]*json)[^>]*>(.*?)</script>", page, re.DOTALL)
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert digest in policy


def test_ids_are_unique() -> None:
    ids = [tag["id"] for _, tag in Read(study_page()).tags if "id" in tag]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("page", [run_page, study_page])
def test_pictures_take_all_their_colours_from_the_theme(page) -> None:
    pictures = re.findall(r'<svg[^>]*class="chart".*?</svg>', page(), re.DOTALL)
    assert len(pictures) > 5
    for picture in pictures:
        colours = set(re.findall(r'(?:fill|stroke)="([^"]*)"', picture))
        assert all(c.startswith("var(--") or c in {"none", "transparent"} for c in colours), colours
        label = re.search(r'aria-label="([^"]+)"', picture)
        assert label
        assert label[1]


@pytest.mark.parametrize("page", [run_page, study_page])
def test_no_not_a_number_is_drawn(page) -> None:
    for picture in re.findall(r"<svg.*?</svg>", page(), re.DOTALL):
        assert "NaN" not in picture
        assert "undefined" not in picture


def contrast(one: str, other: str) -> float:
    """WCAG 2.2's ratio of relative luminances."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_by_its_definition() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("scheme", [LIGHT, DARK])
def test_text_and_lines_stand_out(scheme: dict[str, str]) -> None:
    for ground in ("paper", "surface"):
        for text in ("ink", "muted", "accent", "ok", "bad"):
            assert contrast(scheme[text], scheme[ground]) >= 4.5, text
        for number in range(1, 7):
            assert contrast(scheme[f"arm-{number}"], scheme[ground]) >= 3
    assert LIGHT.keys() == DARK.keys()


def test_a_full_sized_page_stays_under_three_megabytes() -> None:
    three_arms = samples.study(("batch", "layer", "none"), (0.003, 0.03), seeds=10)
    assert len(report_study(three_arms, "zh").encode()) < 3e6
    assert len(report_run(samples.run(), samples.inspection(mistakes=40)).encode()) < 1.5e6


def test_names_are_shown_and_not_run() -> None:
    classes = (HOSTILE, *samples.LETTERS[1:])
    run = samples.run(
        data=samples.data(classes, HOSTILE).model_copy(update={"notes": (HOSTILE,)}),
        notes=(HOSTILE,),
    )
    inspection = samples.inspection(widths=SMALL, classes=classes)
    study = small_study(names=[HOSTILE, '"><img src=x onerror=alert(1)>'], classes=classes)
    pages = {
        report_run(run, inspection): run_page(),
        report_run(run, None, why=HOSTILE): report_run(samples.run()),
        report_study(study): study_page(),
    }
    for page, harmless in pages.items():
        assert len(Read(page).all("script")) == len(Read(harmless).all("script"))
        assert not [tag for tag in Read(page).all("img") if "onerror" in tag]
        assert HOSTILE in Read(page).text


def test_without_an_inspection_the_page_says_why() -> None:
    page = report_run(samples.run(), None, "zh", why="The data are gone.")
    assert section_names(page) == ["learning", "inside", "conditions"]
    assert "The data are gone." in Read(page).english


@pytest.mark.parametrize(
    ("status", "says"),
    [("running", "has not ended"), ("interrupted", "was interrupted"), ("diverged", "diverged")],
)
def test_a_run_without_a_test(status: str, says: str) -> None:
    epochs = samples.epochs(3, 80.0, 200.0, 0.02, 0)
    bad = epochs[-1].model_copy(update={"train_loss": math.nan, "valid_loss": math.inf})
    text = Read(report_run(samples.run(status=status, test=None, epochs=(*epochs[:2], bad)))).text
    assert says in text
    assert "∞" in text
    assert "Running statistics" not in text


def test_a_run_before_its_first_epoch() -> None:
    page = report_run(samples.run(status="running", test=None, epochs=()))
    assert section_names(page) == ["inside", "conditions"]


def test_a_run_of_one_epoch_and_one_all_of_whose_figures_are_gone() -> None:
    (first,) = samples.epochs(1, 80.0, 200.0, 0.02, 0)
    nothing = dict.fromkeys(
        ("train_loss", "train_accuracy", "valid_loss", "valid_accuracy"), math.nan
    )
    for epoch in (first, first.model_copy(update=nothing)):
        assert "Every epoch" in Read(report_run(samples.run(epochs=(epoch,)))).text


def test_without_batch_norm_there_is_one_figure_and_no_running_statistics() -> None:
    score = samples.scores(90.0).running
    test = samples.scores(90.0).model_copy(
        update={"running": score, "population": score, "batch": score}
    )
    page = report_run(samples.run("none", test=test), samples.inspection("none", widths=SMALL))
    text = Read(page).text
    assert "Population statistics" not in text
    assert "No layer of this network tracks running statistics" in text


def test_a_model_of_ones_own_shows_its_answers() -> None:
    inspection = samples.inspection(widths=SMALL).model_copy(
        update={"layers": (), "specimens": (), "history": None}
    )
    recipe = samples.run().recipe.with_settings({"model": "mine:build", "norm": "batch"})
    text = Read(report_run(samples.run(recipe=recipe), inspection)).text
    assert "mine:build" in text
    assert "model of somebody's own" in text
    assert "Who is taken for whom" in text


def test_with_very_many_classes_the_commonest_confusions_have_to_do() -> None:
    classes = [f"c{number}" for number in range(60)]
    page = report_run(
        samples.run(data=samples.data(classes)),
        samples.inspection(widths=(20, 60), classes=classes, history=False),
    )
    assert 'class="confusion"' not in page
    assert "Most often" in page
    assert 'class="confusion"' in run_page()


@pytest.mark.parametrize(
    "study",
    [
        pytest.param({"seeds": 1}, id="one seed"),
        pytest.param({"rates": (0.01,)}, id="one rate"),
        pytest.param({"norms": ("batch",)}, id="one arm"),
        pytest.param({"norms": ("batch", "none") * 4, "names": list("abcdefgh")}, id="eight arms"),
        pytest.param({"status": "running"}, id="running"),
    ],
)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_studies_of_every_shape_have_a_page(study: dict, language: str) -> None:
    made = small_study(inspections=False, **study)
    page = report_study(made, language)
    assert ("rates" in section_names(page)) == (made.status == "complete")
    assert "inside" not in section_names(page)


def changed_analysis(study: Study, **changed) -> Study:
    analysis = Analysis(**(dict(study.analysis) | changed))
    return study.model_copy(update={"analysis": analysis})


def test_a_study_without_a_target_has_no_steps_to_it() -> None:
    study = small_study(inspections=False)
    assert "Steps to the target" in report_study(study)
    assert "Steps to the target" not in report_study(changed_analysis(study, target=math.nan))


@pytest.mark.parametrize(
    ("censored", "shown"),
    [
        ((0, 0), ["× 0.50", "[0.40, 0.60]"]),
        ((1, 0), ["≥ 0.50", "≥ 0.40"]),
        ((0, 3), ["≤ 0.50", "≤ 0.60"]),
        ((1, 2), ["× 0.50", "[0.40, 0.60]"]),
        ((3, 3), ["–", "–"]),
    ],
)
def test_a_ratio_of_steps_is_called_a_bound_where_it_is_one(
    censored: tuple[int, int], shown: list[str]
) -> None:
    study = small_study(inspections=False)
    (one, *_) = [c for c in study.analysis.comparisons if c.measure == "steps-to-target"]
    effect = Estimate(value=0.5, low=0.4, high=0.6, n=3)
    found = one.model_copy(update={"effect": effect, "censored": censored})
    table = comparisons_table(
        changed_analysis(study, comparisons=(found,)), "steps-to-target", Words("en")
    )
    assert table.rows[1][2:4] == shown


def test_where_the_epochs_are_varied_each_length_is_said() -> None:
    study = small_study(inspections=False)
    first, *others = study.design.arms
    arms = (first.model_copy(update={"settings": {"epochs": 40}}), *others)
    longer = study.model_copy(update={"design": study.design.model_copy(update={"arms": arms})})
    common, steps = study.design.recipe.epochs, study.runs[0].steps_per_epoch
    text = Read(report_study(longer)).text
    assert f"epochs of each: {common} and 40" in text
    assert f"never, in {40 * steps:,} steps" in text
    assert f"never, in {common * steps:,} steps" in Read(report_study(study)).text


def test_where_all_runs_of_a_rate_fail_their_curves_are_drawn_below_the_target() -> None:
    study = small_study(inspections=False)
    failed = [
        run.model_copy(
            update={
                "status": "diverged",
                "test": None,
                "curve": tuple(
                    point.model_copy(update={"valid_accuracy": 10.0, "valid_loss": math.nan})
                    for point in run.curve
                ),
            }
        )
        if run.learning_rate == 0.03
        else run
        for run in study.runs
    ]
    page = report_study(study.model_copy(update={"runs": tuple(failed)}))
    charts = re.findall(r"<svg[^>]*aria-label=.Line chart with bands.*?</svg>", page, re.DOTALL)
    assert len(charts) == 4
    for chart in charts:
        assert max(float(y) for y in re.findall(r"translate\([-\d.]+,([-\d.]+)\)", chart)) < 400


@pytest.mark.parametrize("rates", [(0.01,), (0.003, 0.03)])
def test_with_one_rate_nothing_is_compared_twice(rates: tuple[float, ...]) -> None:
    page = report_study(small_study(inspections=False, rates=rates))
    assert ("Both at the same rate" in Read(page).text) == (len(rates) > 1)


def test_units_are_counted_from_one_as_in_the_diagram() -> None:
    inspection = samples.inspection(widths=SMALL)
    (label, *_) = re.findall(
        r"of all units and of unit (\d+)", report_run(samples.run(), inspection)
    )
    assert int(label) == inspection.history.layers[0].unit + 1


@pytest.mark.parametrize("last", [1, 2, 3, 7, 30, 100, 365, 20_000])
def test_an_axis_of_epochs_has_whole_ones_on_it(last: int) -> None:
    ticks = _whole_epochs(last)
    assert ticks[0] == 1
    assert 1 <= len(ticks) <= 6
    assert ticks == sorted({int(tick) for tick in ticks})
    assert last / 2 < ticks[-1] <= last


def test_where_the_rates_are_the_arms_each_is_drawn_once() -> None:
    study = small_study(
        norms=("batch", "batch"), names=["learning_rate=0.003", "learning_rate=0.03"]
    )
    rates = dict(zip([arm.name for arm in study.design.arms], (0.003, 0.03), strict=True))
    arms = [
        arm.model_copy(update={"settings": {"learning_rate": rates[arm.name]}})
        for arm in study.design.arms
    ]
    own = [run for run in study.runs if run.learning_rate == rates[run.arm]]
    cells = [c for c in study.analysis.cells if c.learning_rate == rates[c.arm]]
    one_each = study.model_copy(
        update={
            "design": study.design.model_copy(update={"arms": tuple(arms)}),
            "runs": tuple(own),
            "inspections": (),
        }
    )
    page = report_study(
        changed_analysis(
            one_each, cells=cells, comparisons=(), mcnemar=(), best_learning_rates=rates
        )
    )
    assert "At each learning rate" not in page
    assert "differences" not in section_names(page)


def test_perfect_and_diverged_networks_fit_on_the_logarithmic_axis() -> None:
    study = small_study(norms=("none", "none"), names=["a", "b"], inspections=False, rates=(0.03,))
    perfect = [
        run.model_copy(update={"test": samples.scores(100.0)}) if run.test else run
        for run in study.runs
    ]
    assert {run.status for run in perfect} == {"complete", "diverged"}
    page = report_study(study.model_copy(update={"runs": tuple(perfect)}))
    assert "NaN" not in "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "vl_convert" else found(name)
    )
    with pytest.raises(InputError, match=r'vl_convert.*pip install "normscope\[report\]"'):
        report_run(samples.run())


def test_a_page_is_the_same_each_time() -> None:
    run = Run.model_validate_json(samples.run().model_dump_json())
    assert report_run(run, samples.inspection(widths=SMALL)) == run_page()


@pytest.mark.parametrize(("language", "sign"), [("en", "95 %"), ("zh", "95%")])
def test_a_language_writes_percent_in_one_way(language: str, sign: str) -> None:
    assert (" %" in Read(study_page(language)).text) == (language == "en")
    assert sign in Read(study_page(language)).text


@pytest.mark.parametrize(("arms", "width"), [(2, 370), (2, 760), (6, 370)])
def test_single_runs_stand_beside_the_line_of_their_arm(arms: int, width: int) -> None:
    study = small_study(
        norms=("batch", "none") * (arms // 2), names=list("abcdef"[:arms]), inspections=False
    )
    means, points, _ = _rows(study, _apart(study, width))
    lines = sorted(row["rate"] for row in means)
    assert min(b / a for a, b in pairwise(lines)) > 1.01
    for point in points:
        distances = [abs(math.log(point["rate"] / line)) for line in lines]
        assert min(distances) > 0.4 * math.log(_apart(study, width))
