// The page: what is asked at the left, the answers of all stages that the time allows at the right.

import { field } from "./columns.js";
import { Ensemble } from "./stages.js";

const element = (id) => document.getElementById(id);
const say = (text) => (element("said").textContent = text);

// Cells that the pointer fills; read() gives their values, one row after another.
function drawing([, height, width], { low, high }, changed) {
  const canvas = document.createElement("canvas");
  const cell = Math.max(4, Math.floor(320 / Math.max(height, width)));
  const ink = new Float32Array(height * width);
  canvas.width = width * cell;
  canvas.height = height * cell;
  const show = () => {
    const context = canvas.getContext("2d");
    ink.forEach((part, i) => {
      context.fillStyle = `rgb(${255 * part} ${255 * part} ${255 * part})`;
      context.fillRect((i % width) * cell, Math.floor(i / width) * cell, cell, cell);
    });
    changed();
  };
  const draw = (event) => {
    if (!event.buttons) return;
    const box = canvas.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * width;
    const y = ((event.clientY - box.top) / box.height) * height;
    const reach = Math.max(1, Math.max(height, width) / 10); // a pen with a soft rim
    ink.forEach((part, i) => {
      const away = Math.hypot((i % width) + 0.5 - x, Math.floor(i / width) + 0.5 - y);
      ink[i] = Math.max(part, Math.min(1, 1.5 - away / reach));
    });
    show();
  };
  canvas.addEventListener("pointerdown", draw);
  canvas.addEventListener("pointermove", draw);
  const clear = document.createElement("button");
  clear.textContent = "Clear";
  clear.addEventListener("click", () => (ink.fill(0), show()));
  element("ask").append(canvas, document.createElement("br"), clear);
  show();
  return () => ink.map((part) => low + part * (high - low));
}

function form(columns, changed) {
  const fields = columns.map(field);
  element("ask").append(...fields.map(({ label }) => label));
  element("ask").addEventListener("input", changed);
  return () => Float32Array.from(fields.flatMap(({ read }) => read()));
}

function numbers(size, changed) {
  const area = document.createElement("textarea");
  area.value = Array(size).fill(0).join(" ");
  area.addEventListener("input", changed);
  element("ask").append(`${size} numbers, the last dimension first to change:`, area);
  return () => Float32Array.from(area.value.split(/[\s,;]+/).filter(Boolean), Number);
}

function question({ columns, input_shape: shape }, range, changed) {
  const asked = columns && !columns.series && !columns.features.some(({ size }) => size);
  if (asked) return form(columns.features, changed);
  if (shape.length === 3 && shape[0] === 1) return drawing(shape, range, changed);
  return numbers(shape.reduce((product, side) => product * side, 1), changed);
}

function row({ stage, answers: [own] }) {
  const texts = own.map(({ name, value, probability }) =>
    value === undefined ? `${name} ${(100 * probability).toFixed(1)}%` : `${name}: ${value.toPrecision(4)}`,
  );
  const told = own.some(({ value }) => value !== undefined) ? texts : texts.slice(0, 3); // the likeliest
  const cells = [stage, told.join(", ")];
  const line = document.createElement("tr");
  for (const text of cells) line.appendChild(document.createElement("td")).textContent = text;
  return line;
}

async function main() {
  const ensemble = await Ensemble.open();
  document.title = element("name").textContent = ensemble.config.name;
  const paces = await ensemble.paces(new Float32Array(ensemble.size));
  const total = paces.reduce((sum, pace) => sum + pace, 0);
  const { low, high } = document.body.dataset;
  const range = { low: Number(low), high: Number(high) };
  let asked = 0;
  let read = null;

  const answer = async () => {
    if (!read) return;
    const turn = ++asked; // a newer question ends this one
    const budget = (element("time").value / element("time").max) * total;
    try {
      const rows = [];
      let used = 0;
      for await (const found of ensemble.stages(read())) {
        if (turn !== asked) return;
        rows.push(row(found));
        used += paces[found.stage] ?? Infinity;
        if (used + paces[0] > budget * (1 + 1e-9)) break; // the first answer always comes
      }
      element("answers").replaceChildren(...rows);
      say(`${rows.length} of ${paces.length} stages within ${budget.toFixed(3)} ms`);
    } catch (error) {
      element("answers").replaceChildren();
      say(error.message);
    }
  };
  read = question(ensemble.config, range, answer);
  element("time").addEventListener("input", answer);
  await answer();
}

main().catch((error) => say(`The page does not work: ${error.message}`));
