"use strict";
// Draws the figures from the data that the page carries. Nothing is requested from anywhere.
const data = JSON.parse(document.getElementById("data").textContent);
const root = document.documentElement;
const chosen = new Set(data.contenders.map((item) => item.id));
const plots = [];
const percent = (value) => (value === null ? null : 100 * value);
const wide = window.matchMedia("(min-width: 40rem)");

function ink(name) {
  return getComputedStyle(root).getPropertyValue(name).trim();
}

// Black is told from the ground in neither theme: it takes the colour of the text.
function colour(item) {
  return item.colour === "#000000" ? ink("--ink") : item.colour;
}

function layout(extra) {
  const axis = { gridcolor: ink("--line"), zerolinecolor: ink("--line"), linecolor: ink("--faint"), automargin: true };
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: ink("--ink"), family: "system-ui, sans-serif", size: 13 },
    margin: { l: 48, r: 12, t: 36, b: 44 }, showlegend: false, hoverlabel: { namelength: -1 },
    ...extra, xaxis: { ...axis, ...extra.xaxis }, yaxis: { ...axis, ...extra.yaxis },
  };
}

function curveTraces(task) {
  const traces = [];
  for (const item of data.contenders) {
    const points = data.points.filter((point) => point.id === item.id && point.task === task);
    if (!points.length || !chosen.has(item.id)) continue;
    const x = points.map((point) => point.num_demos);
    const band = [...points.map((point) => point.high), ...points.map((point) => point.low).reverse()];
    traces.push({
      x: [...x, ...[...x].reverse()], y: band.map(percent), fill: "toself", fillcolor: colour(item), opacity: data.contenders.length > 6 ? 0.06 : 0.13,
      line: { width: 0 }, mode: "lines", hoverinfo: "skip", type: "scatter",
    });
    traces.push({
      x, y: points.map((point) => percent(point.success)), name: item.label, mode: "lines+markers", type: "scatter",
      line: { color: colour(item), dash: item.dash, width: 2 }, marker: { symbol: item.symbol, size: 8, color: colour(item) },
      customdata: points.map((point) => [percent(point.low), percent(point.high), point.num_episodes]),
      hovertemplate: "N = %{x}: %{y:.1f} % [%{customdata[0]:.1f}, %{customdata[1]:.1f}], %{customdata[2]} episodes",
    });
  }
  return traces;
}

function drawCurves(node) {
  const task = node.dataset.task === "" ? null : node.dataset.task;
  const numbers = [...new Set(data.points.map((point) => point.num_demos))].sort((a, b) => a - b);
  return [curveTraces(task), layout({
    title: { text: task === null ? "mean over tasks" : task.replace(/&/g, "&amp;").replace(/</g, "&lt;"), font: { size: 14 } },
    xaxis: { type: "log", tickvals: numbers, ticktext: numbers.map(String), title: { text: "demonstrations" } },
    yaxis: { range: [-3, 103], title: { text: "success, %" } },
  })];
}

function drawReadouts() {
  const readouts = [...new Set(data.readouts.map((row) => row.readout))];
  const encoders = [...new Set(data.readouts.map((row) => row.encoder))];
  const traces = readouts.map((readout, index) => {
    const rows = data.readouts.filter((row) => row.readout === readout && chosen.has(row.id));
    return {
      x: rows.map((row) => percent(row.score)), y: rows.map((row) => row.encoder), name: readout, type: "scatter",
      mode: "markers", orientation: "h", offsetgroup: readout, marker: { symbol: data.symbols[index % data.symbols.length], size: 11, color: colour({ colour: data.colours[index % data.colours.length] }) },
      error_x: {
        type: "data", symmetric: false, array: rows.map((row) => percent(row.high - row.score)),
        arrayminus: rows.map((row) => percent(row.score - row.low)), thickness: 1.2,
      },
      hovertemplate: "%{x:.1f} %",
    };
  });
  return [traces, layout({
    xaxis: { range: [-3, 103], title: { text: "score, %" } }, yaxis: { type: "category", categoryarray: [...encoders].reverse(), categoryorder: "array" },
    scattermode: "group", scattergap: 0.4, showlegend: true, legend: { orientation: "h", y: -0.2 }, margin: { l: 120, r: 12, t: 12, b: 44 },
  })];
}

function drawCost() {
  const axis = document.getElementById("cost-axis").value;
  const rows = data.costs.filter((row) => row[axis] !== null && row[axis] > 0 && chosen.has(row.id));
  const byId = new Map(data.contenders.map((item) => [item.id, item]));
  const traces = rows.map((row) => ({
    x: [row[axis]], y: [percent(row.score)], name: row.label, type: "scatter", mode: wide.matches ? "markers+text" : "markers",
    text: [row.label.replace(/&/g, "&amp;").replace(/</g, "&lt;")], textposition: "top center",
    marker: { size: 11, symbol: byId.get(row.id).symbol, color: colour(byId.get(row.id)) },
    hovertemplate: "%{y:.1f} % at %{x:.3s}",
  }));
  let best = -1;
  const front = [...rows].sort((a, b) => a[axis] - b[axis] || b.score - a.score).filter((row) => row.score > best && ((best = row.score), true));
  traces.push({
    x: front.map((row) => row[axis]), y: front.map((row) => percent(row.score)), mode: "lines", type: "scatter", name: "Pareto front",
    line: { shape: "hv", color: ink("--faint"), dash: "dot" }, hoverinfo: "skip",
  });
  return [traces, layout({
    xaxis: { type: "log", title: { text: document.getElementById("cost-axis").selectedOptions[0].textContent } },
    yaxis: { range: [-3, 110], title: { text: "score, %" } },
  })];
}

function drawHeat() {
  const rows = data.heat.rows.filter((row) => chosen.has(row.id));
  return [[{
    type: "heatmap", x: data.heat.tasks, y: rows.map((row) => row.label), z: rows.map((row) => row.values.map(percent)),
    colorscale: "Cividis", zmin: 0, zmax: 100, texttemplate: "%{z:.0f}", xgap: 2, ygap: 2,
    hovertemplate: "%{y}, %{x}: %{z:.1f} %<extra></extra>", colorbar: { title: { text: "%" } },
  }], layout({ yaxis: { autorange: "reversed", type: "category" }, xaxis: { type: "category" }, margin: { l: 150, r: 12, t: 12, b: 80 } })];
}

const drawers = { curves: drawCurves, readouts: drawReadouts, cost: drawCost, heat: drawHeat };

function draw() {
  for (const node of plots) {
    const [traces, settings] = drawers[node.dataset.kind](node);
    Plotly.react(node, traces, settings, { responsive: true, displaylogo: false, displayModeBar: false });
  }
}

function setTheme(theme) {
  root.dataset.theme = theme;
  document.getElementById("theme").textContent = theme === "dark" ? "Light" : "Dark";
  draw();
}

plots.push(...document.querySelectorAll(".plot"));
for (const box of document.querySelectorAll("#controls input")) {
  const item = data.contenders[Number(box.value)];
  box.nextElementSibling.style.borderTopColor = item.colour === "#000000" ? "currentColor" : item.colour;
  box.nextElementSibling.style.borderTopStyle = item.dash === "solid" ? "solid" : "dashed";
  box.addEventListener("change", () => {
    box.checked ? chosen.add(item.id) : chosen.delete(item.id);
    draw();
  });
}
document.getElementById("cost-axis")?.addEventListener("change", draw);
document.getElementById("theme").addEventListener("click", () => setTheme(root.dataset.theme === "dark" ? "light" : "dark"));
setTheme(window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
