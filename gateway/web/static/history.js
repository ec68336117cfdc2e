// Years of prices in one chart: the numbers come as one block of 32-bit floats, so that nothing is parsed value by value.
"use strict";

const WORD = 4;

async function readHistory(address) {
  const answer = await fetch(address);
  if (!answer.ok) return null;
  const block = await answer.arrayBuffer();
  const length = new DataView(block).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(block, WORD, length)));
  const floats = new Float32Array(block, WORD + length, head.count);
  // uPlot reads a gap as null, and its fast path wants plain arrays.
  const prices = new Array(head.count), moments = new Array(head.count);
  for (let i = 0; i < head.count; i++) {
    const price = floats[i];
    prices[i] = price === price ? price : null;
    moments[i] = head.start + i * head.step;
  }
  return { head, data: [moments, prices] };
}

function originAt(head, moment) {
  let low = 0, high = head.origins.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (head.origins[middle][0] <= moment) low = middle;
    else high = middle - 1;
  }
  return head.origins[low];
}

const DAY = 86400;

// Moments below the axis, as coarse as what lies between two of them, the same order of day, month and year everywhere.
function yearsAxis(colour, localOf) {
  const [year, month, day, clock] = ["{YYYY}", "{MMM} {YYYY}", "{DD} {MMM}", "{DD} {MMM} {HH}:{mm}"].map((text) => uPlot.fmtDate(text));
  const of = (step) => (step >= 360 * DAY ? year : step >= 28 * DAY ? month : step >= DAY ? day : clock);
  const values = (_, moments, __, ___, step) => moments.map((moment) => of(step)(localOf(moment)));
  return { ...axis(colour, "x", BOTTOM), space: 90, values };
}

async function drawHistory(element) {
  const known = await readHistory(element.dataset.history);
  if (known === null || known.head.count === 0) return;
  const { head, data } = known;
  const colour = colours();
  const localOf = (seconds) => uPlot.tzDate(new Date(seconds * 1000), head.time_zone);
  const stamp = uPlot.fmtDate("{YYYY}-{MM}-{DD} {HH}:{mm}");
  const label = head.currency + " per MWh";
  const steps = STEP(1), lines = uPlot.paths.linear();
  // Each slot as a step while there is room to see it; otherwise lines, which uPlot reduces to what a pixel can show.
  const paths = (chart, series, first, last) => (last - first < 2 * chart.bbox.width ? steps : lines)(chart, series, first, last);
  const place = element.parentElement.querySelector("[data-years-origin]");
  const tell = (chart) => {
    const index = chart.cursor.idx;
    if (index === null || index === undefined) return;
    const [, source, quality, minutes, note] = originAt(head, data[0][index]);
    place.textContent = `${valuesAt(chart, index)} · ${head.product}, ${quality}, ${minutes} min, ${source}${note ? ` (${note})` : ""}`;
  };
  const options = {
    width: element.clientWidth,
    height: height(element),
    series: [{ label: "Time", value: (_, moment) => (moment === null ? "" : stamp(localOf(moment))) }, line(label, colour.accent, { width: 1, paths, scale: "price" })],
    axes: [yearsAxis(colour, localOf), axis(colour, "price", LEFT, label)],
    scales: { x: { time: true } },
    tzDate: localOf,
    cursor: { drag: { x: true, y: false } },
    hooks: { setCursor: [tell], draw: [() => { element.dataset.drawn = "true"; }] },
  };
  element.chart = new uPlot(options, data, element);
  if (head.foreign_days) place.textContent += ` ${head.foreign_days} days in another currency are left out.`;
}

document.addEventListener("DOMContentLoaded", () => {
  const histories = [...document.querySelectorAll("[data-history]")];
  histories.forEach(drawHistory);
  addEventListener("resize", () => histories.forEach((e) => e.chart && e.chart.setSize({ width: e.clientWidth, height: height(e) })));
});
