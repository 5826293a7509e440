/*
 * The article's diagram come alive: x → s1 → s2 → s3 → h of one image in one layer of one network.
 * What is drawn stands as JSON beside this script; colours come from the style's variables.
 *
 * @typedef {object} Layer   what a layer normalizes by; a list has one entry per unit, or none
 * @property {"batch" | "layer" | "none"} norm
 * @property {number} eps
 * @property {number[]} gamma
 * @property {number[]} beta
 * @property {number[]} mean      running, as the finished network uses it
 * @property {number[]} variance
 *
 * @typedef {object} Specimen  an image on its way through a network
 * @property {number} row
 * @property {string} image    a PNG in base64
 * @property {number} label
 * @property {number[]} p      probabilities per class
 * @property {number[][]} s1   per layer and unit
 * @property {number[][]} s2   only of layer norms
 *
 * @typedef {{name: string, layers: Layer[], specimens: Specimen[]}} Arm
 * @typedef {{s1: number[], s2?: number[], s3: number[], h?: number[]}} Stages
 * @typedef {{low: number, high: number, step: number, bins: number}} Axis
 */
(() => {
  "use strict";

  // ---- numbers ---------------------------------------------------------------------------------

  /** So many significant digits, without an exponent where people would write none. */
  function format(/** @type {number} */ value, digits = 3) {
    if (Number.isNaN(value)) return "NaN";
    if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
    if (value === 0) return "0";
    const exponent = Math.floor(Math.log10(Math.abs(value)));
    const plain = exponent >= -4 && exponent < 6;
    const text = plain
      ? value.toFixed(Math.max(0, digits - 1 - exponent))
      : value.toExponential(digits - 1).replace(/\.?0*e/, "e");
    return text.replaceAll("-", "−").replace("e+", "e");
  }

  const percent = (/** @type {number} */ share) => `${(100 * share).toFixed(1)} %`;

  /** 1, 2 or 5 times a power of ten, not below `least`. */
  function roundStep(/** @type {number} */ least) {
    const power = 10 ** Math.floor(Math.log10(least));
    return power * [1, 2, 5, 10].find((factor) => factor * power >= least * 0.999);
  }

  /** @returns {{n: number, low: number, high: number, mean: number, deviation: number}} */
  function moments(/** @type {number[]} */ values) {
    const finite = values.filter(Number.isFinite);
    const n = finite.length;
    const mean = finite.reduce((sum, value) => sum + value, 0) / n;
    const squares = finite.reduce((sum, value) => sum + (value - mean) ** 2, 0);
    const deviation = Math.sqrt(squares / n);
    return { n, low: Math.min(...finite), high: Math.max(...finite), mean, deviation };
  }

  /**
   * What a layer makes of its sums, in eval mode (spec S1): s2 = (s1 − μ) / √(σ² + ε),
   * s3 = γ s2 + β, h = max(s3, 0). Without a norm s3 = s1 + b. The last layer has no h.
   * @returns {Stages}
   */
  function stagesOf(/** @type {Arm} */ arm, /** @type {Specimen} */ specimen, /** @type {number} */ index) {
    const layer = arm.layers[index];
    const s1 = specimen.s1[index];
    const s2 = {
      batch: () => s1.map((s, u) => (s - layer.mean[u]) / Math.sqrt(layer.variance[u] + layer.eps)),
      layer: () => specimen.s2[index],
      none: () => undefined,
    }[layer.norm]();
    const s3 = (s2 ?? s1).map((s, u) => (layer.gamma[u] ?? 1) * s + (layer.beta[u] ?? 0));
    const h = index < arm.layers.length - 1 ? s3.map((s) => Math.max(s, 0)) : undefined;
    return { s1, ...(s2 && { s2 }), s3, ...(h && { h }) };
  }

  /** One axis for several distributions, with room at its ends. @returns {Axis} */
  function axisOf(/** @type {number[][]} */ distributions) {
    let [least, most] = [-1, 1];
    for (const value of distributions.flat()) {
      if (Number.isFinite(value)) [least, most] = [Math.min(least, value), Math.max(most, value)];
    }
    const step = roundStep((most - least) / 90);
    const first = Math.floor(least / step) - 1;
    const bins = Math.ceil(most / step) + 1 - first;
    return { low: first * step, high: (first + bins) * step, step, bins };
  }

  /** Values per bin; those that are exactly 0 are left out where `zeros` says so. */
  function counted(/** @type {number[]} */ values, /** @type {Axis} */ axis, zeros = true) {
    const counts = new Array(axis.bins).fill(0);
    for (const value of values) {
      if (!Number.isFinite(value) || (value === 0 && !zeros)) continue;
      counts[Math.min(axis.bins - 1, Math.max(0, Math.floor((value - axis.low) / axis.step)))] += 1;
    }
    return counts;
  }

  // ---- formulas, in MathML ---------------------------------------------------------------------

  const math = (/** @type {string} */ tag, ...children) => {
    const element = document.createElementNS("http://www.w3.org/1998/Math/MathML", tag);
    element.append(...children);
    return element;
  };
  const mi = (/** @type {string} */ name) => math("mi", name);
  const mo = (/** @type {string} */ sign) => math("mo", sign);
  const mrow = (...children) => math("mrow", ...children);
  const stageSign = (/** @type {string} */ stage) =>
    stage.length > 1 ? math("msub", mi(stage[0]), math("mn", stage[1])) : mi(stage);

  /** A term is a number, to be put in, or makes the sign that stands for it. */
  const shown = (term) => (typeof term === "number" ? [math("mn", format(term, 4))] : [term()]);
  const factor = (term) => (term < 0 ? [mo("("), ...shown(term), mo(")")] : shown(term));
  const plus = (term) => (term < 0 ? [mo("−"), ...shown(-term)] : [mo("+"), ...shown(term)]);
  const minus = (term) => (term < 0 ? [mo("+"), ...shown(-term)] : [mo("−"), ...shown(term)]);

  /** How each stage follows from the one before it, from terms as above. */
  const FORMULAS = {
    s2: (t) =>
      math(
        "mfrac",
        mrow(...shown(t.s1), ...minus(t.mean)),
        math("msqrt", mrow(...shown(t.variance), ...plus(t.eps))),
      ),
    s3: (t) =>
      mrow(
        ...(t.gamma === undefined ? [] : [...shown(t.gamma), mo("⋅")]),
        ...(t.gamma === undefined ? shown(t.before) : factor(t.before)),
        ...(t.beta === undefined ? [] : plus(t.beta)),
      ),
    h: (t) => mrow(mi("max"), mo("("), ...shown(t.s3), mo(","), math("mn", "0"), mo(")")),
    p: (t) => {
      const power = (term) => math("msup", mi("e"), mrow(...shown(term)));
      return math("mfrac", power(t.s3), mrow(mo("∑"), power(() => stageSign("s3"))));
    },
  };

  /** The signs of a layer's formulas. */
  function symbols(/** @type {Layer} */ layer) {
    const squared = () => math("msup", mi("σ"), math("mn", "2"));
    return {
      s1: () => stageSign("s1"),
      s3: () => stageSign("s3"),
      before: () => stageSign(layer.norm === "none" ? "s1" : "s2"),
      mean: () => mi(layer.norm === "layer" ? "m" : "μ"),
      variance: layer.norm === "layer" ? () => mi("v") : squared,
      eps: () => mi("ε"),
      gamma: layer.gamma.length ? () => mi("γ") : undefined,
      beta: layer.beta.length ? () => mi(layer.norm === "none" ? "b" : "β") : undefined,
    };
  }

  /** One unit's numbers in their place. */
  function numbers(/** @type {Layer} */ layer, /** @type {Stages} */ stages, /** @type {number} */ unit) {
    const all = layer.norm === "layer" ? moments(stages.s1) : undefined;
    return {
      s1: stages.s1[unit],
      s3: stages.s3[unit],
      before: (stages.s2 ?? stages.s1)[unit],
      mean: all ? all.mean : layer.mean[unit],
      variance: all ? all.deviation ** 2 : layer.variance[unit],
      eps: layer.eps,
      gamma: layer.gamma[unit],
      beta: layer.beta[unit],
    };
  }

  // ---- elements --------------------------------------------------------------------------------

  const make = (/** @type {string} */ tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };

  const fill = (/** @type {string} */ text, values) =>
    text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);

  const stageName = (/** @type {string} */ stage) =>
    stage.length > 1 ? make("i", {}, stage[0], make("sub", {}, stage[1])) : make("i", {}, stage);

  /** A radio button, and what its label holds. */
  function radio(name, chosen, choose, ...content) {
    const input = make("input", { type: "radio", name: `diagram-${name}` });
    input.checked = chosen;
    input.addEventListener("change", choose);
    return make("label", {}, input, ...content);
  }

  // ---- drawing ---------------------------------------------------------------------------------

  /**
   * A canvas of the size it has on the page, and what is needed to draw on it. `upright` drawings
   * have their values on the vertical axis, others on the horizontal one.
   */
  class Sheet {
    constructor(/** @type {HTMLCanvasElement} */ canvas, /** @type {Axis} */ axis, upright = true, margin = 0) {
      const density = window.devicePixelRatio || 1;
      const style = getComputedStyle(canvas);
      Object.assign(this, { axis, upright, width: canvas.clientWidth, height: canvas.clientHeight });
      canvas.width = Math.round(this.width * density);
      canvas.height = Math.round(this.height * density);
      this.pen = canvas.getContext("2d");
      this.pen.scale(density, density);
      this.pen.font = `${style.fontSize} ${style.fontFamily}`;
      const colours = new Map();
      this.colour = (/** @type {string} */ name) => {
        if (!colours.has(name)) colours.set(name, style.getPropertyValue(`--d-${name}`).trim());
        return colours.get(name);
      };
      /** How long the values' axis is, and how far the other one reaches. */
      this.length = upright ? this.height : this.width;
      this.depth = (upright ? this.width : this.height) - margin;
    }

    /** Where a value lies on its axis. */
    along(/** @type {number} */ value) {
      const share = (value - this.axis.low) / (this.axis.high - this.axis.low);
      return this.length * (this.upright ? 1 - share : share);
    }

    /** A point `across` the values' axis, to the right or downwards. @returns {[number, number]} */
    point(/** @type {number} */ value, /** @type {number} */ across) {
      return this.upright ? [across, this.along(value)] : [this.along(value), across];
    }

    /** Keep what is drawn, so that it can be marked again and again. */
    keep() {
      const { canvas } = this.pen;
      this.kept = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
      this.kept.getContext("2d").drawImage(canvas, 0, 0);
    }

    /** Take all marks away. */
    restore() {
      this.pen.save();
      this.pen.resetTransform();
      this.pen.clearRect(0, 0, this.kept.width, this.kept.height);
      this.pen.drawImage(this.kept, 0, 0);
      this.pen.restore();
    }

    line(colour, width, ...points) {
      this.pen.strokeStyle = this.colour(colour);
      this.pen.lineWidth = width;
      this.pen.beginPath();
      points.forEach((point, index) => (index ? this.pen.lineTo(...point) : this.pen.moveTo(...point)));
      this.pen.stroke();
    }

    box(from, to, start, end) {
      const [x0, y0] = this.point(from, start);
      const [x1, y1] = this.point(to, end);
      this.pen.fillRect(Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0));
    }

    /** Values that a number may stand at. */
    ticks() {
      const { low, high } = this.axis;
      const step = roundStep((high - low) / Math.max(2, this.length / 42));
      const first = Math.ceil(low / step);
      return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => (first + i) * step);
    }

    /** From −1 to 1: where standardised values lie. */
    band() {
      this.pen.fillStyle = this.colour("muted");
      this.pen.globalAlpha = 0.14;
      this.box(-1, 1, 0, this.depth);
      this.pen.globalAlpha = 1;
    }

    /** What lies below every drawing: the band, and a line at every tick. */
    ground() {
      this.band();
      for (const tick of this.ticks()) {
        this.line(tick ? "line" : "muted", 1, this.point(tick, 0), this.point(tick, this.depth));
      }
    }
  }

  const sign = (/** @type {number} */ value) => (value < 0 ? "below" : "above");

  /** How strongly a value is coloured: fully from 60 % of the axis on. */
  function strength(/** @type {number} */ value, /** @type {Axis} */ axis) {
    return Math.min(1, Math.abs(value) / (0.6 * Math.max(-axis.low, axis.high)));
  }

  function drawHistogram(/** @type {Sheet} */ sheet, values, most, words) {
    const { pen, axis, upright, depth } = sheet;
    sheet.ground();
    const rectified = !values.some((value) => value < 0);
    const room = depth - 12;
    // Bars lie on the left edge, or stand on the lower one.
    const bar = (/** @type {number} */ length) => (upright ? [0, length] : [depth, depth - length]);
    counted(values, axis, !rectified).forEach((count, bin) => {
      const from = axis.low + bin * axis.step;
      const middle = from + axis.step / 2;
      pen.fillStyle = sheet.colour(sign(middle));
      pen.globalAlpha = 0.45 + 0.55 * strength(middle, axis);
      sheet.box(from, from + axis.step, ...bar((room * count) / most));
    });
    pen.globalAlpha = 1;
    const zeros = rectified ? values.filter((value) => value === 0).length : 0;
    if (zeros) drawZeros(sheet, fill(words.zeros, { n: zeros }), bar(Math.min(room, (room * zeros) / most)));
    drawSpread(sheet, moments(values), bar(room + 6)[1]);
  }

  function markHistogram(/** @type {Sheet} */ sheet, /** @type {number} */ value) {
    if (!Number.isFinite(value)) return;
    sheet.line("ink", 1.5, sheet.point(value, 0), sheet.point(value, sheet.depth));
  }

  /** Rectified units are one value and no bin: a line, and how many they are. */
  function drawZeros(/** @type {Sheet} */ sheet, text, [start, end]) {
    const { pen, upright, depth } = sheet;
    sheet.line("below", 4, sheet.point(0, start), sheet.point(0, end));
    pen.fillStyle = sheet.colour("ink");
    pen.textAlign = upright ? "right" : "end";
    pen.textBaseline = upright ? "top" : "middle";
    const [x, y] = upright ? [depth - 14, sheet.along(0) + 6] : [sheet.along(0) - 6, depth / 2];
    pen.fillText(text, x, y);
  }

  /** The mean, and one deviation to either side. */
  function drawSpread(/** @type {Sheet} */ sheet, { n, mean, deviation }, across) {
    if (!n) return;
    sheet.line("ink", 2, sheet.point(mean - deviation, across), sheet.point(mean + deviation, across));
    sheet.pen.fillStyle = sheet.colour("ink");
    sheet.pen.beginPath();
    sheet.pen.arc(...sheet.point(mean, across), 3.5, 0, 7);
    sheet.pen.fill();
  }

  /** One unit's way from one stage to the next. */
  function drawWay(/** @type {Sheet} */ sheet, /** @type {number} */ from, /** @type {number} */ to) {
    if (!Number.isFinite(from) || !Number.isFinite(to)) return;
    const { pen, depth } = sheet;
    const bends = [...sheet.point(from, depth / 2), ...sheet.point(to, depth / 2)];
    pen.beginPath();
    pen.moveTo(...sheet.point(from, 0));
    pen.bezierCurveTo(...bends, ...sheet.point(to, depth));
    pen.stroke();
  }

  function drawFlow(/** @type {Sheet} */ sheet, from, to) {
    const { pen } = sheet;
    sheet.ground();
    pen.lineWidth = 1;
    pen.globalAlpha = Math.max(0.07, Math.min(0.6, 40 / from.length));
    from.forEach((value, unit) => {
      pen.strokeStyle = sheet.colour(sign(value));
      drawWay(sheet, value, to[unit]);
    });
    pen.globalAlpha = 1;
  }

  function markFlow(/** @type {Sheet} */ sheet, /** @type {number} */ from, /** @type {number} */ to) {
    sheet.pen.lineWidth = 2.5;
    sheet.pen.strokeStyle = sheet.colour("ink");
    drawWay(sheet, from, to);
  }

  /** The values' axis with its numbers, left of an upright row or below a lying one. */
  function drawTicks(/** @type {Sheet} */ sheet, start) {
    const { pen, upright, depth, length } = sheet;
    pen.fillStyle = sheet.colour("muted");
    pen.textAlign = upright ? "right" : "center";
    pen.textBaseline = upright ? "middle" : "top";
    for (const tick of sheet.ticks()) {
      const place = sheet.along(tick);
      if (place < 7 || place > length - 7) continue;
      const text = format(tick, Math.abs(tick) >= 10 ? 2 : 1);
      if (upright) {
        sheet.line(tick ? "line" : "muted", 1, [start, place], [depth, place]);
        pen.fillText(text, start - 4, place);
      } else pen.fillText(text, place, depth + 3);
    }
  }

  /** How cells lie: columns, and the side of one. */
  function cellGrid(/** @type {number} */ n, /** @type {number} */ width) {
    const columns = Math.max(Math.ceil(Math.sqrt(1.5 * n)), Math.ceil(width / 34));
    return { columns, rows: Math.ceil(n / columns), side: width / columns };
  }

  /** Where a unit's cell lies: left, top, and its side. */
  function cellOf(/** @type {Sheet} */ sheet, /** @type {number} */ n, /** @type {number} */ unit) {
    const { columns, side } = cellGrid(n, sheet.width);
    const gap = side > 6 ? 1 : 0.5;
    return [(unit % columns) * side, Math.floor(unit / columns) * side, side - gap];
  }

  function drawCells(/** @type {Sheet} */ sheet, values, names) {
    const { pen, axis } = sheet;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    values.forEach((value, unit) => {
      const [x, y, side] = cellOf(sheet, values.length, unit);
      pen.globalAlpha = 0.1;
      pen.fillStyle = sheet.colour("muted");
      pen.fillRect(x, y, side, side);
      pen.globalAlpha = Number.isFinite(value) ? strength(value, axis) ** 0.8 : 0;
      pen.fillStyle = sheet.colour(sign(value));
      pen.fillRect(x, y, side, side);
      pen.globalAlpha = 1;
      if (!Number.isFinite(value)) sheet.line("bad", 1, [x, y], [x + side, y + side]);
      pen.fillStyle = sheet.colour("ink");
      if (names) pen.fillText([...names[unit]].slice(0, 2).join(""), x + side / 2, y + side / 2);
    });
  }

  function markCell(/** @type {Sheet} */ sheet, /** @type {number} */ n, /** @type {number} */ unit) {
    const [x, y, side] = cellOf(sheet, n, unit);
    const grown = Math.max(0, 8 - side) / 2;
    for (const [colour, width] of [["paper", 5], ["ink", 2]]) {
      sheet.pen.strokeStyle = sheet.colour(colour);
      sheet.pen.lineWidth = width;
      sheet.pen.strokeRect(x - grown, y - grown, side + 2 * grown, side + 2 * grown);
    }
  }

  /** A layer's s3 as a standing double histogram, for the choice of the layer. */
  function drawSmall(/** @type {Sheet} */ sheet, values) {
    const { pen, axis, depth } = sheet;
    sheet.band();
    const counts = counted(values.filter((v) => v > axis.low && v < axis.high), axis);
    const most = Math.max(...counts);
    counts.forEach((count, bin) => {
      const from = axis.low + bin * axis.step;
      const half = (0.46 * depth * count) / most;
      pen.fillStyle = sheet.colour(sign(from + axis.step / 2));
      if (count) sheet.box(from, from + axis.step, depth / 2 - half, depth / 2 + half);
    });
  }

  // ---- the diagram -----------------------------------------------------------------------------

  class Diagram {
    constructor(/** @type {HTMLElement} */ root) {
      this.root = root;
      const data = JSON.parse(this.find("script[type='application/json']").textContent);
      this.words = data.words;
      this.classes = data.classes;
      /** @type {Arm[]} */
      this.arms = data.arms;
      for (const arm of this.arms) restoreNumbers(arm);
      Object.assign(this, { arm: 0, image: 0, layer: 0, unit: 0 });
      this.find(".pickers").append(this.imagePicker(), this.layerPicker());
      this.wire();
      this.show(0, 0);
    }

    find(/** @type {string} */ selector) {
      return this.root.querySelector(selector);
    }

    get network() {
      return this.arms[this.arm];
    }

    get specimen() {
      return this.network.specimens[this.image];
    }

    get isLast() {
      return this.layer === this.network.layers.length - 1;
    }

    /** The image that is shown, as `arm` saw it, or one of the same class. */
    seenBy(/** @type {Arm} */ arm) {
      const { row, label } = this.specimen;
      const like = (/** @type {(one: Specimen) => boolean} */ test) => arm.specimens.find(test);
      return like((one) => one.row === row) ?? like((one) => one.label === label) ?? arm.specimens[0];
    }

    /** One axis for all stages of a layer in all networks, so that they can be compared. */
    axisOfLayer(/** @type {number} */ index) {
      const arms = this.arms.filter((arm) => index < arm.layers.length);
      return axisOf(arms.flatMap((arm) => Object.values(stagesOf(arm, this.seenBy(arm), index))));
    }

    name(/** @type {number} */ index) {
      return this.classes[index] ?? String(index);
    }

    /** What does not change with what is shown. */
    wire() {
      new ResizeObserver(() => this.draw()).observe(this.root);
      for (const query of ["(prefers-color-scheme: dark)", "print"]) {
        matchMedia(query).addEventListener("change", () => this.draw());
      }
      const input = this.find(".unit input");
      input.addEventListener("input", () => {
        if (input.checkValidity() && input.value) this.showUnit(input.valueAsNumber - 1);
      });
    }

    // What the reader picks: an image, a network and a layer, in that a unit.

    imagePicker() {
      const choices = make("div", { class: "choices" });
      return make("fieldset", { class: "image" }, make("legend", {}, this.words.image), choices);
    }

    /** Every network saw images of its own, at least among its mistakes. */
    fillImagePicker() {
      const labels = this.network.specimens.map((specimen, index) => {
        const [label, said] = [this.name(specimen.label), this.name(answer(specimen))];
        const right = answer(specimen) === specimen.label;
        const verdict = make("span", { class: right ? "right" : "wrong", "aria-hidden": "true" });
        verdict.append(right ? `${label} ✓` : `${label} → ${said}`);
        const choose = () => {
          this.image = index;
          this.show(this.arm, this.layer);
        };
        return radio("image", index === this.image, choose, picture(specimen, this.sentence(specimen)), verdict);
      });
      this.find(".image .choices").replaceChildren(...labels);
    }

    /** A row per network, and in it every layer's s3, small. */
    layerPicker() {
      const several = this.arms.length > 1;
      const hint = make("span", { class: "small" }, this.words.layer_hint);
      const legend = make("legend", {}, several ? this.words.network_layer : this.words.layer, " ", hint);
      const group = make("fieldset", { class: "layer" }, legend);
      this.arms.forEach((arm, number) => {
        const labels = arm.layers.map((_, index) => {
          const name = index === arm.layers.length - 1 ? this.words.output : index + 1;
          const units = make("span", { class: "small" }, ` ${arm.specimens[0].s1[index].length}`);
          const canvas = make("canvas", { role: "img", "data-arm": number, "data-layer": index });
          const chosen = !number && !index;
          return radio("layer", chosen, () => this.show(number, index), canvas, make("b", {}, name), units);
        });
        if (several) group.append(make("div", { class: "arm" }, arm.name));
        group.append(make("div", { class: "choices" }, ...labels));
      });
      return group;
    }

    /** Show a layer of a network, with the same image where that network saw it too. */
    show(/** @type {number} */ arm, /** @type {number} */ layer) {
      const moved = arm !== this.arm || layer !== this.layer || !this.stages;
      if (arm !== this.arm || !this.stages) {
        this.image = this.arms[arm].specimens.indexOf(this.seenBy(this.arms[arm]));
        this.arm = arm;
        this.fillImagePicker();
      }
      this.layer = layer;
      this.stages = stagesOf(this.network, this.specimen, layer);
      this.axis = this.axisOfLayer(layer);
      if (moved || this.isLast) this.unit = loudest(this.stages.h ?? this.specimen.p);
      this.describe();
      this.build();
      this.draw();
      this.showUnit(this.unit);
    }

    sentence(/** @type {Specimen} */ specimen) {
      const said = answer(specimen);
      const text = said === specimen.label ? this.words.right : this.words.wrong;
      const [label, answered] = [this.name(specimen.label), this.name(said)];
      return fill(text, { row: specimen.row, label, answer: answered, sure: percent(specimen.p[said]) });
    }

    /** The words around the drawing. */
    describe() {
      const { norm } = this.network.layers[this.layer];
      this.find(".answer").textContent = this.sentence(this.specimen);
      this.find(".meaning").textContent = this.words[norm === "layer" ? "layer_norm" : norm];
      this.find(".axis").textContent = fill(this.words.axis, { step: format(this.axis.step, 1) });
    }

    // The drawing: a list of stages and of the ways between them, and the units below.

    build() {
      const path = this.find(".path");
      const units = this.find(".units");
      const stages = Object.entries(this.stages);
      this.root.style.setProperty("--stages", stages.length + (this.isLast ? 1 : 0));
      path.replaceChildren(this.inputBox());
      units.replaceChildren(make("p", { class: "small" }, this.words.cells), this.cellPad(stages));
      stages.forEach(([stage, values], index) => {
        path.append(this.way(stage, index && stages[index - 1][0]), this.stageBox(stage, values));
      });
      if (this.isLast) path.append(this.way("p"), this.probabilities());
    }

    inputBox() {
      const box = make("li", { class: "input" }, make("div", { class: "name" }, make("i", {}, "x"), ` ${this.words.x}`));
      const body = make("div", { class: "body" }, picture(this.specimen, this.sentence(this.specimen)));
      if (this.layer > 0) {
        const text = fill(this.layer > 1 ? this.words.before_many : this.words.before, { n: this.layer });
        const name = fill(this.words.h_before, { n: this.layer });
        body.append(
          make("span", { class: "small" }, `↓ ${text}`),
          make("canvas", { class: "before", role: "img", "aria-label": name }),
          make("span", { class: "small" }, name),
        );
      }
      box.append(body);
      return box;
    }

    /** An arrow with its formula, and all units' lines from one stage to the next. */
    way(/** @type {string} */ to, from) {
      const formula =
        to === "s1"
          ? mrow(mi(this.layer ? "h" : "x"), mo("\u2062"), mi("W"))
          : FORMULAS[to](symbols(this.network.layers[this.layer]));
      const arrow = make("div", { class: "arrow" }, math("math", formula));
      const way = make("li", { class: from ? "way flowing" : "way" }, arrow);
      if (from) {
        const label = fill(this.words.map, { one: from, other: to });
        way.append(make("canvas", { class: "flow", role: "img", "aria-label": label, "data-from": from, "data-to": to }));
      } else if (to === "s1") way.append(make("canvas", { class: "ticks", "aria-hidden": "true" }));
      return way;
    }

    stageBox(/** @type {string} */ stage, values) {
      const all = moments(values);
      const zeros = values.filter((value) => value === 0).length;
      const plain = stage === "s3" && !this.stages.s2 ? "s3_plain" : stage;
      const label = fill(this.words.distribution, {
        stage, zeros, n: all.n, low: format(all.low), high: format(all.high),
        mean: format(all.mean), deviation: format(all.deviation),
      });
      const fact = (/** @type {string} */ name) =>
        make("div", {}, make("dt", {}, this.words[name]), make("dd", { "data-of": `${stage}-${name}` }, format(all[name])));
      const facts = make("dl", {}, fact("mean"), fact("deviation"));
      if (all.n < values.length) {
        facts.append(make("div", { class: "wrong" }, fill(this.words.not_finite, { n: values.length - all.n })));
      }
      const canvas = make("canvas", { class: "histogram", role: "img", "aria-label": label, "data-stage": stage });
      canvas.addEventListener("pointermove", (event) => this.pointAtValue(event, canvas, values));
      canvas.addEventListener("pointerdown", (event) => this.pointAtValue(event, canvas, values));
      return make("li", { class: "stage" }, make("div", { class: "name" }, stageName(stage), ` ${this.words[plain]}`), canvas, facts);
    }

    /** The output: a bar per class, the ten most probable. */
    probabilities() {
      const p = this.specimen.p;
      const order = p.map((_, index) => index).sort((a, b) => p[b] - p[a]);
      const shownClasses = order.slice(0, 10).sort((a, b) => a - b);
      const list = make("ul", { class: "bars" });
      for (const index of shownClasses) {
        const bar = make("span", { class: "bar" });
        bar.style.setProperty("--share", p[index]);
        const row = make("li", { "data-unit": index }, make("b", {}, this.name(index)), bar, make("span", { class: "share" }, percent(p[index])));
        if (index === this.specimen.label) row.classList.add("label");
        row.addEventListener("pointermove", () => this.showUnit(index));
        row.addEventListener("pointerdown", () => this.showUnit(index));
        list.append(row);
      }
      if (order.length > 10) list.append(make("li", { class: "small" }, fill(this.words.others, { n: order.length - 10 })));
      return make("li", { class: "stage" }, make("div", { class: "name" }, stageName("p"), ` ${this.words.p}`), list);
    }

    /** The units of all stages: one control, which the arrow keys move in. */
    cellPad(stages) {
      const n = this.stages.s1.length;
      const pad = make("div", {
        class: "pad", role: "slider", tabindex: "0", "aria-valuemin": 1, "aria-valuemax": n,
        "aria-label": fill(this.words.cells_label, { n: this.layer + 1 }),
      });
      stages.forEach(([stage], index) => {
        const canvas = make("canvas", { class: "cells", "data-stage": stage });
        const box = make("div", { class: "grid" }, make("span", { class: "small" }, stageName(stage)), canvas);
        box.style.setProperty("--column", 2 * index + 1);
        canvas.addEventListener("pointermove", (event) => this.pointAtCell(event, canvas));
        canvas.addEventListener("pointerdown", (event) => this.pointAtCell(event, canvas));
        pad.append(box);
      });
      pad.addEventListener("keydown", (event) => this.moveByKey(event));
      return pad;
    }

    moveByKey(/** @type {KeyboardEvent} */ event) {
      const n = this.stages.s1.length;
      const { columns } = cellGrid(n, this.find("canvas.cells").clientWidth);
      const steps = {
        ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns,
        PageUp: -5 * columns, PageDown: 5 * columns, Home: -n, End: n,
      };
      if (!(event.key in steps) || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      this.showUnit(Math.min(n - 1, Math.max(0, this.unit + steps[event.key])));
    }

    pointAtCell(/** @type {PointerEvent} */ event, /** @type {HTMLCanvasElement} */ canvas) {
      const n = this.stages.s1.length;
      const { columns, side } = cellGrid(n, canvas.clientWidth);
      const column = Math.min(columns - 1, Math.max(0, Math.floor(event.offsetX / side)));
      const unit = Math.floor(event.offsetY / side) * columns + column;
      if (unit >= 0 && unit < n) this.showUnit(unit);
    }

    /** The unit whose value is nearest to where the pointer is. */
    pointAtValue(/** @type {PointerEvent} */ event, /** @type {HTMLCanvasElement} */ canvas, values) {
      const { low, high } = this.axis;
      const share = this.upright ? 1 - event.offsetY / canvas.clientHeight : event.offsetX / canvas.clientWidth;
      const value = low + share * (high - low);
      let nearest = this.unit;
      values.forEach((other, unit) => {
        if (Math.abs(other - value) < Math.abs(values[nearest] - value)) nearest = unit;
      });
      this.showUnit(nearest);
    }

    // One unit.

    showUnit(/** @type {number} */ unit) {
      this.unit = unit;
      const n = this.stages.s1.length;
      const input = this.find(".unit input");
      if (document.activeElement !== input) input.value = unit + 1;
      input.max = n;
      this.find(".of").textContent = fill(this.words.of, { n }) + (this.isLast ? ` (${this.name(unit)})` : "");
      this.find(".pad").setAttribute("aria-valuenow", unit + 1);
      for (const row of this.root.querySelectorAll(".bars li")) {
        row.classList.toggle("marked", Number(row.dataset.unit) === unit);
      }
      this.showFormulas();
      this.mark();
    }

    showFormulas() {
      const layer = this.network.layers[this.layer];
      const signs = symbols(layer);
      const terms = numbers(layer, this.stages, this.unit);
      const rows = Object.entries(this.stages).map(([stage, values]) => [stage, values[this.unit]]);
      if (this.isLast) rows.push(["p", this.specimen.p[this.unit]]);
      const formulas = rows.map(([stage, value]) => {
        const result = math("mn", format(value, stage === "s1" ? 4 : 3));
        result.setAttribute("data-of", stage);
        const steps = FORMULAS[stage] ? [FORMULAS[stage](signs), mo("="), FORMULAS[stage](terms), mo("=")] : [];
        return make("div", {}, math("math", mrow(stageSign(stage), mo("="), ...steps, result)));
      });
      this.find(".formulas").replaceChildren(...formulas);
      clearTimeout(this.speaking);
      this.speaking = setTimeout(() => this.speak(rows, terms), 150);
    }

    /** The same for those who listen, once the unit has been settled on. */
    speak(rows, terms) {
      const { norm } = this.network.layers[this.layer];
      const head = fill(this.words.sentence, { unit: this.unit + 1, n: this.stages.s1.length, layer: this.layer + 1 });
      const known = norm === "none" ? { b: terms.beta } : { μ: terms.mean, "σ²": terms.variance, γ: terms.gamma, β: terms.beta };
      const parts = [...rows, ...Object.entries(known)]
        .filter(([, value]) => value !== undefined)
        .map(([name, value]) => `${name} = ${format(value, name === "s1" || name in known ? 4 : 3)}`);
      this.find(".spoken").textContent = `${head}: ${parts.join(", ")}.`;
    }

    // Pixels; soon, and once for all changes of a moment. Another unit only moves the marks.

    draw() {
      this.stale = true;
      this.mark();
    }

    mark() {
      this.frame ??= requestAnimationFrame(() => {
        this.frame = undefined;
        if (!this.root.clientWidth) return; // not shown; drawn when it is
        if (this.stale) {
          this.drawLayers();
          this.marked = [...this.drawPath(), ...this.drawUnits()];
          this.stale = false;
        }
        for (const [sheet, mark] of this.marked) {
          sheet.restore();
          mark(this.unit);
        }
      });
    }

    get upright() {
      return getComputedStyle(this.find(".path")).getPropertyValue("--upright").trim() === "1";
    }

    /** Draw every canvas that `selector` finds; what comes back can be marked. */
    drawAll(/** @type {string} */ selector, sheetOf, draw, mark) {
      return Array.from(this.root.querySelectorAll(selector), (canvas) => {
        const sheet = sheetOf(canvas);
        draw(sheet, canvas.dataset);
        sheet.keep();
        return [sheet, (/** @type {number} */ unit) => mark(sheet, canvas.dataset, unit)];
      });
    }

    drawPath() {
      const { axis, upright, stages } = this;
      const peaks = Object.values(stages).map((values) => counted(values, axis, values.some((v) => v < 0)));
      const most = Math.max(...peaks.flat());
      const ticks = this.find(".ticks");
      if (upright) drawTicks(new Sheet(ticks, axis), ticks.clientWidth - 8);
      const histograms = this.drawAll(
        ".histogram",
        (canvas) => new Sheet(canvas, axis, upright, upright ? 0 : 16),
        (sheet, { stage }) => {
          drawHistogram(sheet, stages[stage], most, this.words);
          if (!upright) drawTicks(sheet, 0);
        },
        (sheet, { stage }, unit) => markHistogram(sheet, stages[stage][unit]),
      );
      const flows = this.drawAll(
        ".flow",
        (canvas) => new Sheet(canvas, axis, upright),
        (sheet, { from, to }) => drawFlow(sheet, stages[from], stages[to]),
        (sheet, { from, to }, unit) => markFlow(sheet, stages[from][unit], stages[to][unit]),
      );
      return [...histograms, ...flows];
    }

    drawUnits() {
      const { stages } = this;
      const n = stages.s1.length;
      const names = this.isLast ? stages.s1.map((_, unit) => this.name(unit)) : undefined;
      const before = this.layer && stagesOf(this.network, this.specimen, this.layer - 1).h;
      if (before) {
        const axis = this.axisOfLayer(this.layer - 1);
        drawCells(this.cellSheet(this.find(".before"), before.length, axis), before);
      }
      return this.drawAll(
        ".cells",
        (canvas) => this.cellSheet(canvas, n, this.axis),
        (sheet, { stage }) => drawCells(sheet, stages[stage], names),
        (sheet, _, unit) => markCell(sheet, n, unit),
      );
    }

    cellSheet(/** @type {HTMLCanvasElement} */ canvas, /** @type {number} */ n, /** @type {Axis} */ axis) {
      const { rows, side } = cellGrid(n, canvas.clientWidth);
      canvas.style.height = `${rows * side}px`;
      return new Sheet(canvas, axis);
    }

    drawLayers() {
      const all = this.arms.map((arm) =>
        arm.layers.map((_, layer) => stagesOf(arm, this.seenBy(arm), layer).s3),
      );
      const hidden = all.flatMap((layers) => (layers.length > 1 ? layers.slice(0, -1) : layers));
      const widths = hidden.map((s3) => moments(s3)).map((s3) => Math.abs(s3.mean) + 2.5 * s3.deviation);
      const reach = Math.max(1, ...widths.filter(Number.isFinite));
      const axis = { low: -reach, high: reach, step: reach / 20, bins: 40 };
      for (const canvas of this.root.querySelectorAll(".layer canvas")) {
        const [arm, layer] = [Number(canvas.dataset.arm), Number(canvas.dataset.layer)];
        const { mean, deviation } = moments(all[arm][layer]);
        const network = this.arms.length > 1 ? `${this.arms[arm].name}.` : "";
        const facts = { network, n: layer + 1, mean: format(mean), deviation: format(deviation) };
        canvas.setAttribute("aria-label", fill(this.words.spread, facts).trim());
        drawSmall(new Sheet(canvas, axis), all[arm][layer]);
      }
    }
  }

  /** Where the largest value stands; a NaN is not large. */
  function loudest(/** @type {number[]} */ values) {
    return Math.max(0, values.indexOf(Math.max(...values.filter((value) => !Number.isNaN(value)))));
  }

  const answer = (/** @type {Specimen} */ specimen) => loudest(specimen.p);

  const picture = (/** @type {Specimen} */ specimen, text) =>
    make("img", { src: `data:image/png;base64,${specimen.image}`, alt: text });

  /** JSON has no NaN and no infinity: they came as words. */
  function restoreNumbers(/** @type {Arm} */ arm) {
    for (const layer of arm.layers) {
      for (const name of ["gamma", "beta", "mean", "variance"]) layer[name] = layer[name].map(Number);
    }
    for (const specimen of arm.specimens) {
      specimen.p = specimen.p.map(Number);
      for (const name of ["s1", "s2"]) specimen[name] = specimen[name].map((list) => list.map(Number));
    }
  }

  for (const root of document.querySelectorAll(".diagram")) new Diagram(root);
})();
