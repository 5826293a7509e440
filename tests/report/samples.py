"""Made-up runs, inspections and studies, of the sizes that real ones have. No torch."""

import base64
import io
from collections.abc import Sequence
from functools import cache
from typing import Literal

import numpy as np
import scipy.stats
from PIL import Image, ImageDraw, ImageFont

from normscope.records import (
    Analysis,
    Arm,
    Band,
    Cell,
    Comparison,
    CurvePoint,
    DataRecord,
    Design,
    Environment,
    EpochRecord,
    Estimate,
    History,
    Inspected,
    Inspection,
    LayerHistory,
    LayerStatistics,
    McNemar,
    Mistake,
    Recipe,
    Run,
    Score,
    Specimen,
    Study,
    StudyRun,
    TestScores,
)

Norm = Literal["batch", "layer", "none"]

LETTERS = tuple("ABCDEFGHIJ")
WIDTHS = (1000, 500, 250, 250, 250, 10)
RATES = (0.001, 0.003, 0.01, 0.03)
TEST_ROWS = 1000
STEPS_PER_EPOCH = 82

ENVIRONMENT = Environment(
    normscope="0.1.0",
    python="3.11.2",
    torch="2.13.0",
    numpy="2.3.1",
    platform="Linux-6.1-x86_64",
    processor="A processor at 2.6 GHz",
    device="cpu",
    threads=1,
)


def data(classes: Sequence[str] = LETTERS, name: str = "letters") -> DataRecord:
    return DataRecord(
        name=name,
        source=name,
        fingerprint="0f" * 32,
        classes=tuple(classes),
        image_size=(28, 28),
        train_rows=9800,
        valid_rows=1000,
        test_rows=TEST_ROWS,
        notes=("10 % of the training rows were held out for validation.",),
        framing={},
    )


@cache
def picture(text: str, tilt: int = 0) -> str:
    """A light letter on black, 28 x 28, as a PNG in base64."""
    image = Image.new("L", (28, 28), 0)
    font = ImageFont.load_default(22)
    ImageDraw.Draw(image).text((14, 14), text[:1], fill=255, font=font, anchor="mm")
    file = io.BytesIO()
    image.rotate(tilt, Image.Resampling.BILINEAR).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def four_digits(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(f"{value:.4g}") for value in values)


def inspection(
    norm: Norm = "batch",
    seed: int = 0,
    *,
    widths: Sequence[int] = WIDTHS,
    classes: Sequence[str] = LETTERS,
    history: bool = True,
    mistakes: int = 24,
) -> Inspection:
    """The inside of a network whose specimens' probabilities follow from their sums."""
    random = np.random.default_rng(seed)
    layers = tuple(layer_statistics(norm, width, random) for width in widths)
    wrong = [
        (int(row), int(label), int((label + random.integers(1, len(classes))) % len(classes)))
        for row, label in zip(
            random.choice(TEST_ROWS, mistakes, replace=False),
            random.integers(0, len(classes), mistakes),
            strict=True,
        )
    ]
    of_each_class = [(label * 7, label, label) for label in range(len(classes))]
    specimens = tuple(
        specimen(norm, row, label, answer, layers, classes, random)
        for row, label, answer in of_each_class + wrong[:6]
    )
    confidence = np.sort(random.uniform(0.35, 0.999, mistakes))[::-1]
    return Inspection(
        history=histories(norm, widths, random) if history else None,
        layers=layers,
        confusion=confusion(len(classes), random),
        specimens=specimens,
        mistakes=tuple(
            Mistake(
                row=row,
                image=picture(classes[label], 20),
                label=label,
                answer=answer,
                probability=float(sure),
            )
            for (row, label, answer), sure in zip(wrong, confidence, strict=True)
        ),
    )


def layer_statistics(norm: Norm, width: int, random: np.random.Generator) -> LayerStatistics:
    gamma = four_digits(random.normal(1.1, 0.25, width))
    beta = four_digits(random.normal(-0.3, 0.3, width))
    if norm == "none":
        return LayerStatistics(norm="none", eps=0.0, gamma=(), beta=beta)
    if norm == "layer":
        return LayerStatistics(norm="layer", eps=1e-10, gamma=gamma, beta=beta)
    mean = random.normal(0, 1.5, width)
    variance = random.lognormal(0.5, 0.6, width)
    return LayerStatistics(
        norm="batch",
        eps=1e-10,
        gamma=gamma,
        beta=beta,
        running_mean=four_digits(mean + np.sqrt(variance) * random.normal(0, 0.04, width)),
        running_variance=four_digits(variance * np.exp(random.normal(-0.01, 0.05, width))),
        population_mean=four_digits(mean),
        population_variance=four_digits(variance),
    )


def specimen(
    norm: Norm,
    row: int,
    label: int,
    answer: int,
    layers: Sequence[LayerStatistics],
    classes: Sequence[str],
    random: np.random.Generator,
) -> Specimen:
    """One image on its way; its last sums are such that the softmax says `answer`."""
    s1, s2 = [], []
    for number, layer in enumerate(layers):
        standard = random.normal(0, 1, len(layer.beta))
        if number == len(layers) - 1:
            gamma = np.array(layer.gamma or [1.0] * len(layer.beta))
            logits = random.normal(-1, 0.8, len(classes))
            logits[label] += 2.5
            logits[answer] += 4
            standard = (logits - np.array(layer.beta)) / gamma
        if layer.norm == "batch":
            deviation = np.sqrt(np.array(layer.running_variance) + layer.eps)
            s1.append(four_digits(np.array(layer.running_mean) + deviation * standard))
        elif layer.norm == "layer":
            s1.append(four_digits(3 * standard + 0.5))
            s2.append(four_digits(standard))
        else:
            s1.append(four_digits(standard))
    last = layers[-1]
    gamma = np.array(last.gamma or [1.0] * len(last.beta))
    logits = gamma * standard + np.array(last.beta)
    shares = np.exp(logits - logits.max())
    return Specimen(
        row=row,
        image=picture(classes[label], 0 if answer == label else 20),
        label=label,
        probabilities=four_digits(shares / shares.sum()),
        s1=tuple(s1),
        s2=tuple(s2),
    )


def histories(norm: Norm, widths: Sequence[int], random: np.random.Generator) -> History:
    """Sums that drift and widen; what goes into the rectifier does so without a norm alone."""
    steps = (0, *(int(step) for step in np.unique(np.geomspace(1, 1640, 24).round())))
    time = np.linspace(0, 1, len(steps))
    layers = []
    for number, width in enumerate(widths):
        drift = (0.6 + 0.5 * number) * time
        widths_s1 = 1 + (1.2 + 0.4 * number) * time

        def bands(middle: np.ndarray, spread: np.ndarray, wobble: float) -> tuple[Band, ...]:
            middle = middle + wobble * random.normal(0, 0.3, len(middle))
            return tuple(
                Band(low=float(m - s), middle=float(m), high=float(m + 1.1 * s))
                for m, s in zip(middle, spread, strict=True)
            )

        steady, one = -0.25 * np.sqrt(time), np.full(len(time), 1.05)
        after = (steady, one) if norm != "none" else (-drift, widths_s1)
        layers.append(
            LayerHistory(
                unit=int(width // 3),
                s1=bands(-drift, widths_s1, 0.05),
                s3=bands(*after, 0.05),
                unit_s1=bands(-1.6 * drift, widths_s1 * 0.8, 0.4),
                unit_s3=bands(after[0] * 1.4, after[1] * 0.8, 0.2),
            )
        )
    return History(rows=1000, steps=steps, layers=tuple(layers))


def confusion(classes: int, random: np.random.Generator) -> tuple[tuple[int, ...], ...]:
    table = random.poisson(1.2, (classes, classes))
    np.fill_diagonal(table, 0)
    np.fill_diagonal(table, TEST_ROWS // classes - table.sum(1))
    return tuple(tuple(int(n) for n in row) for row in table)


def epochs(count: int, end: float, tau: float, rate: float, seed: int) -> tuple[EpochRecord, ...]:
    random = np.random.default_rng(seed)
    records = []
    for epoch in range(1, count + 1):
        valid = end - (end - 10) * np.exp(-epoch * STEPS_PER_EPOCH / tau) + random.normal(0, 0.25)
        train = min(99.9, valid + 4 * epoch / count)
        records.append(
            EpochRecord(
                epoch=epoch,
                train_loss=float((100 - train) / 28),
                train_accuracy=float(train),
                valid_loss=float((100 - valid) / 24),
                valid_accuracy=float(valid),
                learning_rate=rate * min(1.0, (count - epoch + 1) / (0.8 * count)),
                seconds=0.9,
            )
        )
    return tuple(records)


def scores(accuracy: float) -> TestScores:
    return TestScores(
        running=Score(accuracy=accuracy, loss=(100 - accuracy) / 26),
        population=Score(accuracy=accuracy + 0.1, loss=(100 - accuracy) / 26.5),
        batch=Score(accuracy=accuracy + 0.4, loss=(100 - accuracy) / 29),
    )


def run(norm: Norm = "batch", **changed: object) -> Run:
    """A complete run of the default recipe's network over 20 epochs."""
    fields: dict[str, object] = {
        "status": "complete",
        "recipe": Recipe(norm=norm, epochs=20, device="cpu"),
        "data": data(),
        "environment": ENVIRONMENT,
        "epochs": epochs(20, 92.0, 220.0, 0.02, 0),
        "test": scores(91.4),
    }
    return Run(**(fields | changed))  # type: ignore[arg-type]


ENDS = {
    "batch": (90.2, 91.6, 92.0, 91.5),
    "none": (89.6, 90.9, 89.1, 62.0),
    "layer": (90.0, 91.2, 91.1, 89.0),
}
TAUS = {"batch": 230.0, "none": 420.0, "layer": 300.0}


def study(
    norms: Sequence[Norm] = ("batch", "none"),
    rates: Sequence[float] = RATES,
    seeds: int = 5,
    *,
    names: Sequence[str] | None = None,
    reference: int = -1,
    classes: Sequence[str] = LETTERS,
    inspections: bool = True,
    widths: Sequence[int] = WIDTHS,
    status: Literal["running", "complete"] = "complete",
) -> Study:
    """A study in which batch norm helps; ``norm=none`` diverges now and then at the last rate."""
    names = names or [f"norm={norm}" for norm in norms]
    arms = tuple(
        Arm(name=name, settings={"norm": norm}) for name, norm in zip(names, norms, strict=True)
    )
    design = Design(
        recipe=Recipe(epochs=20, device="cpu"),
        arms=arms,
        reference=names[reference],
        learning_rates=tuple(rates),
        seeds=tuple(range(seeds)),
        steps_between_validations=20,
    )
    runs = tuple(
        study_run(name, norm, number, rate, seed)
        for name, norm in zip(names, norms, strict=True)
        for number, rate in enumerate(rates, max(0, 4 - len(rates)))
        for seed in range(seeds)
    )
    found = analysis(design, runs) if status == "complete" else None
    best = found.best_learning_rates if found else {}
    return Study(
        status=status,
        design=design,
        data=data(classes),
        environment=ENVIRONMENT,
        runs=runs,
        analysis=found,
        inspections=tuple(
            Inspected(
                folder=f"{name}/lr-{best.get(name, rates[0])}/seed-0",
                inspection=inspection(norm, number, widths=widths, classes=classes),
            )
            for number, (name, norm) in enumerate(zip(names, norms, strict=True))
        )
        if inspections
        else (),
        notes=("Every arm starts from the same first weights where shapes allow.",),
    )


def study_run(name: str, norm: Norm, number: int, rate: float, seed: int) -> StudyRun:
    """One run; its seed decides how much it differs from its cell's others."""
    random = np.random.default_rng([number, seed, len(norm)])
    shared = np.random.default_rng(seed).normal(0, 0.3)  # what the arms have in common: the pair
    end = ENDS[norm][number % 4] + shared + random.normal(0, 0.15)
    tau = TAUS[norm] * (1.3, 1.0, 0.9, 1.2)[number % 4] * random.lognormal(0, 0.1)
    bad = norm == "none" and number % 4 == 3 and seed % 2 == 1
    total = 20 * STEPS_PER_EPOCH
    steps = np.arange(20, total + 1, 20)
    valid = end - (end - 10) * np.exp(-steps / tau) + random.normal(0, 0.1, len(steps))
    return StudyRun(
        arm=name,
        learning_rate=rate,
        seed=seed,
        folder=f"{name}/lr-{rate}/seed-{seed}",
        status="diverged" if bad else "complete",
        steps_per_epoch=STEPS_PER_EPOCH,
        epochs=epochs(3 if bad else 20, end, tau, rate, seed),
        curve=tuple(
            CurvePoint(step=int(s), valid_loss=float((100 - a) / 24), valid_accuracy=float(a))
            for s, a in zip(steps[: 12 if bad else None], valid, strict=False)
        ),
        test=None if bad else scores(float(end)),
        right=""
        if bad
        else base64.b64encode(np.packbits(random.random(TEST_ROWS) < end / 100).tobytes()).decode(),
    )


def accuracy(run: StudyRun) -> float:
    return run.test.running.accuracy if run.test else 10.0


def steps_to(run: StudyRun, target: float) -> int | None:
    reached = None
    for point in run.curve:
        if point.valid_accuracy < target:
            reached = None
        elif reached is None:
            reached = point.step
    return None if run.test is None else reached


def estimate(values: Sequence[float]) -> Estimate:
    """The mean and its 95 % t interval; one value has none."""
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return Estimate(value=mean, low=float("nan"), high=float("nan"), n=n)
    half = float(scipy.stats.t.ppf(0.975, n - 1) * scipy.stats.sem(values))
    return Estimate(value=mean, low=mean - half, high=mean + half, n=n)


def analysis(design: Design, runs: Sequence[StudyRun]) -> Analysis:
    """A stand-in for the real one: the same shape, plausible figures."""
    by_cell = {
        (arm.name, rate): [r for r in runs if (r.arm, r.learning_rate) == (arm.name, rate)]
        for arm in design.arms
        for rate in design.learning_rates
    }
    valid = {
        key: float(np.mean([r.epochs[-1].valid_accuracy if r.test else 10.0 for r in cell]))
        for key, cell in by_cell.items()
    }
    best = {
        arm.name: max(design.learning_rates, key=lambda rate, a=arm.name: valid[a, rate])
        for arm in design.arms
    }
    target = float(
        np.median(
            [
                max(p.valid_accuracy for p in r.curve)
                for r in by_cell[design.reference, best[design.reference]]
            ]
        )
        - 0.5
    )
    cells = tuple(
        Cell(
            arm=arm,
            learning_rate=rate,
            n=len(cell),
            diverged=sum(r.status == "diverged" for r in cell),
            test_accuracy=estimate([accuracy(r) for r in cell]),
            valid_accuracy=valid[arm, rate],
            steps=tuple(steps_to(r, target) for r in cell),
        )
        for (arm, rate), cell in by_cell.items()
    )
    return Analysis(
        target=target,
        target_is="reference",
        best_learning_rates=best,
        cells=cells,
        comparisons=tuple(comparisons(design, by_cell, best, target)),
        mcnemar=tuple(mcnemar(design, best)) if len(design.seeds) == 1 else (),
    )


def comparisons(design, by_cell, best, target):
    plain = design.reference
    for arm in (a.name for a in design.arms if a.name != plain):
        pairs = [("own-best", (arm, best[arm]), (plain, best[plain]))]
        pairs += [("equal-rate", (arm, rate), (plain, rate)) for rate in design.learning_rates]
        if best[arm] != best[plain]:
            pairs.append(("other-rate", (arm, best[arm]), (arm, best[plain])))
        for question, one, other in pairs:
            yield accuracy_comparison(question, one, other, by_cell)
            yield steps_comparison(question, one, other, by_cell, target)


def accuracy_comparison(question, one, other, by_cell) -> Comparison:
    differences = [
        accuracy(a) - accuracy(b) for a, b in zip(by_cell[one], by_cell[other], strict=True)
    ]
    return compared("test-accuracy", question, one, other, estimate(differences), 0.0, (0, 0))


def steps_comparison(question, one, other, by_cell, target) -> Comparison:
    total = 20 * STEPS_PER_EPOCH
    pairs = [
        (steps_to(a, target), steps_to(b, target))
        for a, b in zip(by_cell[one], by_cell[other], strict=True)
    ]
    logs = estimate([float(np.log((a or total) / (b or total))) for a, b in pairs])
    ratio = Estimate(
        value=float(np.exp(logs.value)),
        low=float(np.exp(logs.low)),
        high=float(np.exp(logs.high)),
        n=logs.n,
    )
    censored = (sum(a is None for a, _ in pairs), sum(b is None for _, b in pairs))
    return compared("steps-to-target", question, one, other, ratio, 1.0, censored)


def compared(measure, question, one, other, effect, nothing, censored) -> Comparison:
    if effect.n < 2:
        p, conclusion = 1.0, "undecided"
    elif effect.low > nothing or effect.high < nothing:
        p, conclusion = 0.004, "higher" if effect.value > nothing else "lower"
    else:
        p, conclusion = 0.4, "no-difference"
    return Comparison(
        question=question,
        measure=measure,
        arm=one[0],
        learning_rate=one[1],
        other=other[0],
        other_learning_rate=other[1],
        effect=effect,
        p=p,
        p_holm=p,
        conclusion=conclusion,
        censored=censored,
    )


def mcnemar(design: Design, best: dict[str, float]):
    for arm in (a.name for a in design.arms if a.name != design.reference):
        yield McNemar(
            arm=arm,
            other=design.reference,
            learning_rates=(best[arm], best[design.reference]),
            seed=design.seeds[0],
            only_arm=31,
            only_other=14,
            difference=Estimate(value=1.7, low=0.4, high=3.0, n=TEST_ROWS),
            p=0.016,
        )
