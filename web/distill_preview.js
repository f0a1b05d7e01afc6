// The takes of VDiT Distill Preview, played side by side in step; with four seeds a click picks the one that is sent on.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { html } from "./drawing.js";

const NODE = "VDiTDistillPreview";
const NAME = "vdit_takes";
const HEIGHT = 300; // px at least, on the node
const REST = 0.6; // seconds on the last frame before it begins again

class Takes {
  constructor(node) {
    this.node = node;
    this.takes = [];
    this.tiles = [];
    this.frame = -1;
    addStyle();
    this.stage = html("div", { class: "vdit-stage" });
    this.line = html("div", { class: "vdit-line" });
    this.root = html("div", { class: "vdit-takes", role: "group", "aria-label": "Takes" }, this.stage, this.line);
    this.root.style.minHeight = `${HEIGHT}px`; // Nodes 2.0 asks the element, the classic canvas getMinHeight
    this.widget = node.addDOMWidget(NAME, "VDIT_TAKES", this.root, {
      serialize: false, // neither in the prompt
      hideOnZoom: false,
      getMinHeight: () => HEIGHT,
      getValue: () => "",
      setValue: () => {},
    });
    this.widget.serialize = false; // nor in the saved workflow: it belongs to a run
    this.show(null);
  }

  /** output: what the node sent when it had run. */
  show(output) {
    this.output = output;
    this.takes = output?.vdit_takes ?? [];
    this.line.textContent = this.takes.length ? (output.vdit_line ?? []).join("\n") : "Run to see the preview here.";
    this.stage.classList.toggle("vdit-four", this.takes.length > 1);
    this.tiles = this.takes.map((take) => this.tile(take));
    this.stage.replaceChildren(...this.tiles);
    this.frame = -1;
    this.mark();
  }

  tile(take) {
    const rows = Math.ceil(take.frames / take.columns);
    const image = html("div", { class: "vdit-film" });
    const url = api.apiURL(`/view?${new URLSearchParams({ filename: take.filename, subfolder: take.subfolder, type: take.type })}`);
    image.style.backgroundImage = `url("${url}")`;
    image.style.backgroundSize = `${100 * take.columns}% ${100 * rows}%`;
    const probe = new Image(); // the strip's own shape tells a frame's
    probe.onload = () => image.style.setProperty("--shape", (probe.naturalWidth * rows) / (probe.naturalHeight * take.columns));
    probe.src = url;
    if (this.takes.length > 1) image.append(html("span", {}, take.seed));
    if (this.takes.length < 2) return html("div", { class: "vdit-take" }, image);
    return html("button", {
      class: "vdit-take", type: "button", title: `Seed ${take.seed}: click to send this take on`,
      onclick: () => this.pick(take.seed),
    }, image);
  }

  /** A picture of the takes as they form; the film strips take its place when the node has run. */
  forming(blob) {
    if (this.image) URL.revokeObjectURL(this.image.src);
    else this.image = html("img", { class: "vdit-forming", alt: "" });
    this.image.src = URL.createObjectURL(blob);
    if (this.image.isConnected) return;
    this.takes = this.tiles = [];
    this.stage.classList.remove("vdit-four");
    this.stage.replaceChildren(this.image);
    this.line.textContent = "";
  }

  /** Which of the four the pick names; asked often, since the widget may be typed into. */
  mark() {
    const pick = String(this.value("pick")?.value);
    this.takes.forEach((take, i) => {
      const chosen = this.takes.length > 1 && take.seed === pick;
      this.tiles[i].classList.toggle("vdit-picked", chosen);
      this.tiles[i].setAttribute("aria-pressed", chosen);
    });
  }

  value(name) {
    return this.node.widgets?.find((widget) => widget.name === name);
  }

  /** One undo step: the pick, and the seeds that are shown, which "control after generate" may have left behind. */
  pick(seed) {
    const shown = this.takes.map((take) => Number(take.seed));
    app.canvas.emitBeforeChange();
    this.set("pick", Number(seed));
    this.set("seed", shown[0]);
    this.set("control_after_generate", "fixed");
    app.canvas.emitAfterChange();
    this.line.textContent = [this.output.vdit_line[0], `Seed ${seed} is picked: run to send it on.`].join("\n");
    this.mark();
    app.graph.setDirtyCanvas(true, true);
  }

  set(name, value) {
    const widget = this.value(name);
    if (!widget || widget.value === value) return;
    widget.value = value;
    widget.callback?.(value);
  }

  play(seconds) {
    if (!this.root.isConnected || !this.takes.length) return;
    const { frames, fps } = this.takes[0];
    const frame = Math.min(frames - 1, Math.floor((seconds % (frames / fps + REST)) * fps));
    if (frame === this.frame) return;
    this.frame = frame;
    this.takes.forEach((take, i) => {
      const rows = Math.ceil(take.frames / take.columns);
      const x = take.columns > 1 ? (100 * (frame % take.columns)) / (take.columns - 1) : 0;
      const y = rows > 1 ? (100 * Math.floor(frame / take.columns)) / (rows - 1) : 0;
      this.tiles[i].querySelector(".vdit-film").style.backgroundPosition = `${x}% ${y}%`;
    });
    this.mark();
  }

  /** After a change of tab or an undo: what the node showed last, if the front end still knows. */
  restore() {
    const root = app.rootGraph ?? app.graph;
    const key = this.node.graph && this.node.graph !== root ? `${this.node.graph.id}:${this.node.id}` : String(this.node.id);
    const output = app.nodeOutputs?.[key];
    if (output?.vdit_takes && output !== this.output) this.show(output);
    // Nodes 2.0 keeps the element of the node from before an undo mounted: put this one in its place.
    if (!this.root.isConnected) {
      const stale = document.querySelector(`[data-node-id="${this.node.id}"] .vdit-takes`);
      if (stale && stale !== this.root) stale.replaceWith(this.root);
    }
  }
}

// One clock for all nodes: takes of several nodes play in step.
const open = new Set();
const began = performance.now();
function tick(now) {
  for (const ref of open) {
    const takes = ref.deref();
    if (!takes) open.delete(ref);
    else takes.play(Math.max(0, now - began) / 1000);
  }
  requestAnimationFrame(tick);
}
requestAnimationFrame(tick);

/** The takes of a node by its id in the prompt; "7:2" is node 2 in the subgraph of node 7. */
function takesOf(id) {
  let graph = app.rootGraph ?? app.graph;
  let node = null;
  for (const part of String(id).split(":")) {
    node = graph?.getNodeById(part) ?? graph?.getNodeById(Number(part));
    graph = node?.subgraph;
  }
  return node?.vditTakes;
}

app.registerExtension({
  name: "VDiT.DistillPreview",
  setup() {
    api.addEventListener("b_preview_with_metadata", ({ detail }) => {
      takesOf(detail.displayNodeId ?? detail.nodeId)?.forming(detail.blob);
    });
  },
  nodeCreated(node) {
    if (node.comfyClass !== NODE) return;
    const takes = new Takes(node);
    open.add(new WeakRef(takes));
    node.vditTakes = takes; // keeps it for as long as the node
    node.onDrawBackground = () => {}; // the canvas would draw the forming takes once more below
    const executed = node.onExecuted;
    node.onExecuted = function (output) {
      executed?.apply(this, arguments);
      takes.show(output);
    };
    const configured = node.onConfigure;
    node.onConfigure = function () {
      configured?.apply(this, arguments);
      for (const wait of [0, 100, 500]) setTimeout(() => takes.restore(), wait);
    };
    const [width, height] = node.computeSize();
    node.setSize([Math.max(width, 340, node.size[0]), Math.max(height, node.size[1])]);
  },
});

// img.contain-size: in Nodes 2.0 the front end's own live picture, which would show the forming takes once more.
const STYLE = `
.vdit-takes { display: flex; flex-direction: column; gap: 5px; box-sizing: border-box; padding: 5px; border-radius: 6px;
  background: var(--comfy-input-bg, #222); color: var(--input-text, #ddd); font: 12px/1.35 sans-serif; overflow: hidden; }
.vdit-stage { flex: 1 1 0; min-height: 0; display: grid; gap: 4px; place-items: center; }
.vdit-stage.vdit-four { grid-template: 1fr 1fr / 1fr 1fr; }
.vdit-take { position: relative; width: 100%; height: 100%; min-width: 0; min-height: 0; padding: 2px; border: 0; margin: 0;
  box-sizing: border-box; display: grid; place-items: center; background: none; border-radius: 5px; color: inherit;
  container-type: size; }
button.vdit-take { cursor: pointer; }
button.vdit-take:hover { background: #ffffff22; }
button.vdit-take:focus-visible { outline: 2px solid #6aa8ff; outline-offset: -2px; }
.vdit-picked .vdit-film { outline: 3px solid #6aa8ff; }
.vdit-film { --shape: 1; width: min(100cqw, 100cqh * var(--shape)); aspect-ratio: var(--shape); border-radius: 3px;
  background-repeat: no-repeat; }
.vdit-forming { max-width: 100%; max-height: 100%; min-height: 0; object-fit: contain; height: 100%; border-radius: 3px; }
.vdit-film { position: relative; }
[data-node-id]:has(.vdit-takes) img.contain-size, [data-node-id]:has(.vdit-takes) img.contain-size + div { display: none; }
.vdit-film span { position: absolute; left: 3px; bottom: 3px; padding: 0 5px; border-radius: 3px; background: #000a;
  color: #fff; font-size: 11px; }
.vdit-line { flex: none; white-space: pre-wrap; min-height: 2.7em; color: var(--descrip-text, #bbb); user-select: text; }
`;

function addStyle() {
  if (document.getElementById("vdit-takes-style")) return;
  document.head.append(html("style", { id: "vdit-takes-style" }, STYLE));
}
