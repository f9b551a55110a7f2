"use strict";
// Draws the figures from the data that the page carries. Nothing is requested from anywhere.
const data = JSON.parse(document.getElementById("data").textContent);
const root = document.documentElement;
const plots = [...document.querySelectorAll(".plot")];
// Absent where no cell has episodes.
const controls = document.getElementById("controls");
const boxes = [...document.querySelectorAll("#controls input")];
const chosen = new Set();
const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
const bandOf = document.getElementById("band");
const isWide = window.matchMedia("(min-width: 40rem)");
// More bands than these hide one another.
const FEW = 3;
const percent = (value) => 100 * value;
// Plotly takes some HTML in text for markup.
const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const ink = (name) => getComputedStyle(root).getPropertyValue(name).trim();
// Black is not seen on a dark ground: it takes the colour of the text.
const seen = (colour) => (colour === "#000000" ? ink("--ink") : colour);

function layout(extra) {
  const axis = { gridcolor: ink("--line"), zeroline: false, linecolor: ink("--faint"), automargin: true };
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: ink("--ink"), family: "system-ui, sans-serif", size: 13 },
    margin: { l: 48, r: 12, t: 36, b: 44 }, showlegend: false,
    hoverlabel: { namelength: -1, bgcolor: ink("--raised"), font: { color: ink("--ink") } },
    ...extra, xaxis: { ...axis, ...extra.xaxis }, yaxis: { ...axis, ...extra.yaxis },
  };
}

function curveTraces(task) {
  const bands = [], lines = [];
  data.contenders.forEach((item, id) => {
    const points = data.points.filter((point) => point.id === id && point.task === task);
    if (!points.length || !chosen.has(id)) return;
    const x = points.map((point) => point.num_demos);
    const withBand = chosen.size <= FEW || String(id) === bandOf.value;
    // One N has no band: its interval is a bar.
    if (withBand && points.length > 1) bands.push({
      x: [...x, ...[...x].reverse()], type: "scatter", mode: "lines", line: { width: 0 }, hoverinfo: "skip",
      y: [...points.map((point) => point.high), ...points.map((point) => point.low).reverse()].map(percent),
      fill: "toself", fillcolor: seen(item.colour), opacity: chosen.size <= FEW ? 0.16 : 0.25,
    });
    lines.push({
      x, y: points.map((point) => percent(point.success)), name: plain(item.label), mode: "lines+markers", type: "scatter",
      line: { color: seen(item.colour), dash: item.dash, width: withBand && chosen.size > FEW ? 3.5 : 2 },
      error_y: {
        type: "data", symmetric: false, visible: points.length === 1, thickness: 1.2, width: 3,
        array: points.map((point) => percent(point.high - point.success)),
        arrayminus: points.map((point) => percent(point.success - point.low)),
      },
      marker: { symbol: item.symbol, size: 8, color: seen(item.colour) },
      customdata: points.map((point) => [percent(point.low), percent(point.high), point.num_episodes]),
      hovertemplate: "N = %{x}: %{y:.1f} % [%{customdata[0]:.1f}, %{customdata[1]:.1f}], %{customdata[2]} episodes",
    });
  });
  return [...bands, ...lines];
}

function drawCurves(node) {
  const task = node.dataset.task || null;
  const numbers = [...new Set(data.points.map((point) => point.num_demos))].sort((a, b) => a - b);
  return [curveTraces(task), layout({
    title: { text: task === null ? "mean over tasks" : plain(task), font: { size: 14 } },
    xaxis: { type: "log", tickvals: numbers, ticktext: numbers.map(String), title: { text: "demonstrations" } },
    yaxis: { range: [-3, 103], title: { text: "success, %" } },
  })];
}

function drawReadouts() {
  const readouts = [...new Set(data.scores.map((row) => row.readout))];
  const encoders = [...new Set(data.scores.map((row) => row.encoder))].map(plain);
  const traces = readouts.map((readout, index) => {
    const rows = data.scores.filter((row) => row.readout === readout);
    return {
      x: rows.map((row) => percent(row.score)), y: rows.map((row) => plain(row.encoder)), name: plain(readout),
      type: "scatter", mode: "markers", orientation: "h", offsetgroup: readout,
      marker: {
        symbol: data.symbols[index % data.symbols.length], size: 10, color: seen(data.colours[index % data.colours.length]),
      },
      error_x: {
        type: "data", symmetric: false, array: rows.map((row) => percent(row.high - row.score)),
        arrayminus: rows.map((row) => percent(row.score - row.low)), thickness: 1.2, width: 0,
      },
      hovertemplate: "%{x:.1f} %",
    };
  });
  return [traces, layout({
    xaxis: { range: [-3, 103], title: { text: "score, %" } },
    yaxis: { type: "category", categoryarray: encoders.reverse(), categoryorder: "array", dtick: 1 },
    scattermode: "group", scattergap: 0.4, showlegend: true, legend: { orientation: "h", y: 1, yanchor: "bottom" },
  })];
}

// Costs that are numbers of things take prefixes: 11.2G. The others have their unit in the title.
const COUNTS = ["flops", "frozen", "trained"];

function drawCost() {
  const select = document.getElementById("cost-axis");
  const axis = select.value;
  const rows = data.costs.filter((row) => row[axis] !== null && chosen.has(row.id));
  let best = -1;
  const front = [...rows].sort((a, b) => a[axis] - b[axis] || b.score - a.score)
    .filter((row) => row.score > best && ((best = row.score), true));
  const traces = [{
    x: front.map((row) => row[axis]), y: front.map((row) => percent(row.score)), mode: "lines", type: "scatter",
    name: "Pareto front", line: { shape: "hv", color: ink("--faint"), dash: "dot" }, hoverinfo: "skip",
  }];
  for (const row of rows) {
    const item = data.contenders[row.id];
    traces.push({
      x: [row[axis]], y: [percent(row.score)], name: plain(item.label), type: "scatter",
      // Names of the front alone: those of all would hide one another.
      mode: isWide.matches && front.includes(row) ? "markers+text" : "markers",
      text: [plain(item.label)], textposition: "top center", cliponaxis: false,
      marker: { size: 11, symbol: item.symbol, color: seen(item.colour) }, hovertemplate: "%{y:.1f} % at %{x:.3s}",
    });
  }
  const costs = rows.map((row) => Math.log10(row[axis]));
  const [low, high] = costs.length ? [Math.min(...costs), Math.max(...costs)] : [0, 1];
  const room = Math.max(0.15, 0.12 * (high - low));
  return [traces, layout({
    xaxis: { type: "log", range: [low - room, high + room], title: { text: select.selectedOptions[0].textContent },
      tickformat: COUNTS.includes(axis) ? "~s" : "~g", nticks: isWide.matches ? 8 : 4 },
    yaxis: { range: [-3, 110], title: { text: "score, %" } },
  })];
}

const drawers = { curves: drawCurves, readouts: drawReadouts, cost: drawCost };

function draw() {
  for (const node of plots) {
    const [traces, settings] = drawers[node.dataset.kind](node);
    Plotly.react(node, traces, settings, { responsive: true, displayModeBar: false });
  }
}

const labelOf = (box) => data.contenders[Number(box.value)].label;

// What the colours mean beside the curves, and whose interval can be shown.
function name() {
  const legend = document.getElementById("legend");
  if (!legend) return;
  const labels = boxes.filter((box) => box.checked).map((box) => box.closest("label"));
  legend.replaceChildren(...labels.map((label) => {
    const item = document.createElement("li");
    item.append(label.querySelector(".swatch").cloneNode(true), labelOf(label.control));
    return item;
  }));
  const before = bandOf.value;
  bandOf.replaceChildren(...boxes.filter((box) => box.checked).map((box) => {
    return new Option(labelOf(box), box.value);
  }));
  const ranked = boxes.find((box) => box.checked && !data.contenders[Number(box.value)].is_reference);
  bandOf.value = chosen.has(Number(before)) && before !== "" ? before : (ranked?.value ?? "");
  bandOf.closest("label").hidden = chosen.size <= FEW;
}

function choose() {
  for (const box of boxes) box.checked ? chosen.add(Number(box.value)) : chosen.delete(Number(box.value));
  if (controls) controls.querySelector("output").textContent = `${chosen.size} of ${boxes.length}`;
  for (const row of document.querySelectorAll("[data-id]")) row.hidden = !chosen.has(Number(row.dataset.id));
  name();
  draw();
}

function setTheme(isDark) {
  root.dataset.theme = isDark ? "dark" : "light";
  document.getElementById("theme").textContent = isDark ? "Light" : "Dark";
}

const atFirst = boxes.filter((box) => box.defaultChecked);
const choices = { Best: (box) => atFirst.includes(box), All: () => true, None: () => false };
for (const button of document.querySelectorAll("[data-choose]")) {
  button.addEventListener("click", () => {
    for (const box of boxes) box.checked = choices[button.dataset.choose](box);
    choose();
  });
}
for (const box of boxes) box.addEventListener("change", choose);
bandOf?.addEventListener("change", draw);
for (const box of document.querySelectorAll("input[name=heat]")) {
  box.addEventListener("change", () => {
    for (const node of document.querySelectorAll(".heat")) node.hidden = node.dataset.number !== box.value;
  });
}
// One that cannot be played says so where it stands.
const play = (video) => video.play().catch(() => {});
for (const button of document.querySelectorAll(".together")) {
  button.addEventListener("click", () => {
    for (const video of button.closest(".row").querySelectorAll("video")) {
      video.currentTime = 0;
      play(video);
    }
  });
}
for (const button of document.querySelectorAll("button.clip")) {
  button.addEventListener("click", () => {
    const video = button.querySelector("video");
    video.paused ? play(video) : video.pause();
  });
}
if (controls && !isWide.matches) controls.open = false;
document.getElementById("cost-axis")?.addEventListener("change", draw);
document.getElementById("theme").hidden = false;
document.getElementById("theme").addEventListener("click", () => {
  setTheme(root.dataset.theme !== "dark");
  draw();
});
prefersDark.addEventListener("change", () => {
  setTheme(prefersDark.matches);
  draw();
});
setTheme(prefersDark.matches);
choose();
