// The site tree: only the rows in sight are in the document, so that it stays fluid with thousands of nodes.
"use strict";

const ROW_HEIGHT = 32, SPARE_ROWS = 8, REFRESH_MS = 3000, OPEN_UP_TO = 60;
const BANDS = { rating: "rating", order: "order", manual: "person", fallback: "fallback", "fail-safe": "fail-safe" };

async function json(url) {
  const answer = await fetch(url, { headers: { Accept: "application/json" } });
  return answer.ok ? answer.json() : null;
}

function cell(row, name, role) {
  const element = document.createElement("span");
  element.className = name;
  element.setAttribute("role", role || "gridcell");
  row.append(element);
  return element;
}

class Tree {
  constructor(element, shape) {
    this.element = element;
    this.shape = shape;
    this.values = null;
    this.rows = new Map();
    this.hasChildren = new Array(shape.ids.length).fill(false);
    shape.parents.forEach((up) => { if (up >= 0) this.hasChildren[up] = true; });
    this.open = this.firstOpen();
    this.header();
    this.body = document.createElement("div");
    this.body.className = "tree-body";
    this.body.setAttribute("role", "rowgroup");
    this.port = document.createElement("div");
    this.port.className = "tree-port";
    this.port.setAttribute("role", "presentation");
    this.port.append(this.body);
    element.append(this.port);
    this.port.addEventListener("scroll", () => this.draw(), { passive: true });
    element.addEventListener("keydown", (event) => this.key(event));
    this.settle();
    const place = this.visible.indexOf(shape.ids.indexOf(element.dataset.selected));
    if (place * ROW_HEIGHT > this.port.clientHeight) this.port.scrollTop = (place - 2) * ROW_HEIGHT;
    this.draw();
  }

  // Portfolios are open, everything where it is little, and the way to the chosen node.
  firstOpen() {
    const { ids, levels, parents } = this.shape;
    const open = new Set(ids.map((_, i) => i).filter((i) => this.hasChildren[i] && (levels[i] === 0 || ids.length <= OPEN_UP_TO)));
    let up = parents[ids.indexOf(this.element.dataset.selected)];
    while (up !== undefined && up >= 0) { open.add(up); up = parents[up]; }
    return open;
  }

  header() {
    const row = document.createElement("div");
    row.className = "tree-row tree-head";
    row.setAttribute("role", "row");
    for (const [name, text] of [["name", "Node"], ["power", "Power kW"], ["limit", "Limit kW"], ["use", "Used"], ["band", "By"]]) cell(row, name, "columnheader").textContent = text;
    this.element.append(row);
  }

  // Which nodes are shown: all whose ancestors are open, in the order of the tree.
  settle() {
    const { parents } = this.shape, shown = new Array(parents.length);
    this.visible = [];
    parents.forEach((up, i) => {
      shown[i] = up < 0 || (shown[up] && this.open.has(up));
      if (shown[i]) this.visible.push(i);
    });
    this.body.style.height = this.visible.length * ROW_HEIGHT + "px";
    this.element.dataset.shown = this.visible.length;
    this.element.setAttribute("aria-rowcount", this.visible.length);
  }

  draw() {
    const first = Math.max(0, Math.floor(this.port.scrollTop / ROW_HEIGHT) - SPARE_ROWS);
    const last = Math.min(this.visible.length, Math.ceil((this.port.scrollTop + this.port.clientHeight) / ROW_HEIGHT) + SPARE_ROWS);
    const wanted = new Map();
    for (let place = first; place < last; place += 1) wanted.set(this.visible[place], place);
    for (const [node, row] of this.rows) {
      if (!wanted.has(node)) { row.remove(); this.rows.delete(node); }
    }
    let before = null;
    for (const [node, place] of [...wanted].reverse()) {
      const row = this.rows.get(node) || this.row(node);
      row.style.transform = `translateY(${place * ROW_HEIGHT}px)`;
      row.setAttribute("aria-rowindex", place + 1);
      if (row.nextSibling !== before || row.parentNode !== this.body) this.body.insertBefore(row, before);
      this.fill(node, row);
      before = row;
    }
  }

  row(node) {
    const { ids, names, kinds, levels } = this.shape;
    const row = document.createElement("div");
    row.className = "tree-row";
    row.setAttribute("role", "row");
    row.setAttribute("aria-level", levels[node] + 1);
    const name = cell(row, "name");
    name.style.paddingInlineStart = levels[node] * 1.25 + "rem";
    const toggle = document.createElement("button");
    toggle.type = "button";
    toggle.className = "quiet toggle";
    toggle.hidden = !this.hasChildren[node];
    toggle.addEventListener("click", () => this.turn(node, !this.open.has(node)));
    const link = document.createElement("a");
    link.href = "/operator?node=" + encodeURIComponent(ids[node]) + "#node";
    link.textContent = names[node];
    link.title = kinds[node];
    if (ids[node] === this.element.dataset.selected) link.setAttribute("aria-current", "true");
    name.append(toggle, link);
    for (const column of ["power", "limit", "use", "band"]) cell(row, column);
    row.querySelector(".use").append(document.createElement("meter"));
    row.dataset.node = ids[node];
    this.rows.set(node, row);
    return row;
  }

  fill(node, row) {
    const toggle = row.querySelector(".toggle"), isOpen = this.open.has(node);
    toggle.textContent = isOpen ? "▾" : "▸";
    toggle.setAttribute("aria-label", (isOpen ? "Close " : "Open ") + this.shape.names[node]);
    if (this.hasChildren[node]) row.setAttribute("aria-expanded", isOpen);
    if (!this.values) return;
    const power = this.values.power_kw[node], limit = this.values.limit_kw[node], band = this.values.bands[node];
    row.querySelector(".power").textContent = power === null ? "unknown" : power.toFixed(1);
    row.querySelector(".limit").textContent = limit.toFixed(1);
    const meter = row.querySelector("meter");
    meter.max = Math.max(limit, 0.001);
    meter.high = meter.max * 0.95;
    meter.value = power === null ? 0 : Math.max(power, 0);
    meter.setAttribute("aria-label", power === null ? "power unknown" : `${power.toFixed(1)} of ${limit.toFixed(1)} kW`);
    row.classList.toggle("over", power !== null && power > limit);
    const by = row.querySelector(".band");
    by.textContent = band === "rating" ? "rating" : `${BANDS[band]}: ${this.values.whose[node]}`;
    by.className = "band band-" + band;
  }

  turn(node, isOpen) {
    if (isOpen) this.open.add(node); else this.open.delete(node);
    this.settle();
    this.draw();
  }

  key(event) {
    const row = event.target.closest && event.target.closest("[data-node]");
    if (!row || !["ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp"].includes(event.key)) return;
    event.preventDefault();
    const node = this.shape.ids.indexOf(row.dataset.node), place = this.visible.indexOf(node);
    if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
      if (this.hasChildren[node]) this.turn(node, event.key === "ArrowRight");
      return;
    }
    const next = this.visible[place + (event.key === "ArrowDown" ? 1 : -1)];
    if (next === undefined) return;
    const top = this.visible.indexOf(next) * ROW_HEIGHT;
    if (top < this.port.scrollTop) this.port.scrollTop = top;
    if (top + ROW_HEIGHT > this.port.scrollTop + this.port.clientHeight) this.port.scrollTop = top + ROW_HEIGHT - this.port.clientHeight;
    this.draw();
    this.rows.get(next).querySelector("a").focus();
  }

  async refresh() {
    if (document.hidden) return;
    const values = await json(this.element.dataset.values);
    if (!values || values.bands.length !== this.shape.ids.length) return;
    this.values = values;
    this.draw();
    this.element.dataset.drawn = "true";
  }
}

async function plant(element) {
  const shape = await json(element.dataset.tree);
  if (!shape) return;
  const tree = new Tree(element, shape);
  await tree.refresh();
  setInterval(() => tree.refresh(), REFRESH_MS);
}

document.addEventListener("DOMContentLoaded", () => document.querySelectorAll("[data-tree]").forEach(plant));
