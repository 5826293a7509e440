/*
 * The diagram's canvases: what is drawn on them, and what marks one unit.
 */

/**
 * A canvas of the size it has on the page, and what is needed to draw on it. `upright` drawings
 * have their values on the vertical axis, others on the horizontal one.
 */
class Sheet {
  /** @param {HTMLCanvasElement} canvas @param {Axis} axis */
  constructor(canvas, axis, upright = true, margin = 0) {
    const density = window.devicePixelRatio || 1;
    const style = getComputedStyle(canvas);
    this.axis = axis;
    this.upright = upright;
    this.width = canvas.clientWidth;
    this.height = canvas.clientHeight;
    /** How long the values' axis is, and how far the other one reaches. */
    this.length = upright ? this.height : this.width;
    this.depth = (upright ? this.width : this.height) - margin;
    canvas.width = Math.round(this.width * density);
    canvas.height = Math.round(this.height * density);
    this.pen = canvas.getContext("2d");
    this.pen.scale(density, density);
    this.pen.font = `${style.fontSize} ${style.fontFamily}`;
    const colours = new Map();
    this.colour = (name) => {
      if (!colours.has(name)) colours.set(name, style.getPropertyValue(`--d-${name}`).trim());
      return colours.get(name);
    };
  }

  /** Where a value lies on its axis. */
  along(value) {
    const share = (value - this.axis.low) / (this.axis.high - this.axis.low);
    return this.length * (this.upright ? 1 - share : share);
  }

  /** A point `across` the values' axis, to the right or downwards. @returns {[number, number]} */
  point(value, across) {
    const along = this.along(value);
    return this.upright ? [across, along] : [along, across];
  }

  /** Keep what is drawn, so that it can be marked again and again. */
  keep() {
    const { canvas } = this.pen;
    this.kept = document.createElement("canvas");
    this.kept.width = canvas.width;
    this.kept.height = canvas.height;
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
    points.forEach((point, index) =>
      index ? this.pen.lineTo(...point) : this.pen.moveTo(...point),
    );
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
    return Array.from(
      { length: Math.floor(high / step) - first + 1 },
      (_, i) => (first + i) * step,
    );
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

const sign = (value) => (value < 0 ? "below" : "above");

/** How strongly a value is coloured: fully from 60 % of the axis on. */
function strength(value, /** @type {Axis} */ axis) {
  return Math.min(1, Math.abs(value) / (0.6 * Math.max(-axis.low, axis.high)));
}

const isRectified = (values) => !values.some((value) => value < 0);

function drawHistogram(/** @type {Sheet} */ sheet, values, most, words) {
  const { pen, axis, upright, depth } = sheet;
  sheet.ground();
  const rectified = isRectified(values);
  const room = depth - 12;
  // Bars lie on the left edge, or stand on the lower one.
  const bar = (length) => (upright ? [0, length] : [depth, depth - length]);
  counted(values, axis, !rectified).forEach((count, bin) => {
    const from = axis.low + bin * axis.step;
    const middle = from + axis.step / 2;
    pen.fillStyle = sheet.colour(sign(middle));
    pen.globalAlpha = 0.45 + 0.55 * strength(middle, axis);
    sheet.box(from, from + axis.step, ...bar((room * count) / most));
  });
  pen.globalAlpha = 1;
  const zeros = rectified ? values.filter((value) => value === 0).length : 0;
  if (zeros) {
    const text = fill(words.zeros, { n: zeros });
    drawZeros(sheet, text, bar(Math.min(room, (room * zeros) / most)));
  }
  drawSpread(sheet, moments(values), bar(room + 6)[1]);
}

/** The most that a bin holds, in any of several distributions. */
function tallest(/** @type {number[][]} */ distributions, /** @type {Axis} */ axis) {
  const counts = distributions.map((values) => counted(values, axis, !isRectified(values)));
  return Math.max(1, ...counts.flat());
}

function markHistogram(/** @type {Sheet} */ sheet, value) {
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
  const end = (value) => sheet.point(value, across);
  sheet.line("ink", 2, end(mean - deviation), end(mean + deviation));
  sheet.pen.fillStyle = sheet.colour("ink");
  sheet.pen.beginPath();
  sheet.pen.arc(...sheet.point(mean, across), 3.5, 0, 7);
  sheet.pen.fill();
}

/** One unit's way from one stage to the next. */
function drawWay(/** @type {Sheet} */ sheet, from, to) {
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

function markFlow(/** @type {Sheet} */ sheet, from, to) {
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
    const text = tidied(tick);
    if (upright) {
      sheet.line(tick ? "line" : "muted", 1, [start, place], [depth, place]);
      pen.fillText(text, start - 4, place);
    } else pen.fillText(text, place, depth + 3);
  }
}

/** How cells lie: columns, and the side of one. */
function cellGrid(n, width) {
  const columns = Math.max(Math.ceil(Math.sqrt(1.5 * n)), Math.ceil(width / 34));
  return { columns, rows: Math.ceil(n / columns), side: width / columns };
}

/** Where a unit's cell lies: left, top, and its side. */
function cellOf(/** @type {Sheet} */ sheet, n, unit) {
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

function markCell(/** @type {Sheet} */ sheet, n, unit) {
  const [x, y, side] = cellOf(sheet, n, unit);
  const grown = Math.max(0, 8 - side) / 2;
  for (const [colour, width] of [
    ["paper", 5],
    ["ink", 2],
  ]) {
    sheet.pen.strokeStyle = sheet.colour(colour);
    sheet.pen.lineWidth = width;
    sheet.pen.strokeRect(x - grown, y - grown, side + 2 * grown, side + 2 * grown);
  }
}

/** A layer's s3 as a standing double histogram, for the choice of the layer. */
function drawSmall(/** @type {Sheet} */ sheet, values) {
  const { pen, axis, depth } = sheet;
  sheet.band();
  const counts = counted(
    values.filter((v) => v > axis.low && v < axis.high),
    axis,
  );
  const most = Math.max(...counts);
  counts.forEach((count, bin) => {
    const from = axis.low + bin * axis.step;
    const half = (0.46 * depth * count) / most;
    pen.fillStyle = sheet.colour(sign(from + axis.step / 2));
    if (count) sheet.box(from, from + axis.step, depth / 2 - half, depth / 2 + half);
  });
}
