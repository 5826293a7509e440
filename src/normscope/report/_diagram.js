/*
 * The article's diagram come alive: x → s1 → s2 → s3 → h of one image in one layer of one network.
 * What is drawn stands as JSON beside this script; colours come from the style's variables.
 * Put after _diagram_numbers.js and _diagram_drawing.js, in one function with them.
 */

const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};

const fill = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);

const title = (sign, name) => make("div", { class: "name" }, sign, ` ${name}`);

const stageName = (stage) =>
  stage.length > 1 ? make("i", {}, stage[0], make("sub", {}, stage[1])) : make("i", {}, stage);

const span = (name, ...children) => make("span", { class: name }, ...children);

/** A canvas that says in words what it shows. */
const drawing = (name, label, data = {}) => {
  const canvas = make("canvas", { class: name, role: "img", "aria-label": label });
  Object.assign(canvas.dataset, data);
  return canvas;
};

/** A radio button, and what its label holds. */
function radio(name, chosen, choose, ...content) {
  const input = make("input", { type: "radio", name: `diagram-${name}` });
  input.checked = chosen;
  input.addEventListener("change", choose);
  return make("label", {}, input, ...content);
}

class Diagram {
  constructor(root) {
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

  find(selector) {
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
    const like = (test) => arm.specimens.find(test);
    return like((one) => one.row === row) ?? like((one) => one.label === label) ?? arm.specimens[0];
  }

  /** One axis for all stages of a layer in all networks, so that they can be compared. */
  axisOfLayer(index) {
    const arms = this.arms.filter((arm) => index < arm.layers.length);
    return axisOf(arms.flatMap((arm) => Object.values(stagesOf(arm, this.seenBy(arm), index))));
  }

  percent(share) {
    return fill(this.words.percent, { value: (100 * share).toFixed(1) });
  }

  name(index) {
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
      const image = picture(specimen, this.sentence(specimen));
      return radio("image", index === this.image, choose, image, verdict);
    });
    this.find(".image .choices").replaceChildren(...labels);
  }

  /** A row per network, and in it every layer's s3, small. */
  layerPicker() {
    const several = this.arms.length > 1;
    const hint = span("small", this.words.layer_hint);
    const title = several ? this.words.network_layer : this.words.layer;
    const legend = make("legend", {}, title, " ", hint);
    const group = make("fieldset", { class: "layer" }, legend);
    this.arms.forEach((arm, number) => {
      const labels = arm.layers.map((_, index) => {
        const name = make("b", {}, index < arm.layers.length - 1 ? index + 1 : this.words.output);
        const units = span("small", ` ${arm.specimens[0].s1[index].length}`);
        const canvas = drawing("s3", "", { arm: number, layer: index });
        const choose = () => this.show(number, index);
        return radio("layer", number + index === 0, choose, canvas, name, units);
      });
      if (several) group.append(make("div", { class: "arm" }, arm.name));
      group.append(make("div", { class: "choices" }, ...labels));
    });
    return group;
  }

  /** Show a layer of a network, with the same image where that network saw it too. */
  show(arm, layer) {
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
    return fill(text, {
      row: specimen.row,
      label: this.name(specimen.label),
      answer: this.name(said),
      sure: this.percent(specimen.p[said]),
    });
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
    const box = make("li", { class: "input" }, title(make("i", {}, "x"), this.words.x));
    const image = picture(this.specimen, this.sentence(this.specimen));
    const body = make("div", { class: "body" }, image);
    if (this.layer > 0) {
      const before = this.layer > 1 ? this.words.before_many : this.words.before;
      const text = fill(before, { n: this.layer });
      const name = fill(this.words.h_before, { n: this.layer });
      body.append(span("small", `↓ ${text}`), drawing("before", name), span("small", name));
    }
    box.append(body);
    return box;
  }

  /** An arrow with its formula, and all units' lines from one stage to the next. */
  way(to, from) {
    const formula =
      to === "s1"
        ? mrow(mi(this.layer ? "h" : "x"), mo("\u2062"), mi("W"))
        : FORMULAS[to](symbols(this.network.layers[this.layer]));
    const arrow = make("div", { class: "arrow" }, math("math", formula));
    const way = make("li", { class: "way" });
    if (from) {
      const label = fill(this.words.map, { one: from, other: to });
      way.append(drawing("flow", label, { from, to }));
    } else if (to === "s1") way.append(make("canvas", { class: "ticks", "aria-hidden": "true" }));
    way.append(arrow);
    return way;
  }

  stageBox(stage, values) {
    const all = moments(values);
    const zeros = values.filter((value) => value === 0).length;
    const plain = stage === "s3" && !this.stages.s2 ? "s3_plain" : stage;
    const label = fill(this.words.distribution, {
      stage,
      zeros,
      n: all.n,
      low: format(all.low),
      high: format(all.high),
      mean: format(all.mean),
      deviation: format(all.deviation),
    });
    const fact = (name) => {
      const figure = make("dd", { "data-of": `${stage}-${name}` }, format(all[name]));
      return make("div", {}, make("dt", {}, this.words[name]), figure);
    };
    const facts = make("dl", {}, fact("mean"), fact("deviation"));
    if (all.n < values.length) {
      const lost = fill(this.words.not_finite, { n: values.length - all.n });
      facts.append(make("div", { class: "wrong" }, lost));
    }
    const canvas = drawing("histogram", label, { stage });
    canvas.addEventListener("pointermove", (event) => this.pointAtValue(event, canvas, values));
    canvas.addEventListener("pointerdown", (event) => this.pointAtValue(event, canvas, values));
    return make(
      "li",
      { class: "stage" },
      title(stageName(stage), this.words[plain]),
      facts,
      canvas,
    );
  }

  /** The output: a bar per class, the ten most probable. */
  probabilities() {
    const p = this.specimen.p;
    const order = p.map((_, index) => index).sort((a, b) => p[b] - p[a]);
    const shownClasses = order.slice(0, 10).sort((a, b) => a - b);
    const list = make("ul", { class: "bars" });
    for (const index of shownClasses) {
      const bar = span("bar");
      bar.style.setProperty("--share", p[index]);
      const name = make("b", {}, this.name(index));
      const row = make("li", { "data-unit": index }, name, bar, span("share", this.percent(p[index])));
      if (index === this.specimen.label) row.classList.add("label");
      row.addEventListener("pointermove", () => this.showUnit(index));
      row.addEventListener("pointerdown", () => this.showUnit(index));
      list.append(row);
    }
    if (order.length > 10) {
      const others = fill(this.words.others, { n: order.length - 10 });
      list.append(make("li", { class: "small" }, others));
    }
    return make("li", { class: "stage" }, title(stageName("p"), this.words.p), list);
  }

  /** The units of all stages: one control, which the arrow keys move in. */
  cellPad(stages) {
    const n = this.stages.s1.length;
    const pad = make("div", {
      class: "pad",
      role: "slider",
      tabindex: "0",
      "aria-valuemin": 1,
      "aria-valuemax": n,
      "aria-label": fill(this.words.cells_label, { n: this.layer + 1 }),
    });
    stages.forEach(([stage], index) => {
      const canvas = make("canvas", { class: "cells", "data-stage": stage });
      const box = make("div", { class: "grid" }, span("small", stageName(stage)), canvas);
      box.style.setProperty("--column", 2 * index + 1);
      canvas.addEventListener("pointermove", (event) => this.pointAtCell(event, canvas));
      canvas.addEventListener("pointerdown", (event) => this.pointAtCell(event, canvas));
      pad.append(box);
    });
    pad.addEventListener("keydown", (event) => this.moveByKey(event));
    return pad;
  }

  moveByKey(event) {
    const n = this.stages.s1.length;
    const { columns } = cellGrid(n, this.find("canvas.cells").clientWidth);
    const steps = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -columns,
      ArrowDown: columns,
      PageUp: -5 * columns,
      PageDown: 5 * columns,
      Home: -n,
      End: n,
    };
    if (!(event.key in steps) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.showUnit(Math.min(n - 1, Math.max(0, this.unit + steps[event.key])));
  }

  pointAtCell(event, canvas) {
    const n = this.stages.s1.length;
    const { columns, side } = cellGrid(n, canvas.clientWidth);
    const column = Math.min(columns - 1, Math.max(0, Math.floor(event.offsetX / side)));
    const unit = Math.floor(event.offsetY / side) * columns + column;
    if (unit >= 0 && unit < n) this.showUnit(unit);
  }

  /** The unit whose value is nearest to where the pointer is. */
  pointAtValue(event, canvas, values) {
    const { low, high } = this.axis;
    const share = this.upright
      ? 1 - event.offsetY / canvas.clientHeight
      : event.offsetX / canvas.clientWidth;
    const value = low + share * (high - low);
    let nearest = this.unit;
    values.forEach((other, unit) => {
      if (Math.abs(other - value) < Math.abs(values[nearest] - value)) nearest = unit;
    });
    this.showUnit(nearest);
  }

  // One unit.

  showUnit(unit) {
    this.unit = unit;
    const n = this.stages.s1.length;
    const input = this.find(".unit input");
    if (document.activeElement !== input) input.value = unit + 1;
    input.max = n;
    const name = this.isLast ? ` (${this.name(unit)})` : "";
    this.find(".of").textContent = fill(this.words.of, { n }) + name;
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
      const formula = FORMULAS[stage];
      const steps = formula ? [formula(signs), mo("="), formula(terms), mo("=")] : [];
      return make("div", {}, math("math", mrow(stageSign(stage), mo("="), ...steps, result)));
    });
    this.find(".formulas").replaceChildren(...formulas);
    clearTimeout(this.speaking);
    this.speaking = setTimeout(() => this.speak(rows, terms), 150);
  }

  /** The same for those who listen, once the unit has been settled on. */
  speak(rows, terms) {
    const { norm } = this.network.layers[this.layer];
    const n = this.stages.s1.length;
    const head = fill(this.words.sentence, { unit: this.unit + 1, n, layer: this.layer + 1 });
    const { mean, variance, gamma, beta } = terms;
    const known = norm === "none" ? { b: beta } : { μ: mean, "σ²": variance, γ: gamma, β: beta };
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
  drawAll(selector, sheetOf, draw, mark) {
    return Array.from(this.root.querySelectorAll(selector), (canvas) => {
      const sheet = sheetOf(canvas);
      draw(sheet, canvas.dataset);
      sheet.keep();
      return [sheet, (unit) => mark(sheet, canvas.dataset, unit)];
    });
  }

  drawPath() {
    const { axis, upright, stages } = this;
    const most = tallest(Object.values(stages), axis);
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

  cellSheet(canvas, n, /** @type {Axis} */ axis) {
    const { rows, side } = cellGrid(n, canvas.clientWidth);
    canvas.style.height = `${rows * side}px`;
    return new Sheet(canvas, axis);
  }

  drawLayers() {
    const all = this.arms.map((arm) =>
      arm.layers.map((_, layer) => stagesOf(arm, this.seenBy(arm), layer).s3),
    );
    const hidden = all.flatMap((layers) => (layers.length > 1 ? layers.slice(0, -1) : layers));
    const widths = hidden.map(moments).map((s3) => Math.abs(s3.mean) + 2.5 * s3.deviation);
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
function loudest(values) {
  return Math.max(0, values.indexOf(Math.max(...values.filter((value) => !Number.isNaN(value)))));
}

const answer = (/** @type {Specimen} */ specimen) => loudest(specimen.p);

/** The image; of a row that is no picture, its number. */
function picture(/** @type {Specimen} */ specimen, text) {
  if (specimen.image) {
    return make("img", { src: `data:image/png;base64,${specimen.image}`, alt: text });
  }
  return make("span", { class: "row", role: "img", "aria-label": text }, `#${specimen.row}`);
}

/** JSON has no NaN and no infinity: they came as words. */
function restoreNumbers(/** @type {Arm} */ arm) {
  for (const layer of arm.layers) {
    for (const name of ["gamma", "beta", "mean", "variance"]) layer[name] = layer[name].map(Number);
  }
  for (const specimen of arm.specimens) {
    specimen.p = specimen.p.map(Number);
    for (const name of ["s1", "s2"])
      specimen[name] = specimen[name].map((list) => list.map(Number));
  }
}

for (const root of document.querySelectorAll(".diagram")) new Diagram(root);
