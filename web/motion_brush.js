// The motion brush widget: strokes over the start picture, each the path along which what it covers will travel.
import { app } from "../../scripts/app.js";
import { button, clamp, html, onDrag, player, round, slider, svg } from "./drawing.js";
import { along, arrowheads, distance, simplified } from "./lines.js";
import { PictureDrawing } from "./picture_drawing.js";

const COLORS = ["#ff9f43", "#4fc3f7", "#a5d66a", "#f48fb1", "#ffd54f", "#b39ddb"];
const NEW = { radius: 0.1, falloff: 0.5, start: 0, end: 1 };
const HANDLE = 9; // px around a line or a start dot that count as a hit
const ARROWS = 46; // px between arrowheads
const MAX_OUTSIDE = 0.5; // how far a stroke may leave the picture, as a share of its size
const SHORTEST = 0.02; // least time between start and end, as a share of the clip

let made = 0;

class MotionBrush extends PictureDrawing {
  build() {
    this.next = { ...NEW };
    this.hold = `vdit-brush-${++made}`;
    this.says = html("span", { class: "vdit-says" });
    this.buttons = {
      play: button("▶", "Plays the motion once", player((t) => this.playAt(t))),
      undo: button("Undo", "Takes back the last edit of this drawing", () => this.undo()),
      remove: button("Delete", "Deletes the selected stroke (Delete key)", () => this.remove()),
      clear: button("Clear", "Deletes all strokes", () => this.clear()),
    };
    this.surface = svg("svg", { class: "vdit-surface" });
    const share = (field, edit) => [(value) => this.adjust(() => edit(this.target(), value)), () => this.settle()];
    this.sliders = {
      radius: slider("Size", "Radius of the brush, in percent of the picture's width",
        { min: 0.01, max: 0.5, step: 0.005 }, ...share("radius", (stroke, value) => (stroke.radius = value))),
      falloff: slider("Softness", "0 %: all that the brush covers moves alike. 100 %: the motion fades out towards its rim",
        {}, ...share("falloff", (stroke, value) => (stroke.falloff = value))),
      start: slider("From", "When the motion begins, in percent of the clip", {},
        ...share("start", (stroke, value) => (stroke.start = Math.min(value, stroke.end - SHORTEST)))),
      end: slider("To", "When the motion has arrived, in percent of the clip", {},
        ...share("end", (stroke, value) => (stroke.end = Math.max(value, stroke.start + SHORTEST)))),
    };
    const { radius, falloff, start, end } = this.sliders;
    this.root.append(
      html("div", { class: "vdit-bar" }, this.says, ...Object.values(this.buttons)),
      this.surface,
      html("div", { class: "vdit-bar" }, radius, falloff),
      html("div", { class: "vdit-bar" }, start, end),
    );
    onDrag(this, this.surface, (from) => this.begin(from), {
      twice: (point) => this.pin(point),
      over: (point) => (this.grips(point) ? "move" : this.hit(point) >= 0 ? "pointer" : null),
    });
  }

  // The value

  read(text) {
    if (!text) return { strokes: [] };
    const data = JSON.parse(text);
    if (data?.version !== 1 || !Array.isArray(data.strokes)) throw new Error('expected {"version": 1, "strokes": [...]}');
    const strokes = data.strokes.map((stroke, i) => {
      const points = stroke?.points;
      const good = Array.isArray(points) && points.length && points.flat().length === 2 * points.length;
      if (!good || !points.flat().every(Number.isFinite)) throw new Error(`stroke ${i + 1} has no points`);
      return { ...NEW, ...stroke, points: points.map(([x, y]) => [x, y]) };
    });
    return { strokes };
  }

  write({ strokes }) {
    if (!strokes.length) return "";
    return JSON.stringify({
      version: 1,
      strokes: strokes.map(({ points, radius, falloff, start, end }) => ({
        points: points.map(([x, y]) => [round(x), round(y)]),
        radius: round(radius),
        falloff: round(falloff),
        start: round(start),
        end: round(end),
      })),
    });
  }

  count() {
    return this.data.strokes.length;
  }

  // Editing

  /** What the sliders show and change: the selected stroke, else the settings of the next one. */
  target() {
    return this.data.strokes[this.selected] ?? this.next;
  }

  adjust(edit) {
    edit();
    const { radius, falloff, start, end } = this.target();
    this.next = { radius, falloff, start, end };
    if (this.selected >= 0) this.preview();
    else this.render();
  }

  settle() {
    if (this.selected >= 0) this.commit();
  }

  remove() {
    if (this.selected < 0) return;
    this.change(() => {
      this.data.strokes.splice(this.selected, 1);
      this.selected = -1;
    });
  }

  nudge({ key, shiftKey }) {
    const by = shiftKey ? 0.05 : 0.01;
    const step = { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, -by], ArrowDown: [0, by] }[key];
    this.change(() => this.shift(this.data.strokes[this.selected].points, ...step));
  }

  /** Moves a whole stroke; its start stays in the picture and the rest within MAX_OUTSIDE of it. */
  shift(points, dx, dy) {
    const within = (by, values) => {
      const low = Math.max(-values[0], -MAX_OUTSIDE - Math.min(...values));
      const high = Math.min(1 - values[0], 1 + MAX_OUTSIDE - Math.max(...values));
      return low <= high ? clamp(by, low, high) : 0;
    };
    const x = within(dx, points.map((point) => point[0]));
    const y = within(dy, points.map((point) => point[1]));
    this.data.strokes[this.selected].points = points.map((point) => [point[0] + x, point[1] + y]);
  }

  begin(from) {
    const place = this.toPicture(from);
    if (this.grips(from)) {
      const points = this.data.strokes[this.selected].points;
      const move = (point) => {
        const [x, y] = this.toPicture(point);
        this.shift(points, x - place[0], y - place[1]);
        this.preview();
      };
      return { move, end: () => this.commit(), click: () => {} };
    }
    let stroke = null;
    return {
      move: (point) => {
        if (!stroke) {
          this.before ??= this.text;
          stroke = { ...this.next, points: [inside(place)] };
          this.selected = this.data.strokes.push(stroke) - 1;
        }
        stroke.points.push(this.toPicture(point).map((value) => clamp(value, -MAX_OUTSIDE, 1 + MAX_OUTSIDE)));
        this.preview();
      },
      end: () => {
        const { width, height } = this.frame;
        stroke.points = simplified(stroke.points, (point) => [point[0] * width, point[1] * height]);
        this.commit();
      },
      click: (point) => this.select(this.hit(point)),
    };
  }

  /** Adds a stroke of one point, which keeps that place still, unless a stroke is there already. */
  pin(point) {
    if (this.hit(point) >= 0) return;
    this.change(() => {
      this.selected = this.data.strokes.push({ ...this.next, points: [inside(this.toPicture(point))] }) - 1;
    });
  }

  /** Whether a point is on the number of the selected stroke. */
  grips(point) {
    const selected = this.data.strokes[this.selected];
    return Boolean(selected) && near(point, this.toScreen(selected.points[0]));
  }

  /** The stroke whose line is nearest to a point within HANDLE pixels, or -1. */
  hit(point) {
    let best = -1;
    let least = HANDLE;
    this.data.strokes.forEach((stroke, i) => {
      const away = distance(point, stroke.points.map((each) => this.toScreen(each)));
      if (away < least) [best, least] = [i, away];
    });
    return best;
  }

  // Drawing

  /** Width / height of the surface: the video's where the node has these inputs, else the picture's. */
  aspect() {
    const size = (name) => Number(this.node.widgets?.find((widget) => widget.name === name)?.value);
    const stated = size("width") / size("height");
    if (Number.isFinite(stated) && stated > 0) return stated;
    return super.aspect();
  }

  hint() {
    if (this.count()) return [];
    return ["No picture yet: connect one to start_image,", "or press Run once and it is shown here.", "You can draw already."];
  }

  render() {
    if (!this.surface) return;
    this.layOut();
    const { x, y, width, height } = this.frame;
    const defs = svg("defs");
    const drawn = svg("svg", { x, y, width, height, overflow: "hidden" }, ...this.backdrop());
    const marks = svg("g");
    this.data.strokes.forEach((stroke, i) => this.drawStroke(stroke, i, defs, drawn, marks));
    this.ghost = svg("g");
    this.surface.replaceChildren(defs, drawn, marks, this.ghost);
    this.showState();
  }

  drawStroke(stroke, i, defs, drawn, marks) {
    const color = COLORS[i % COLORS.length];
    const active = i === this.selected;
    const line = stroke.points.map((point) => this.toScreen(point));
    const radius = stroke.radius * this.frame.width;
    const local = line.map((point) => ({ x: point.x - this.frame.x, y: point.y - this.frame.y }));
    const id = `${this.hold}-${i}`;
    defs.append(svg("radialGradient", { id },
      svg("stop", { offset: 0, "stop-color": color, "stop-opacity": 0.55 }),
      svg("stop", { offset: Math.min(1 - stroke.falloff, 0.999), "stop-color": color, "stop-opacity": 0.55 }),
      svg("stop", { offset: 1, "stop-color": color, "stop-opacity": stroke.falloff ? 0 : 0.55 })));
    drawn.append(
      svg("path", { d: path(local), fill: "none", stroke: color, "stroke-opacity": active ? 0.2 : 0.1,
        "stroke-width": 2 * radius, "stroke-linecap": "round", "stroke-linejoin": "round" }),
      svg("circle", { cx: local[0].x, cy: local[0].y, r: radius, fill: `url(#${id})`, stroke: color,
        "stroke-opacity": active ? 0.9 : 0.4 }),
      svg("circle", { cx: local.at(-1).x, cy: local.at(-1).y, r: radius, fill: "none", stroke: color,
        "stroke-opacity": active ? 0.9 : 0.4, "stroke-dasharray": "4 4" }));
    const heads = arrowheads(line, ARROWS).map((head) => path(head)).join("");
    const width = active ? 3 : 2;
    for (const [stroked, wide] of [["#000a", width + 2.5], [active ? "#fff" : color, width]]) {
      marks.append(svg("path", { d: path(line) + heads, fill: "none", stroke: stroked, "stroke-width": wide,
        "stroke-linecap": "round", "stroke-linejoin": "round" }));
    }
    marks.append(
      svg("circle", { class: "vdit-start", cx: line[0].x, cy: line[0].y, r: 8, fill: color, stroke: active ? "#fff" : "#000a",
        "stroke-width": active ? 2 : 1 }),
      svg("text", { x: line[0].x, y: line[0].y + 4, "text-anchor": "middle", style: "fill:#111;font-weight:bold" }, `${i + 1}`));
  }

  showState() {
    const count = this.count();
    const stroke = this.data.strokes[this.selected];
    this.says.classList.toggle("vdit-fault", Boolean(this.fault));
    this.says.textContent = this.fault
      ? `Not a drawing: ${this.fault}`
      : stroke
        ? `Stroke ${this.selected + 1} of ${count}${stroke.points.length > 1 ? "" : ": stays still"}`
        : count
          ? "Click a stroke to change it"
          : "Drag what shall move";
    this.says.title = this.fault || "Drag: draw a stroke from where something is to where it goes. Double-click: keep a place still. "
      + "Click a stroke: select it. "
      + "Drag a selected stroke's number: move it. Arrow keys: nudge it. Delete: delete it. Ctrl+Z: undo.";
    this.buttons.play.disabled = this.buttons.clear.disabled = !count;
    if (this.fault) this.buttons.clear.disabled = false;
    this.buttons.undo.disabled = !this.canUndo();
    this.buttons.remove.disabled = !stroke;
    const { radius, falloff, start, end } = this.target();
    this.sliders.radius.show(radius, `${round(radius * 100, 1)} %`);
    this.sliders.falloff.show(falloff);
    this.sliders.start.show(start);
    this.sliders.end.show(end);
  }

  playAt(t) {
    const dots = t === null ? [] : this.data.strokes.map((stroke, i) => {
      const share = clamp((t - stroke.start) / Math.max(stroke.end - stroke.start, 1e-6), 0, 1);
      const { x, y } = along(stroke.points.map((point) => this.toScreen(point)), share);
      return svg("circle", { cx: x, cy: y, r: Math.max(4, stroke.radius * this.frame.width), fill: COLORS[i % COLORS.length],
        "fill-opacity": 0.6, stroke: "#fff" });
    });
    this.ghost.replaceChildren(...dots);
    this.buttons.play.textContent = t === null ? "▶" : "■";
  }
}

const near = (a, b) => Math.hypot(a.x - b.x, a.y - b.y) <= HANDLE + 2;
const inside = ([x, y]) => [clamp(x, 0, 1), clamp(y, 0, 1)];
const path = (line) => {
  const points = line.length > 1 ? line : [line[0], line[0]];
  return "M" + points.map(({ x, y }) => `${round(x, 2)} ${round(y, 2)}`).join("L");
};

app.registerExtension({
  name: "VDiT.MotionBrush",
  getCustomWidgets() {
    return {
      VDIT_BRUSH(node, name) {
        return new MotionBrush(node, name, "VDIT_BRUSH", {
          minWidth: 400, minHeight: 430, label: "Motion brush: draw over the picture how things move",
        }).made;
      },
    };
  },
});
