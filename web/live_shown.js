// What live play shows beside its frames: the buttons of its tools and views, sentences, arrows over the picture, its style.
import { round, svg } from "./drawing.js";
import { arrowheads } from "./lines.js";

export const TOOLS = [
  ["grab", "Grab", "Take a thing and drag it; let go while you move, and it flies"],
  ["push", "Push", "Drag an arrow from a thing: a knock where it begins, the longer the harder"],
];
export const VIEWS = [
  ["draft", "Draft", "The scene as it is simulated"],
  ["painted", "Painted", "What the connected model paints of it, as fast as it can"],
  ["depth", "Depth", "Near is white"],
  ["masks", "Masks", "One colour for each body"],
  ["flow", "Flow", "How each pixel moves"],
];
export const NO_PAINTER = "Connect a model to this node's model input, and run";
export const KEYS = "Drag things. W A S D, Q E: move; arrows: orbit; + −: zoom; Space: pause.";
const LETTER = 6.4; // px of a letter of 12 px, on average

/** A line of text over the lower edge of a frame. */
export function banner(line, frame) {
  const [x, y] = [frame.x + frame.width / 2, frame.y + frame.height - 18];
  const width = 20 + LETTER * line.length;
  return [
    svg("rect", { x: x - width / 2, y: y - 15, width, height: 22, rx: 11, fill: "#000b" }),
    svg("text", { x, y, "text-anchor": "middle", style: "fill:#fff;font-size:12px" }, line),
  ];
}

/** The arrow of a push while it is drawn. */
export function pushArrow(line) {
  const d = [line, ...arrowheads(line, Infinity, 12)].map((each) => "M" + each.map(({ x, y }) => `${x} ${y}`).join("L")).join("");
  return [["#000b", 7], ["#ffd166", 3.5]].map(([stroke, width]) =>
    svg("path", { d, fill: "none", stroke, "stroke-width": width, "stroke-linecap": "round", "stroke-linejoin": "round" }));
}

/** One sentence on what was kept; "" where nothing was. */
export function keptLine({ text, seconds, actions, camera }) {
  if (!text) return "";
  const what = [`${round(seconds, 1)} s`, `${actions} ${actions === 1 ? "action" : "actions"}`, camera && "the camera's way"];
  return `Kept: ${what.filter(Boolean).join(", ")}. Run renders it.`;
}

export const STYLE = `
.vdit-stage-live { position: relative; flex: 1 1 0; min-height: 0; background: #15171a; border-radius: 4px; overflow: hidden; }
.vdit-drawing .vdit-stage-live svg.vdit-surface { position: absolute; inset: 0; width: 100%; height: 100%; background: none; }
[data-tool=""] svg.vdit-surface { cursor: default !important; }
[data-tool=grab] svg.vdit-surface { cursor: grab !important; }
[data-tool=grab] svg.vdit-surface:active { cursor: grabbing !important; }
[data-widget=recorded] .vdit-bar { flex-wrap: wrap; } /* an app's panel is narrow */
.vdit-panel .vdit-slider { flex: 1 1 190px; }
.vdit-live { position: absolute; display: block; }
.vdit-live[hidden], .vdit-panel [hidden] { display: none; }
.vdit-clock { color: var(--descrip-text, #aaa); font-variant-numeric: tabular-nums; white-space: nowrap; }
.vdit-panel { display: flex; flex-direction: column; gap: 5px; flex: none; }
.vdit-panel.vdit-closed { opacity: .45; pointer-events: none; }
.vdit-panel select { flex: 1 1 0; }
.vdit-actuators { max-height: 108px; overflow-y: auto; scrollbar-width: thin; display: grid; gap: 2px 10px;
  grid-template-columns: 1fr 1fr; }
.vdit-actuators span { width: 76px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.vdit-actuators kbd { flex: none; width: 24px; font: 10px monospace; color: var(--descrip-text, #aaa); }
.vdit-drawing:fullscreen { padding: 10px; }
`;
