// Plots of curves as inline SVG, drawn at the width that there is, so that letters keep their size.

import { label, linear, logarithmic } from "./scale.js";

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { top: 12, right: 14, bottom: 44, left: 64 };
const HEIGHT = 264;
/** The factor between the ends of a logarithmic axis and the values. */
const ROOM = 1.1;
/** The number of points above which they are not drawn on the line. */
const DENSE = 20;

/** Creates an SVG element in `parent`. */
function add(parent, name, attributes = {}, text = null) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== null) element.textContent = text;
  parent.append(element);
  return element;
}

/**
 * @typedef {object} Series
 * @property {string} name for the legend
 * @property {string} tone a class of the style sheet: `main`, `beside`, or `c0` to `c9`
 * @property {{x: number, y: number, low?: number, high?: number}[]} points
 *
 * @typedef {object} Spec
 * @property {string} title what is plotted, for those who do not see it
 * @property {{label: string, log?: boolean, reverse?: boolean, domain?: [number, number]}} x
 * @property {{label: string, log?: boolean, domain?: [number, number], step?: number}} y
 * @property {{y: number, label: string}} [reference] a horizontal line
 * @property {boolean} [legend] `false` leaves it out
 * @property {string} [series] before the names of the legend: what the series are
 */

/** A plot in an element of the page. */
export class Plot {
  /**
   * @param {HTMLElement} element emptied
   * @param {Spec} spec
   */
  constructor(element, spec) {
    this.spec = spec;
    this.series = [];
    this.marks = [];
    this.legend = document.createElement("ul");
    this.legend.className = "legend";
    this.frame = document.createElement("div");
    this.frame.className = "frame";
    element.replaceChildren(this.legend, this.frame);
    this.width = 0;
    new ResizeObserver(([entry]) => {
      const width = Math.round(entry.contentRect.width);
      if (width === this.width || !width) return;
      this.width = width;
      this.draw();
    }).observe(this.frame);
  }

  /** @param {Series[]} series */
  show(series) {
    this.series = series.map((one) => ({ ...one, points: this.placeable(one.points) }));
    const heading = document.createElement("li");
    heading.className = "heading";
    heading.textContent = this.spec.series ?? "";
    this.legend.replaceChildren(
      ...(this.spec.series ? [heading] : []),
      ...series.map(({ name, tone }) => {
        const item = document.createElement("li");
        item.className = tone;
        item.textContent = name;
        return item;
      }),
    );
    this.legend.hidden = this.spec.legend === false;
    this.draw();
  }

  /** Returns the points that have a place, with their index: none at 0 on a logarithmic axis, where a run may end. */
  placeable(points) {
    const fits = (axis, value) => Number.isFinite(value) && (!axis.log || value > 0);
    return points
      .map((point, index) => ({ ...point, index }))
      .filter(({ x, y }) => fits(this.spec.x, x) && fits(this.spec.y, y));
  }

  /** Marks one point of each series, by its place in the series; -1 marks none. */
  mark(index) {
    this.marked = index;
    for (const circle of this.frame.querySelectorAll("circle")) {
      const on = Number(circle.dataset.index) === index;
      circle.classList.toggle("marked", on);
      circle.setAttribute("r", on ? 5.5 : 2.5);
    }
  }

  /** Returns the scales of both axes. */
  scales() {
    const points = this.series.flatMap((one) => one.points);
    const scale = (axis, values) => {
      const [low, high] = axis.domain ?? (values.length ? [Math.min(...values), Math.max(...values)] : [0.1, 1]);
      if (!axis.log) return linear(low, high, axis.step);
      // Linear scales end on ticks; these leave a little room instead.
      return logarithmic(low / ROOM, high * ROOM);
    };
    const heights = points.flatMap(({ y, low, high }) => [y, low ?? y, high ?? y]);
    if (this.spec.reference) heights.push(this.spec.reference.y);
    return { x: scale(this.spec.x, points.map((point) => point.x)), y: scale(this.spec.y, heights) };
  }

  draw() {
    if (!this.width) return;
    const { spec, width } = this;
    const { x, y } = this.scales();
    const inner = { width: width - MARGIN.left - MARGIN.right, height: HEIGHT - MARGIN.top - MARGIN.bottom };
    const across = (value) =>
      MARGIN.left + (spec.x.reverse ? 1 - x.place(value) : x.place(value)) * inner.width;
    const up = (value) => MARGIN.top + (1 - y.place(value)) * inner.height;

    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    svg.setAttribute("width", width);
    svg.setAttribute("height", HEIGHT);
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", this.description());
    this.axes(svg, { x, y, across, up, inner });
    for (const one of this.series) this.curve(svg, one, across, up);
    this.frame.replaceChildren(svg);
    this.mark(this.marked ?? -1);
  }

  /** Returns the plot in a sentence. */
  description() {
    const ends = this.series
      .filter(({ points }) => points.length)
      .map(({ name, points }) => `${name}: ${label(points[0].y)} to ${label(points.at(-1).y)}`);
    return `${this.spec.title}. ${ends.join("; ")}`;
  }

  axes(svg, { x, y, across, up, inner }) {
    const { spec } = this;
    const bottom = MARGIN.top + inner.height;
    const right = MARGIN.left + inner.width;
    const axes = add(svg, "g", { class: "axes" });
    for (const tick of y.ticks) {
      add(axes, "line", { x1: MARGIN.left, x2: right, y1: up(tick), y2: up(tick) });
      add(axes, "text", { x: MARGIN.left - 8, y: up(tick) + 4, "text-anchor": "end" }, label(tick));
    }
    // Labels that would touch their neighbours are left out.
    const fewer = Math.ceil((x.ticks.length * 34) / inner.width);
    x.ticks.forEach((tick, index) => {
      add(axes, "line", { x1: across(tick), x2: across(tick), y1: bottom, y2: bottom + 5, class: "tick" });
      if (index % fewer) return;
      add(axes, "text", { x: across(tick), y: bottom + 19, "text-anchor": "middle" }, label(tick));
    });
    add(axes, "line", { x1: MARGIN.left, x2: right, y1: bottom, y2: bottom, class: "base" });
    const middle = MARGIN.left + inner.width / 2;
    add(axes, "text", { x: middle, y: HEIGHT - 6, "text-anchor": "middle", class: "label" }, spec.x.label);
    const turn = `translate(12 ${MARGIN.top + inner.height / 2}) rotate(-90)`;
    add(axes, "text", { transform: turn, "text-anchor": "middle", class: "label" }, spec.y.label);
    if (spec.reference) {
      const height = up(spec.reference.y);
      add(axes, "line", { x1: MARGIN.left, x2: right, y1: height, y2: height, class: "reference" });
      const beside = height < MARGIN.top + 16 ? height + 16 : height - 6;
      add(axes, "text", { x: right, y: beside, "text-anchor": "end", class: "label" }, spec.reference.label);
    }
  }

  curve(svg, { name, tone, points }, across, up) {
    const group = add(svg, "g", { class: `series ${tone} ${points.length > DENSE ? "dense" : ""}`, "data-series": name });
    const banded = points.filter(({ low, high }) => low !== undefined && high !== undefined);
    if (banded.length > 1) {
      const top = banded.map((point) => `${across(point.x)},${up(point.high)}`);
      const bottom = banded.map((point) => `${across(point.x)},${up(point.low)}`).reverse();
      add(group, "polygon", { class: "band", points: [...top, ...bottom].join(" ") });
    }
    const line = points.map((point) => `${across(point.x)},${up(point.y)}`);
    add(group, "polyline", { points: line.join(" ") });
    for (const point of points) {
      const [cx, cy] = [across(point.x), up(point.y)];
      const circle = add(group, "circle", { cx, cy, r: 2.5 });
      Object.assign(circle.dataset, { index: point.index, x: point.x, y: point.y });
      add(circle, "title", {}, `${name}: ${label(point.y)} at ${label(point.x)}`);
    }
  }
}
