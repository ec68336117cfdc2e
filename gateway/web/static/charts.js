// Charts from columnar JSON with uPlot; redrawn when the live stream says that their numbers changed.
"use strict";

const STEP = (align) => uPlot.paths.stepped({ align });

function colours() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  return { ink: of("--ink"), line: of("--line"), accent: of("--accent"), bad: of("--bad"), warn: of("--warn"), good: of("--good") };
}

const BOTTOM = 2, LEFT = 3, RIGHT = 1;

function axis(colour, scale, side, label) {
  const grid = { show: side !== RIGHT, stroke: colour.line, width: 1 };
  return { scale, side, grid, stroke: colour.ink, ticks: { stroke: colour.line }, ...(label && { label, labelSize: 22, size: 58 }) };
}

function timeAxis(colour, localOf) {
  const day = uPlot.fmtDate("{DD} {MMM}"), clock = uPlot.fmtDate("{HH}:{mm}");
  const text = (moment) => {
    const local = localOf(moment);
    return local.getHours() + local.getMinutes() === 0 ? day(local) : clock(local);
  };
  return { ...axis(colour, "x", BOTTOM), space: 60, values: (_, moments) => moments.map(text) };
}

function line(label, stroke, more) {
  return { label, stroke, width: 2, points: { show: false }, spanGaps: false, ...more };
}

const KINDS = {
  trader: (colour) => ({
    columns: ["order_mw", "awarded_mw", "uncontrolled_mw", "price_per_mwh"],
    series: [
      line("Order MW", colour.accent, { fill: colour.accent + "33", paths: STEP(1), scale: "mw" }),
      line("Awarded MW", colour.good, { dash: [2, 3], paths: STEP(1), scale: "mw" }),
      line("Uncontrolled MW (modelled)", colour.ink, { width: 1, dash: [6, 4], paths: STEP(1), scale: "mw" }),
      line("Price per MWh", colour.warn, { width: 1.5, paths: STEP(1), scale: "price" }),
    ],
    axes: [axis(colour, "mw", LEFT, "MW (+ bought)"), axis(colour, "price", RIGHT, "price per MWh")],
  }),
  market: (colour) => ({
    columns: ["price_per_mwh", "carbon_g_per_kwh"],
    series: [
      line("Price per MWh", colour.accent, { paths: STEP(1), scale: "price" }),
      line("Carbon g/kWh", colour.warn, { width: 1.5, paths: STEP(1), scale: "carbon" }),
    ],
    axes: [axis(colour, "price", LEFT, "price per MWh"), axis(colour, "carbon", RIGHT, "g CO₂ per kWh")],
    origins: ["price_slot_origins", "price_origin", "carbon_origin"],
  }),
  operator: (colour) => ({
    columns: ["power_kw", "limit_kw", "plan_kw"],
    series: [
      line("Power kW", colour.accent, { fill: colour.accent + "33", scale: "kw" }),
      line("Binding limit kW", colour.bad, { paths: STEP(1), scale: "kw" }),
      line("Expected kW", colour.warn, { width: 1.5, dash: [6, 4], paths: STEP(1), scale: "kw" }),
    ],
    axes: [axis(colour, "kw", LEFT, "kW drawn from the grid")],
  }),
};

function height(element) {
  return element.clientWidth < 640 ? 240 : 320;
}

async function draw(element) {
  const answer = await fetch(element.dataset.source, { headers: { Accept: "application/json" } });
  if (!answer.ok) return;
  const content = await answer.json();
  const kind = KINDS[element.dataset.chart](colours());
  const data = [content.x, ...kind.columns.map((name) => content[name] || [])];
  element.toggleAttribute("data-empty", !content.x.length);
  if (!content.x.length) return;
  element.origins = (kind.origins || []).map((name) => content[name]).filter(Boolean);
  if (element.chart) {
    element.chart.setData(data);
    return;
  }
  const localOf = (seconds) => uPlot.tzDate(new Date(seconds * 1000), content.time_zone);
  const stamp = uPlot.fmtDate("{DD} {MMM} {HH}:{mm}");
  const options = {
    width: element.clientWidth,
    height: height(element),
    series: [{ label: "Time", value: (_, moment) => (moment === null ? "" : stamp(localOf(moment))) }, ...kind.series],
    axes: [timeAxis(colours(), localOf), ...kind.axes],
    scales: { x: { time: true } },
    tzDate: localOf,
    hooks: { setCursor: [() => tellOrigin(element)] },
  };
  element.chart = new uPlot(options, data, element);
  element.dataset.drawn = "true";
}

// Time and values at an index in words, so that they are read aloud, too.
function valuesAt(chart, at) {
  const [time, ...lines] = chart.series;
  const values = lines.map((one, index) => [one.label, chart.data[index + 1]]).filter(([, column]) => column.length);
  const words = values.map(([label, column]) => `${label} ${column[at] ?? "gap"}`);
  return `${time.value(chart, chart.data[0][at])}: ${words.join(", ")}`;
}

// Where the values come from, below the chart while somebody points at it.
function tellOrigin(element) {
  const place = element.parentElement.querySelector("[data-origin]");
  if (place && element.chart && element.chart.cursor.idx !== null && element.origins.length) {
    const at = element.chart.cursor.idx;
    const told = element.origins.map((origin) => (Array.isArray(origin) ? origin[at] : origin));
    place.textContent = [valuesAt(element.chart, at), ...told].filter(Boolean).join(" · ");
  }
}

function start() {
  const charts = [...document.querySelectorAll("[data-chart]")];
  charts.forEach(draw);
  addEventListener("resize", () => charts.forEach((e) => e.chart && e.chart.setSize({ width: e.clientWidth, height: height(e) })));
  document.body.addEventListener("htmx:sseMessage", (event) => {
    charts.filter((element) => element.dataset.refresh === event.detail.type).forEach(draw);
  });
  setInterval(() => charts.filter((element) => element.dataset.chart === "operator").forEach(draw), 3000);
  const picker = document.querySelector("[data-day-picker]");
  if (picker) {
    picker.day.addEventListener("change", () => { if (picker.day.value) location.assign("/trader/" + picker.day.value); });
    picker.addEventListener("submit", (event) => event.preventDefault());
  }
  const place = document.querySelector("[data-market-place]");
  if (place) {
    const go = () => { if (place.day.value) location.assign("/market/" + place.day.value + "?" + new URLSearchParams({ zone: place.zone.value, product: place.product.value })); };
    place.addEventListener("change", go);
    place.addEventListener("submit", (event) => { event.preventDefault(); go(); });
  }
}

document.addEventListener("DOMContentLoaded", start);
