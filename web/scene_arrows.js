// The widget that draws actions on a scene: an arrow on the picture for each push, throw, spin, drag and force.
import { app } from "../../scripts/app.js";
import { button, clamp, html, onDrag, round, svg } from "./drawing.js";
import { arrowheads, distance, simplified } from "./lines.js";
import { Outlines, colorOf, drawOutline, outlinePath, tag, topOf } from "./outlines.js";
import { findPicture, firstOf, outputOf, upstream } from "./picture.js";
import { PictureDrawing } from "./picture_drawing.js";
import { Rows, choice, numberField, tools } from "./rows.js";
import { readObjects } from "./scene_objects_text.js";

const KINDS = [
  ["push", "Push", "A knock where the arrow begins: the longer the arrow, the faster it goes, and it may topple"],
  ["throw", "Throw", "The object flies off along the arrow: the longer, the faster"],
  ["spin", "Spin", "The object turns: its front goes along the arrow"],
  ["drag", "Drag", "The object is pulled along the line that you draw"],
  ["force", "Force", "Pulls steadily along the arrow, for half a second"],
];
const NEW = { body: "", kind: "push", strength: 1, time: 0, toward: 0 };
const SCENE = "VDIT_SCENE";
const MARKED = "VDiTSceneFromPicture"; // the node whose picture and objects lie below the arrows
const FRAME = 832 / 480; // shape of the drawing while no picture is known
const HANDLE = 9; // px around a line or its ends that count as a hit
const OUTSIDE = 0.5; // how far an arrow may leave the picture, as a share of its size

class SceneArrows extends PictureDrawing {
  build() {
    this.marked = { text: "", drawn: [], objects: [] };
    this.outlines = new Outlines(() => this.render());
    this.says = html("span", { class: "vdit-says" });
    this.tools = tools("Kind of arrow", KINDS, (kind) => {
      this.kind = kind;
      this.render();
    });
    this.buttons = {
      undo: button("Undo", "Takes back the last edit of this drawing", () => this.undo()),
      clear: button("Clear", "Removes all arrows", () => this.clear()),
    };
    this.surface = svg("svg", { class: "vdit-surface" });
    this.rows = new Rows(this, "18px 68px minmax(60px, 1fr) 60px 52px 60px 22px",
      ["", "what", "to which object", "strength", "at (s)", "toward", ""],
      ["1.  Choose Push, Throw, Spin, Drag or Force.", "2.  Drag an arrow on the picture, beginning on a thing.",
        "3.  Set here how strong it is, and when."], (i) => this.row(i));
    this.root.append(
      html("div", { class: "vdit-bar" }, this.tools, html("span", { style: "flex: 1" }), ...Object.values(this.buttons)),
      this.surface,
      html("div", { class: "vdit-bar vdit-lines" }, this.says),
      this.rows.root,
    );
    onDrag(this, this.surface, (from) => this.begin(from), {
      twice: () => {},
      over: (point) => (this.grip(point) ? "move" : this.hit(point) >= 0 ? "pointer" : null),
    });
  }

  row(i) {
    const edit = (field) => (value) => this.change(() => (this.data.arrows[i][field] = value ?? NEW[field]));
    const badge = html("span", { class: "vdit-badge" }, `${i + 1}`);
    badge.style.background = colorOf(i);
    const kind = choice(this, `Kind of arrow ${i + 1}`, KINDS.map(([, name, text]) => `${name}: ${text}`).join("\n"),
      KINDS.map(([value, name]) => [value, name]), edit("kind"));
    const body = choice(this, `Object of arrow ${i + 1}`, "Which object it acts on; at first the one on which the arrow begins", [],
      edit("body"));
    const strength = numberField(this, `Strength of arrow ${i + 1}`, "1: the object goes as far as the arrow is long in half a second. 2: twice as far",
      { min: 0, max: 100, step: 0.1 }, edit("strength"));
    const time = numberField(this, `Time of arrow ${i + 1}`, "When it happens, in seconds from the start",
      { min: 0, max: 120, step: 0.1 }, edit("time"));
    const toward = numberField(this, `Toward of arrow ${i + 1}`, "Out of the picture: 1 towards you, -1 away from you, 0 neither",
      { min: -1, max: 1, step: 0.1 }, edit("toward"));
    const remove = html("button", { type: "button", class: "vdit-plain", title: "Removes this arrow" }, "✕");
    remove.addEventListener("click", () => this.remove(i));
    const show = (arrow) => {
      const names = this.marked.objects.map(({ name }) => name);
      const others = arrow.body && !names.includes(arrow.body) ? [arrow.body] : [];
      body.again([["", this.target({ ...arrow, body: "" })?.name ?? "where it begins"], ...[...names, ...others].map((name) => [name, name])]);
      for (const [element, field] of [[kind, "kind"], [body, "body"], [strength, "strength"], [time, "time"], [toward, "toward"]]) {
        element.showValue(arrow[field]);
      }
    };
    return { cells: [badge, kind, body, strength, time, toward, remove], show };
  }

  // The value

  read(text) {
    if (!text) return { arrows: [] };
    const data = JSON.parse(text);
    if (data?.version !== 1 || !Array.isArray(data.arrows)) throw new Error('expected {"version": 1, "arrows": [...]}');
    return { arrows: data.arrows.map((arrow, i) => {
      const good = arrow?.points?.length && arrow.points.every((point) => point?.length === 2 && point.every(Number.isFinite));
      if (!good) throw new Error(`arrow ${i + 1} has no points`);
      return { ...NEW, ...arrow };
    }) };
  }

  write({ arrows }) {
    if (!arrows.length) return "";
    return JSON.stringify({ version: 1, arrows: arrows.map(({ body, kind, points, strength, time, toward, duration }) => ({
      body, kind, points: points.map(([x, y]) => [round(x), round(y)]), strength, time, toward, duration, // only where it is said
    })) });
  }

  count() {
    return this.data.arrows.length;
  }

  get selected() {
    return this.memory.selected ?? -1;
  }

  set selected(index) {
    this.memory.selected = index;
  }

  get kind() {
    return this.memory.kind ?? "push";
  }

  set kind(kind) {
    this.memory.kind = kind;
  }

  // Editing

  remove(index = this.selected) {
    if (!this.data.arrows[index]) return;
    this.change(() => {
      this.data.arrows.splice(index, 1);
      this.selected = -1;
    });
  }

  nudge({ key, shiftKey }) {
    const by = shiftKey ? 0.02 : 0.004;
    const [dx, dy] = { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, -by], ArrowDown: [0, by] }[key];
    this.change(() => this.shift(this.data.arrows[this.selected].points, dx, dy));
  }

  /** Moves a whole arrow; its start stays in the picture. */
  shift(points, dx, dy) {
    const [x, y] = [clamp(points[0][0] + dx, 0, 1) - points[0][0], clamp(points[0][1] + dy, 0, 1) - points[0][1]];
    this.data.arrows[this.selected].points = points.map((point) => [point[0] + x, point[1] + y]);
  }

  begin(from) {
    const place = this.toPicture(from);
    const grip = this.grip(from);
    if (grip) {
      const arrow = this.data.arrows[this.selected];
      const { points } = arrow;
      const move = (point) => {
        const [x, y] = this.toPicture(point);
        if (grip === "start") this.shift(points, x - place[0], y - place[1]);
        else arrow.points = [...points.slice(0, -1), reach([x, y])];
        this.preview();
      };
      return { move, end: () => this.commit(), click: () => {} };
    }
    let arrow = null;
    const move = (point) => {
      this.before ??= this.text;
      if (!arrow) {
        arrow = { ...NEW, kind: this.kind, points: [place.map((value) => clamp(value, 0, 1))] };
        this.selected = this.data.arrows.push(arrow) - 1;
      }
      const next = reach(this.toPicture(point));
      arrow.points = this.kind === "drag" ? [...arrow.points, next] : [arrow.points[0], next];
      this.preview();
    };
    const end = () => {
      const { width, height } = this.frame;
      arrow.points = simplified(arrow.points, ([x, y]) => [x * width, y * height]);
      this.commit();
    };
    return { move, end, click: (point) => this.select(this.hit(point)) };
  }

  /** "start" or "tip" where a point is on an end of the selected arrow. */
  grip(point) {
    const points = this.data.arrows[this.selected]?.points.map((each) => this.toScreen(each));
    if (!points) return null;
    return near(point, points[0]) ? "start" : near(point, points.at(-1)) ? "tip" : null;
  }

  /** The arrow whose line is nearest to a point within HANDLE pixels, or -1. */
  hit(point) {
    const away = this.data.arrows.map(({ points }) => distance(point, points.map((each) => this.toScreen(each))));
    const least = Math.min(...away);
    return least < HANDLE ? away.indexOf(least) : -1;
  }

  /** The object on which an arrow acts, those that can move first; undefined where that is not known. */
  target({ body, points }) {
    const { objects } = this.marked;
    if (body) return objects.find(({ name }) => name === body) ?? { name: body };
    const movable = objects.filter(({ fixed }) => !fixed);
    const at = (some) => some[this.outlines.at(some, points[0], this.aspect())];
    return at(movable) ?? at(objects);
  }

  // The scene below the arrows

  sceneNode() {
    return upstream(this.node, firstOf(this.node, SCENE), SCENE).find((node) => node.type === MARKED);
  }

  findPicture() {
    const scene = this.sceneNode();
    return (scene && findPicture(scene, firstOf(scene, "IMAGE"))) || findPicture(this.node, firstOf(this.node, SCENE), SCENE);
  }

  look() {
    super.look();
    const scene = this.sceneNode();
    const text = scene?.widgets?.find((widget) => widget.name === "objects")?.value ?? "";
    const bodies = outputOf(scene)?.vdit_bodies; // with those of masks that other nodes made
    const changed = text !== this.marked.text || bodies !== this.marked.bodies;
    if (changed) this.marked = { text, bodies, ...named(text, bodies) };
    if (this.outlines.ask(this.picture?.url ?? "", this.marked.drawn, text, bodies) || changed) this.render();
  }

  aspect() {
    return this.picture ? super.aspect() : FRAME;
  }

  hint() {
    if (this.missing) return ["The picture is not there any more:", "choose another one in Load Image."];
    return this.count() ? [] : ["No picture of this scene yet:", "press Run once and it is shown here.", "You can draw already."];
  }

  // Drawing

  render() {
    if (!this.rows) return;
    this.layOut();
    const { x, y, width, height } = this.frame;
    const drawn = svg("svg", { x, y, width, height, overflow: "hidden" }, ...this.backdrop());
    const marks = svg("g");
    for (const object of this.picture ? this.marked.objects : []) this.drawObject(object, drawn, marks);
    this.data.arrows.forEach((arrow, i) => this.drawArrow(arrow, i, marks));
    this.surface.replaceChildren(drawn, marks);
    this.showState();
  }

  drawObject(object, drawn, marks) {
    const found = this.outlines.of(object);
    const local = ([x, y]) => ({ x: x * this.frame.width, y: y * this.frame.height });
    if (found?.outlines) drawn.append(...drawOutline(outlinePath(found.outlines, local), "#fff", { fill: 0.06, width: 1.2 }));
    const top = this.toScreen(topOf(object, found));
    marks.append(tag(object.name, top.x - 5 - 3.1 * object.name.length, top.y - 20, "#fff6", this.frame));
  }

  drawArrow(arrow, i, marks) {
    const color = colorOf(i);
    const chosen = i === this.selected;
    const line = arrow.points.map((point) => this.toScreen(point));
    const size = 8 + 6 * Math.sqrt(arrow.strength); // px of the head's side, so that twice the strength is seen
    const every = arrow.kind === "force" ? 30 : Infinity; // a force goes on: several heads
    const heads = arrowheads(line, every, size).map((head) => path(head)).join("");
    const ring = arrow.kind === "spin" ? circle(line[0], 15) : "";
    for (const [stroke, width] of [["#000b", chosen ? 8 : 6], ...(chosen ? [["#fff", 6]] : []), [color, 3]]) {
      marks.append(svg("path", { class: "vdit-arrow", d: path(line) + heads + ring, fill: "none", stroke, "stroke-width": width,
        "stroke-linecap": "round", "stroke-linejoin": "round" }));
    }
    marks.append(
      svg("circle", { class: "vdit-start", cx: line[0].x, cy: line[0].y, r: 8, fill: color, stroke: chosen ? "#fff" : "#000a",
        "stroke-width": chosen ? 2 : 1 }),
      svg("text", { x: line[0].x, y: line[0].y + 4, "text-anchor": "middle", style: "fill:#111;font-weight:bold" }, `${i + 1}`));
    const words = arrow.time ? `${arrow.kind} at ${arrow.time} s` : arrow.kind;
    marks.append(tag(words, line[0].x - 5 - 3.1 * words.length, line[0].y + 12, color, this.frame));
  }

  showState() {
    const count = this.count();
    const arrow = this.data.arrows[this.selected];
    const target = arrow && this.target(arrow);
    const kind = KINDS.find(([each]) => each === arrow?.kind)?.[1] ?? "";
    const wrong = !arrow || (target && !target.fixed) ? "" : target
      ? `${target.name} is fixed: choose another object, or let it move in the scene's node`
      : "The arrow begins on no marked object: drag its number onto one, or choose one below";
    this.says.classList.toggle("vdit-fault", Boolean(this.fault));
    this.says.classList.toggle("vdit-warning", Boolean(wrong));
    this.says.textContent = this.fault
      ? `Not a list of arrows: ${this.fault}`
      : wrong || (arrow ? `${kind}: ${target.name}` : count ? "Click an arrow to change it, or drag another one" : "");
    this.says.title = this.fault || KINDS.map(([, label, text]) => `${label}: ${text}.`).join("\n")
      + "\nDrag an arrow's number: move it. Drag its tip: aim it. Delete: removes it. Arrow keys: nudge it. Ctrl+Z: undo.";
    this.tools.showValue(this.kind);
    this.buttons.undo.disabled = !this.canUndo();
    this.buttons.clear.disabled = !count && !this.fault;
    this.rows.show(this.data.arrows, this.selected);
  }
}

/** The objects that are drawn in the scene's widget, and those with the bodies that it had when it last ran. */
function named(text, bodies = []) {
  let drawn = [];
  try {
    drawn = readObjects(text).objects;
  } catch {
    // the widget that holds this text says what is wrong with it
  }
  const others = bodies.filter(({ name }) => !drawn.some((object) => object.name === name));
  return { drawn, objects: [...drawn, ...others.map(({ name, fixed }) => ({ name, fixed, box: null, strokes: [] }))] };
}

const near = (a, b) => Math.hypot(a.x - b.x, a.y - b.y) <= HANDLE + 2;
const reach = (point) => point.map((value) => clamp(value, -OUTSIDE, 1 + OUTSIDE));
const path = (line) => "M" + line.map(({ x, y }) => `${round(x, 2)} ${round(y, 2)}`).join("L");
const circle = ({ x, y }, r) => `M${x - r} ${y}a${r} ${r} 0 1 1 ${2 * r} 0a${r} ${r} 0 1 1 ${-2 * r} 0`;

app.registerExtension({
  name: "VDiT.SceneArrows",
  getCustomWidgets() {
    return {
      VDIT_ARROWS: (node, name) => new SceneArrows(node, name, "VDIT_ARROWS", {
        minWidth: 480, minHeight: 460, label: "Arrows: draw on the picture what happens",
      }).made,
    };
  },
});
