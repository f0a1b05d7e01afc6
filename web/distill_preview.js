// The takes of VDiT Distill Preview, played side by side in step; with four seeds a click picks the one that is sent on.
import { app } from "../../scripts/app.js";
import { addStyle, html } from "./drawing.js";
import { Screen, addressOf, giveScreen } from "./screen.js";

const NODE = "VDiTDistillPreview";
const NAME = "vdit_takes";
const HEIGHT = 300; // px at least, on the node
const REST = 0.6; // seconds on the last frame before it begins again

class Takes extends Screen {
  constructor(node) {
    super(node, NAME, "VDIT_TAKES", { label: "Takes", height: HEIGHT });
    addStyle("vdit-takes-style", STYLE);
    this.show(null);
  }

  /** output: what the node sent when it had run. */
  show(output) {
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
    const url = addressOf(take);
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

  forming(blob) {
    this.takes = this.tiles = [];
    this.stage.classList.remove("vdit-four");
    super.forming(blob);
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

giveScreen("VDiT.DistillPreview", NODE, (node) => {
  const takes = new Takes(node);
  open.add(new WeakRef(takes));
  return takes;
});

const STYLE = `
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
.vdit-film { position: relative; }
.vdit-film span { position: absolute; left: 3px; bottom: 3px; padding: 0 5px; border-radius: 3px; background: #000a;
  color: #fff; font-size: 11px; }
`;
