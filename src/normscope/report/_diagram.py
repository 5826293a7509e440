"""The article's diagram come alive: one image on its way through one layer, in the browser.

The page's reader picks a network, an image, a layer and a unit; ``x → s1 → s2 → s3 → h`` (spec S1)
is drawn from the sums that an inspection keeps. The drawing is plain JavaScript in the files of
`SCRIPTS`; here it gets its data and its words.
"""

import json
import math
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from normscope.records import Inspection, LayerStatistics, Specimen

BUDGET = 1_000_000
"""Characters of JSON, a third of a page's. Of large networks or many arms fewer images are kept."""

SCRIPTS = ("_diagram_numbers.js", "_diagram_drawing.js", "_diagram.js")
"""In the order in which they become the body of one function."""

_STATISTICS_DIGITS = 6  # the sums have four

_WORDS: dict[str, dict[str, str]] = {
    "en": {
        "image": "Image",
        "layer": "Layer",
        "network_layer": "Network and layer",
        "layer_hint": "the distribution of s₃ over its units, all on one scale",
        "output": "output",
        "unit": "Unit",
        "of": "of {n}",
        "right": "Test image {row}. It is {label}, and the network says so: {sure}",
        "wrong": "Test image {row}. It is {label}, the network says {answer}: {sure}",
        "x": "the image",
        "before": "through layer 1",
        "before_many": "through layers 1 to {n}",
        "h_before": "h of layer {n}",
        "s1": "sums",
        "s2": "standardised",
        "s3": "scaled, shifted",
        "s3_plain": "with the bias",
        "h": "rectified",
        "p": "probabilities",
        "percent": "{value} %",
        "mean": "mean",
        "deviation": "deviation",
        "zeros": "{n} × 0",
        "others": "{n} others",
        "not_finite": "{n} not finite",
        "distribution": "Distribution of {stage} over {n} units: from {low} to {high}, "
        "mean {mean}, deviation {deviation}; {zeros} are exactly 0.",
        "map": "Every unit's way from {one} to {other}.",
        "spread": "{network} Layer {n}: s3 has mean {mean} and deviation {deviation}.",
        "cells": "Each cell is a unit. Point at one, or use the arrow keys.",
        "cells_label": "The units of layer {n}",
        "batch": "Every unit is compared with its own mean μ and variance σ², as they were tracked "
        "while it trained: over the training set its s₂ has about mean 0 and deviation 1, however "
        "wide its sums lie. γ and β then give it the range that was learned.",
        "none": "Nothing is normalized here: the sums go on as they are, with the bias b. "
        "How wide they lie is left to the weights of this layer and of all before it.",
        "layer_norm": "Every sum is compared with the mean m and the variance v of all sums that "
        "this image has in the layer: s₂ has mean 0 and deviation 1 in every image.",
        "axis": "One axis for all stages, and for all networks; bins of {step}. "
        "The band is −1 to 1; dot and line are the mean and one deviation to each side. "
        "Blue is above 0, orange below.",
        "kept": "To keep the page small, it has the first {kept} of {all} images.",
        "nothing": "There is no image to follow through this network: its layers are not known.",
        "too_large": "This network is too large to be drawn on a page.",
        "no_script": "This drawing is made by a script, and scripts are turned off.",
        "sentence": "Unit {unit} of {n}, layer {layer}",
    },
    "zh": {
        "image": "图片",
        "layer": "层",
        "network_layer": "网络与层",
        "layer_hint": "s₃ 在各单元上的分布，同一刻度",
        "output": "输出",
        "unit": "单元",
        "of": "/ {n}",
        "right": "测试图片 {row}。它是 {label}，网络答对了：{sure}",
        "wrong": "测试图片 {row}。它是 {label}，网络却说是 {answer}：{sure}",
        "x": "图片",
        "before": "经过第 1 层",
        "before_many": "经过第 1 至 {n} 层",
        "h_before": "第 {n} 层的 h",
        "s1": "加权和",
        "s2": "标准化",
        "s3": "缩放与平移",
        "s3_plain": "加上偏置",
        "h": "整流后",
        "p": "概率",
        "percent": "{value}%",
        "mean": "均值",
        "deviation": "标准差",
        "zeros": "{n} 个 0",
        "others": "其余 {n} 类",
        "not_finite": "{n} 个非有限值",
        "distribution": "{stage} 在 {n} 个单元上的分布：从 {low} 到 {high}，均值 {mean}，"
        "标准差 {deviation}；恰好为 0 的有 {zeros} 个。",
        "map": "每个单元从 {one} 到 {other} 的变化。",
        "spread": "{network} 第 {n} 层：s3 的均值 {mean}，标准差 {deviation}。",
        "cells": "每格是一个单元。指向它，或使用方向键。",
        "cells_label": "第 {n} 层的单元",
        "batch": "每个单元都与它自己的均值 μ 和方差 σ²（训练时跟踪的统计量）相比："
        "无论加权和散布多宽，它的 s₂ 在训练集上的均值约为 0，标准差约为 1。"
        "然后 γ 和 β 给它学到的范围。",
        "none": "这里没有归一化：加权和加上偏置 b 就直接向前。"
        "它们散布多宽，全凭本层和之前各层的权重。",
        "layer_norm": "每个加权和都与这张图片在本层所有加权和的均值 m 和方差 v 相比："
        "在每张图片中 s₂ 的均值为 0，标准差为 1。",
        "axis": "所有阶段和所有网络共用一个坐标轴；每个区间宽 {step}。"
        "浅色带是 −1 到 1；圆点和线段是均值及其两侧各一个标准差。"
        "蓝色大于 0，橙色小于 0。",
        "kept": "为了让页面小一些，这里只有 {all} 张图片中的前 {kept} 张。",
        "nothing": "没有可以跟随的图片：这个网络的层是未知的。",
        "too_large": "这个网络太大，无法画在一页上。",
        "no_script": "这幅图由脚本绘制，而脚本被关闭了。",
        "sentence": "第 {layer} 层，第 {unit} 个单元，共 {n} 个",
    },
}


def diagram(
    inspections: Sequence[tuple[str, Inspection]], classes: Sequence[str], language: str
) -> Markup:
    """The diagram as a self-contained piece of a page: style, data, script; no network.

    s2, s3 and h are computed in the browser from the specimens' s1 and the layers' running
    statistics, as the network computes them in eval mode. Inspections without a specimen are left
    out; if none is left, or not one image fits into the page, a sentence says so.

    Args:
        inspections: names of networks and what was seen inside them; the first is shown first.
        classes: names of the classes, in the order of their indices. Any text.
        language: ``"en"`` or ``"zh"``.

    Example:
        >>> str(diagram([], ["A", "B"], "en"))
        '<p>There is no image to follow through this network: its layers are not known.</p>'
    """
    words = _WORDS[language]
    known = [(name, seen) for name, seen in inspections if seen.knows_every_layer]
    if not known:
        return Markup("<p>{}</p>").format(words["nothing"])
    sizes = [len(seen.specimens) for _, seen in known]
    kept = _images_within_budget([seen for _, seen in known])
    if not kept:
        return Markup("<p>{}</p>").format(words["too_large"])
    text = _compact(
        {
            "words": words,
            "classes": list(classes),
            "arms": [_arm(name, seen, kept) for name, seen in known],
        }
    )
    fewer = words["kept"].format(kept=kept, all=max(sizes)) if kept < max(sizes) else ""
    template = Environment(autoescape=True).from_string(_file("_diagram.html"))
    return Markup(  # noqa: S704 (the template escapes)
        template.render(
            words=words,
            fewer=fewer,
            style=Markup(_file("_diagram.css")),  # noqa: S704
            script=Markup("\n".join(map(_file, SCRIPTS))),  # noqa: S704
            # "<" begins an end tag or a comment wherever it stands, also inside of JSON.
            data=Markup(text.replace("<", "\\u003c")),  # noqa: S704
        )
    )


def _images_within_budget(inspections: Sequence[Inspection]) -> int:
    """How many specimens of each inspection fit into the page.

    They are dropped from the end, where the mistakes stand that are the least sure.
    """
    left = BUDGET - sum(
        len(_compact(_layer(layer))) for seen in inspections for layer in seen.layers
    )
    most = max(len(seen.specimens) for seen in inspections)
    for number in range(most):
        left -= sum(
            len(_compact(_specimen(specimen)))
            for seen in inspections
            for specimen in seen.specimens[number : number + 1]
        )
        if left < 0:
            return number
    return most


def _arm(name: str, seen: Inspection, images: int) -> dict[str, Any]:
    return {
        "name": name,
        "layers": [_layer(layer) for layer in seen.layers],
        "specimens": [_specimen(specimen) for specimen in seen.specimens[:images]],
    }


def _layer(layer: LayerStatistics) -> dict[str, Any]:
    return {
        "norm": layer.norm,
        "eps": layer.eps,
        "gamma": _rounded(layer.gamma),
        "beta": _rounded(layer.beta),
        "mean": _rounded(layer.running_mean),
        "variance": _rounded(layer.running_variance),
    }


def _specimen(specimen: Specimen) -> dict[str, Any]:
    return {
        "row": specimen.row,
        "image": specimen.image,
        "label": specimen.label,
        "p": _numbers(specimen.probabilities),
        "s1": [_numbers(layer) for layer in specimen.s1],
        "s2": [_numbers(layer) for layer in specimen.s2],
    }


def _rounded(values: Iterable[float]) -> list[float | str]:
    return _numbers(float(f"{value:.{_STATISTICS_DIGITS}g}") for value in values)


def _numbers(values: Iterable[float]) -> list[float | str]:
    """For JSON, which has no NaN and no infinity; JavaScript's `Number` reads both back."""
    return [
        value
        if math.isfinite(value)
        else str(value).replace("nan", "NaN").replace("inf", "Infinity")
        for value in values
    ]


def _compact(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _file(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")
