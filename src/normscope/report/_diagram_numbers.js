/**
 * The diagram's numbers and formulas.
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
 * @property {string} image    a PNG in base64; empty where the row is no picture
 * @property {number} label
 * @property {number[]} p      probabilities per class
 * @property {number[][]} s1   per layer and unit
 * @property {number[][]} s2   only of layer norms
 *
 * @typedef {{name: string, layers: Layer[], specimens: Specimen[]}} Arm
 * @typedef {{s1: number[], s2?: number[], s3: number[], h?: number[]}} Stages
 * @typedef {{low: number, high: number, step: number, bins: number}} Axis
 */

/** So many significant digits, without an exponent where people would write none. */
function format(value, digits = 3) {
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

/** A round number with the digits that it has, as on an axis. */
const tidied = (value) => format(value, 4).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");

/** 1, 2 or 5 times a power of ten, not below `least`. */
function roundStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= least * 0.999);
}

/** @returns {{n: number, low: number, high: number, mean: number, deviation: number}} */
function moments(values) {
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
function stagesOf(/** @type {Arm} */ arm, /** @type {Specimen} */ specimen, index) {
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
function axisOf(distributions) {
  let [least, most] = [-1, 1];
  for (const value of distributions.flat()) {
    if (Number.isFinite(value)) [least, most] = [Math.min(least, value), Math.max(most, value)];
  }
  const step = roundStep((most - least) / 90);
  const first = Math.floor(least / step) - 1;
  const bins = Math.ceil(most / step) + 1 - first;
  return { low: first * step, high: (first + bins) * step, step, bins };
}

/** Values per bin; those that are exactly 0 are left out unless `zeros` is true. */
function counted(values, /** @type {Axis} */ axis, zeros = true) {
  const counts = new Array(axis.bins).fill(0);
  for (const value of values) {
    if (!Number.isFinite(value) || (value === 0 && !zeros)) continue;
    counts[Math.min(axis.bins - 1, Math.max(0, Math.floor((value - axis.low) / axis.step)))] += 1;
  }
  return counts;
}

const math = (tag, ...children) => {
  const element = document.createElementNS("http://www.w3.org/1998/Math/MathML", tag);
  element.append(...children);
  return element;
};
const mi = (name) => math("mi", name);
const mo = (sign) => math("mo", sign);
const mrow = (...children) => math("mrow", ...children);
const stageSign = (stage) =>
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
    const all = () => stageSign("s3");
    return math("mfrac", power(t.s3), mrow(mo("∑"), power(all)));
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
function numbers(/** @type {Layer} */ layer, /** @type {Stages} */ stages, unit) {
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
