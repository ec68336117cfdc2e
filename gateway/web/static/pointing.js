// Charts by keyboard and finger: whatever the mouse shows is reached without one.
//
// Left and right go to the next value, page up and down ten times as far, home and end to the ends of what is shown; in a chart of years
// plus and minus look closer and further away, zero shows all. A finger on a chart points as the mouse does.
"use strict";

const LEAP = 10;
const CLOSER = 0.25;

function shown(chart) {
  const [first, last] = chart.series[0].idxs;
  return { first, last, step: Math.max(1, Math.round((last - first) / chart.over.clientWidth)) };
}

function pointAt(chart, index) {
  const { first, last } = shown(chart);
  const at = Math.min(last, Math.max(first, index));
  chart.setCursor({ left: chart.valToPos(chart.data[0][at], "x"), top: chart.over.clientHeight / 2 });
}

// Shows a part of the years around the cursor, or around the middle of what is shown.
function zoom(chart, factor) {
  const moments = chart.data[0], { first, last } = shown(chart);
  const [start, end] = [moments[0], moments[moments.length - 1]];
  const at = moments[chart.cursor.idx ?? (first + last) >> 1];
  const half = Math.min(end - start, (moments[last] - moments[first]) * factor) / 2;
  const middle = Math.min(end - half, Math.max(start + half, at));
  if (half > moments[1] - moments[0]) chart.setScale("x", { min: middle - half, max: middle + half });
}

function showAll(chart) {
  const moments = chart.data[0];
  chart.setScale("x", { min: moments[0], max: moments[moments.length - 1] });
}

function move(element, key) {
  const chart = element.chart, { first, last, step } = shown(chart);
  const at = chart.cursor.idx ?? null;
  const from = (steps, start) => (at === null ? start : at + steps * step);
  const moves = {
    ArrowRight: () => pointAt(chart, from(1, first)),
    ArrowLeft: () => pointAt(chart, from(-1, last)),
    PageDown: () => pointAt(chart, from(LEAP, first)),
    PageUp: () => pointAt(chart, from(-LEAP, last)),
    Home: () => pointAt(chart, first),
    End: () => pointAt(chart, last),
    Escape: () => chart.setCursor({ left: -LEAP, top: -LEAP }),
    ...("history" in element.dataset && {
      "+": () => zoom(chart, CLOSER),
      "-": () => zoom(chart, 1 / CLOSER),
      0: () => showAll(chart),
    }),
  };
  if (!moves[key]) return false;
  moves[key]();
  return true;
}

document.addEventListener("keydown", (event) => {
  const element = event.target;
  if (!element.matches(".chart") || !element.chart || event.ctrlKey || event.metaKey || event.altKey) return;
  if (move(element, event.key)) event.preventDefault();
});

// Buttons beside a chart of years, for who has neither a mouse to drag with nor keys.
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-zoom]");
  const chart = button && button.closest("figure").querySelector(".chart").chart;
  if (!chart) return;
  if (button.dataset.zoom === "all") showAll(chart);
  else zoom(chart, button.dataset.zoom === "closer" ? CLOSER : 1 / CLOSER);
});

function pointWithFinger(event) {
  const over = event.target.closest(".u-over");
  if (!over || event.pointerType === "mouse") return;
  const box = over.getBoundingClientRect();
  over.closest(".chart").chart.setCursor({ left: event.clientX - box.left, top: event.clientY - box.top });
}
document.addEventListener("pointerdown", pointWithFinger);
document.addEventListener("pointermove", pointWithFinger);

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll(".chart").forEach((element) => {
    element.tabIndex = 0;
    element.setAttribute("role", "application");
    element.setAttribute("aria-roledescription", "chart");
  });
});
