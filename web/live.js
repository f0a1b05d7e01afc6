// The widget of VDiT Live: the scene plays on the node, the mouse grabs its bodies, and what was done is kept as JSON.
import { app } from "../../scripts/app.js";
import { addStyle, button, html, onDrag, svg } from "./drawing.js";
import { Hands, inSteps } from "./live_input.js";
import { Panel } from "./live_panel.js";
import { Playing } from "./live_playing.js";
import { KEYS, NO_PAINTER, STYLE, TOOLS, VIEWS, banner, keptLine, pushArrow } from "./live_shown.js";
import { findPicture, firstOf, upstream } from "./picture.js";
import { tools } from "./rows.js";

const SCENE = "VDIT_SCENE";
const MARKED = "VDiTSceneFromPicture"; // the node whose picture is shown before the first run
const POINTER = 15; // ms between messages of a drag: one for each picture of the screen
const SHAPE = 416 / 240; // width / height while nothing is known

class LivePlay extends Playing {
  build() {
    addStyle("vdit-live-style", STYLE);
    const send = (message) => this.session?.send(message);
    this.hands = new Hands({
      keys: (held) => send({ type: "keys", held }),
      actuators: () => (this.session ? this.panel.rows.length : 0),
      turn: (i, share) => this.panel.rows[i]?.turn(share),
      press: () => this.toggle(),
    });
    this.move = inSteps((place, when) => this.session?.send({ type: "move", ...place }, when), POINTER);
    this.says = html("span", { class: "vdit-says" });
    this.clock = html("span", { class: "vdit-clock" });
    this.buttons = {
      play: button("▶", "", () => this.toggle()),
      step: button("▶❙", "One frame on", () => send({ type: "step" })),
      reset: button("⟲", "Back to the beginning: everything as it was, and a new recording", () => this.reset()),
      keep: button("● Keep", "Writes what you did since the beginning into this node: the graph plays it again, to the bit",
        () => send({ type: "record" })),
      clear: button("Clear", "Removes what was kept", () => this.clear()),
      large: button("Large", "The whole screen; Escape: back", () => this.enlarge()),
    };
    this.tools = tools("What the mouse does", TOOLS, (tool) => {
      this.memory.tool = tool;
      this.render();
    });
    this.views = tools("What is shown", VIEWS, (show) => {
      this.memory.show = show;
      send({ type: "view", show });
      this.render();
    });
    this.canvas = html("canvas", { class: "vdit-live" });
    this.surface = svg("svg", { class: "vdit-surface" });
    this.panel = new Panel(this, send);
    const { play, step, reset, keep, clear, large } = this.buttons;
    this.root.append(
      html("div", { class: "vdit-bar" }, play, step, reset, this.clock, html("span", { style: "flex: 1" }), keep, clear, large),
      html("div", { class: "vdit-stage-live" }, this.canvas, this.surface),
      html("div", { class: "vdit-bar" }, this.tools, html("span", { style: "flex: 1" }), this.views),
      this.panel.root,
      html("div", { class: "vdit-bar vdit-lines" }, this.says),
    );
    onDrag(this, this.surface, (from, event) => this.begin(from, event), {
      twice: () => {},
      over: () => null,
    });
    this.root.addEventListener("keyup", (event) => this.hands.up(event));
    this.root.addEventListener("focusin", () => this.hands.take());
    this.root.addEventListener("focusout", () => this.hands.release());
    // The keys go on working after a button was clicked.
    this.root.addEventListener("click", ({ target, detail }) => detail && target.matches("button") && this.focus());
  }

  // Drawing

  findPicture() {
    const scene = upstream(this.node, firstOf(this.node, SCENE), SCENE).find((node) => node.type === MARKED);
    return (scene && findPicture(scene, firstOf(scene, "IMAGE"))) || "";
  }

  aspect() {
    if (this.about) return this.about.width / this.about.height;
    return this.picture ? super.aspect() : SHAPE;
  }

  hint() {
    if (this.session) return ["Opening the scene ..."];
    return this.memory.scene ? ["Press ▶ to play."] : ["Press Run once.", "Then the scene plays here."];
  }

  render() {
    if (!this.panel) return;
    this.layOut();
    const { x, y, width, height } = this.frame;
    const shown = this.hasFrame && Boolean(this.about);
    Object.assign(this.canvas.style, { left: `${x}px`, top: `${y}px`, width: `${width}px`, height: `${height}px` });
    this.canvas.hidden = !shown;
    const under = shown ? [] : [svg("svg", { x, y, width, height, overflow: "hidden" }, ...this.backdrop())];
    const line = this.overPicture(shown);
    this.surface.replaceChildren(...under, ...(line ? banner(line, this.frame) : []), ...(this.arrow ? pushArrow(this.arrow) : []));
    this.showState();
  }

  /** What is said over the picture; "" where it speaks for itself. */
  overPicture(shown) {
    const { paused, yielding } = this.state;
    if (!this.session) return shown || this.picture ? this.hint().join(" ") : "";
    if (yielding) return "Waits while the graph runs ...";
    if (!shown || !paused) return "";
    return this.seconds ? "Paused" : "Press ▶, or grab a thing";
  }

  showTime() {
    const { delay } = this.session ?? {};
    this.clock.textContent = this.session ? `${(this.seconds ?? 0).toFixed(1)} s${delay ? ` · ${Math.round(delay)} ms` : ""}` : "";
    this.clock.title = "Seconds since the beginning, and how long the picture follows the mouse";
  }

  showState() {
    const { play, step, reset, keep, clear } = this.buttons;
    const open = Boolean(this.session?.isOpen);
    const { paused, scale } = this.state;
    play.textContent = open && !paused ? "❚❚" : "▶";
    play.title = open && !paused ? "Pause (Space)" : "Play (Space)";
    play.disabled = !open && !this.memory.scene;
    step.disabled = !open || !paused;
    reset.disabled = keep.disabled = !open;
    clear.disabled = !this.count() && !this.fault;
    this.root.dataset.tool = open ? this.tool : "";
    this.tools.showValue(this.tool);
    this.views.showValue(this.show);
    for (const each of this.views.children) each.disabled = !open;
    const painted = this.views.children[VIEWS.findIndex(([show]) => show === "painted")];
    painted.disabled ||= !this.about?.painter;
    if (open) painted.title = painted.disabled ? NO_PAINTER : VIEWS.find(([show]) => show === "painted")[2];
    this.panel.root.classList.toggle("vdit-closed", !open);
    const wrong = this.fault ? `Not a recording: ${this.fault}` : this.problem;
    this.says.classList.toggle("vdit-fault", Boolean(wrong));
    this.says.textContent = wrong || [keptLine(this.data), open ? KEYS : "", scale < 1 ? "Drawn smaller, to keep up." : ""]
      .filter(Boolean).join(" ");
    this.says.title = this.says.textContent;
    this.showTime();
  }
}

app.registerExtension({
  name: "VDiT.Live",
  getCustomWidgets() {
    return {
      VDIT_LIVE(node, name) {
        const play = new LivePlay(node, name, "VDIT_LIVE", {
          minWidth: 480, minHeight: 560, label: "Live play: grab, throw and push the scene's bodies",
        });
        node.vditLive = play;
        return play.made;
      },
    };
  },
});
