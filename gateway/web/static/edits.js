// Keeps what a person typed: a part of the page with unsaved edits is not replaced by a newer one, the person is told instead.
"use strict";

function isEdited(part) {
  return [...part.querySelectorAll("input:not([type=hidden])")].some((input) => input.value !== input.defaultValue);
}

document.addEventListener("input", (event) => {
  const part = event.target.closest("[data-keeps-edits]");
  if (!part) return;
  if (event.target.name.startsWith("volume_")) {
    event.target.classList.toggle("changed", event.target.value !== event.target.defaultValue);
  }
  const mark = part.querySelector("[data-unsaved]");
  if (mark) mark.hidden = !isEdited(part);
});

document.addEventListener("htmx:beforeSwap", (event) => {
  const part = event.detail.target;
  if (!part.matches("[data-keeps-edits]") || !isEdited(part)) return;
  event.detail.shouldSwap = false;
  document.getElementById("stale").hidden = false;
});

// A column of numbers pasted from a spreadsheet fills the periods from the field on.
document.addEventListener("paste", (event) => {
  const first = event.target;
  if (!(first instanceof HTMLInputElement) || !first.name.startsWith("volume_")) return;
  const values = event.clipboardData.getData("text").trim().split(/\r?\n/).map((line) => line.split("\t")[0].trim());
  if (values.length < 2) return;
  event.preventDefault();
  const fields = [...first.form.querySelectorAll("input[name^=volume_]")];
  const start = fields.indexOf(first);
  values.forEach((value, index) => {
    const field = fields[start + index];
    if (!field) return;
    field.value = value;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  });
});

// Enter goes down a row as in a spreadsheet; saving is the button's.
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !event.target.name || !event.target.name.startsWith("volume_")) return;
  event.preventDefault();
  const fields = [...event.target.form.querySelectorAll("input[name^=volume_]")];
  const next = fields[fields.indexOf(event.target) + (event.shiftKey ? -1 : 1)];
  if (next) next.select();
});

// Where a person scrolled to, and what was opened, stays when a part is replaced.
const places = new Map();
const opened = new Set();
document.addEventListener("htmx:beforeSwap", (event) => {
  places.clear();
  opened.clear();
  event.detail.target.querySelectorAll("details[id][open]").forEach((part) => opened.add(part.id));
  event.detail.target.querySelectorAll(".scroll").forEach((box) => places.set(box.getAttribute("aria-labelledby"), [box.scrollTop, box.scrollLeft]));
});
document.addEventListener("htmx:afterSwap", () => {
  opened.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
  places.forEach(([top, left], name) => {
    const box = document.querySelector(`.scroll[aria-labelledby="${name}"]`);
    if (box) box.scrollTo(left, top);
  });
});

// What was wrong with a form is no longer said once the form went through.
document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.successful && event.detail.requestConfig.verb === "post") document.getElementById("problem").replaceChildren();
});

// What takes long says at once that it runs, and when it failed.
document.addEventListener("htmx:beforeRequest", (event) => {
  const note = event.detail.elt.querySelector("[data-running]");
  if (note) note.textContent = event.detail.elt.dataset.saysRunning;
});
document.addEventListener("htmx:afterRequest", (event) => {
  const note = event.detail.elt.querySelector("[data-running]");
  if (note) note.textContent = event.detail.successful ? "Done." : "That failed; what went wrong stands at the top of the page.";
});
