// The widget that marks objects on a picture: boxes, brush strokes, clicks, what each is made of, and the horizon.
import { app } from "../../scripts/app.js";
import { button, clamp, html, onDrag, round, slider, svg } from "./drawing.js";
import { simplified } from "./lines.js";
import { Outlines, colorOf, drawOutline, outlinePath, tag, topOf } from "./outlines.js";
import { findPicture, firstOf, outputOf } from "./picture.js";
import { PictureDrawing } from "./picture_drawing.js";
import { Rows, choice, numberField, textField, toggle, tools } from "./rows.js";
import { MATERIALS, newObject, readObjects, uniqueName, writeObjects } from "./scene_objects_text.js";

const TOOLS = [
  ["box", "Box", "Drag a box around a thing: a new object. Click a thing to select it; drag a corner of its box to change it"],
  ["brush", "Brush", "Paint over a thing: what you paint belongs to the selected object, or to a new one"],
  ["click", "Click", "Click a thing: the place belongs to the selected object, or to a new one"],
  ["erase", "Erase", "Paint over what does not belong to the selected object"],
];
const GUESSED_HORIZON = 0.35; // where the line waits until the server has guessed, as a share of the picture's height
const GRIP = 9; // px around a corner or the horizon's grip that count as a hit
const SMALLEST = 0.01; // side of a box, as a share of the picture
const DOT = 0.02; // diameter of a click, as a share of the picture's width

class SceneObjects extends PictureDrawing {
  build() {
    this.outlines = new Outlines(() => this.render());
    this.says = html("span", { class: "vdit-says" });
    this.tools = tools("Tool", TOOLS, (tool) => {
      this.tool = tool;
      this.render();
    });
    this.buttons = {
      add: button("+ New", "The next stroke or click begins a new object", () => this.select(-1)),
      undo: button("Undo", "Takes back the last edit of this drawing", () => this.undo()),
      clear: button("Clear", "Removes all objects", () => this.clear()),
    };
    this.size = slider("Size", "Width of the brush, in percent of the picture's width", { min: 0.005, max: 0.2, step: 0.005 },
      (value) => {
        this.memory.size = value;
        this.render();
      }, () => {});
    this.surface = svg("svg", { class: "vdit-surface" });
    this.rows = new Rows(this, "18px minmax(60px, 1fr) 84px 50px 66px 22px", ["", "name", "made of", "", "thick (m)", ""],
      ["1.  Drag a box around each thing that shall move.", "2.  Brush and Erase mend its outline.", "3.  Say here what it is made of."],
      (i) => this.row(i));
    this.root.append(
      html("div", { class: "vdit-bar" }, this.tools, this.size, ...Object.values(this.buttons)),
      this.surface,
      html("div", { class: "vdit-bar vdit-lines" }, this.says),
      this.rows.root,
    );
    onDrag(this, this.surface, (from) => this.begin(from), {
      twice: (point) => this.onHorizon(point) && this.moveHorizon(null),
      over: (point) => {
        this.follow(point);
        return this.onHorizon(point) ? "ns-resize" : this.corner(point) ? "nwse-resize" : this.ringed() ? "none" : null;
      },
    });
    this.surface.addEventListener("pointerleave", () => this.follow(null));
  }

  row(i) {
    const edit = (change) => this.change(() => change(this.data.objects[i]));
    const badge = html("span", { class: "vdit-badge" }, `${i + 1}`);
    badge.style.background = colorOf(i);
    const name = textField(this, `Name of object ${i + 1}`, "What it is called in actions, for example cup",
      (value) => edit((object) => (object.name = uniqueName(value, this.data.objects, i))));
    const material = choice(this, `Material of object ${i + 1}`, "Decides weight, friction, bounce, and whether it breaks",
      MATERIALS.map((each) => [each, each]), (value) => edit((object) => (object.material = value)));
    const fixed = toggle("fixed", "On: it never moves, others fall on it or bounce off",
      () => edit((object) => (object.fixed = !object.fixed)));
    const thickness = numberField(this, `Thickness of object ${i + 1}`, "From front to back in metres; empty: guessed",
      { min: 0.0001, max: 10000, step: "any", placeholder: "auto" }, (value) => edit((object) => (object.thickness = value)));
    const remove = html("button", { type: "button", class: "vdit-plain", title: "Removes this object" }, "✕");
    remove.addEventListener("click", () => this.remove(i));
    const show = (object) => {
      name.showValue(object.name);
      material.showValue(object.material);
      fixed.showValue(object.fixed);
      thickness.showValue(object.thickness);
    };
    return { cells: [badge, name, material, fixed, thickness, remove], show };
  }

  // The value

  read(text) {
    return readObjects(text);
  }

  write(data) {
    return writeObjects(data);
  }

  count() {
    return this.data.objects.length;
  }

  // What is remembered over the graph's undo, so that the next stroke still goes to the same object

  get selected() {
    return this.memory.selected ?? -1;
  }

  set selected(index) {
    this.memory.selected = index;
  }

  get tool() {
    return this.memory.tool ?? "box";
  }

  set tool(name) {
    this.memory.tool = name;
  }

  object() {
    return this.data.objects[this.selected];
  }

  // Editing

  remove(index = this.selected) {
    if (!this.data.objects[index]) return;
    this.change(() => {
      this.data.objects.splice(index, 1);
      this.selected = -1;
    });
  }

  nudge({ key, shiftKey }) {
    const by = shiftKey ? 0.02 : 0.004;
    const [dx, dy] = { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, -by], ArrowDown: [0, by] }[key];
    const moved = ([x, y]) => [clamp(x + dx, 0, 1), clamp(y + dy, 0, 1)];
    this.change(() => {
      const object = this.object();
      if (object.box) object.box = [...moved(object.box.slice(0, 2)), ...moved(object.box.slice(2))];
      for (const stroke of object.strokes) stroke.points = stroke.points.map(moved);
    });
  }

  begin(from) {
    if (this.onHorizon(from)) {
      const move = (point) => this.moveHorizon(round(clamp(this.toPicture(point)[1], -5, 5)), false);
      return { move, end: () => this.commit(), click: () => {} };
    }
    const corner = this.corner(from);
    if (corner) return this.dragBox(corner.opposite, () => this.object());
    if (this.tool === "box") {
      return { ...this.dragBox(inside(this.toPicture(from)), () => this.grow(newObject(this.data.objects, {}))),
        click: (point) => this.select(this.under(point)) };
    }
    if (this.tool === "click") return { click: (point) => this.dab(point), end: (point) => this.dab(point) };
    return this.dragStroke(from);
  }

  /** Pulls a box open from one corner; target() gives its object, once the pointer has moved. */
  dragBox([x0, y0], target) {
    let object = null;
    const move = (point) => {
      this.before ??= this.text;
      object ??= target();
      const [x, y] = inside(this.toPicture(point));
      const side = (a, b, low) => (Math.abs(b - a) < SMALLEST ? [Math.min(a, 1 - SMALLEST), Math.min(a, 1 - SMALLEST) + SMALLEST] : [a, b])
        .sort((p, q) => p - q)[low];
      object.box = [side(x0, x, 0), side(y0, y, 0), side(x0, x, 1), side(y0, y, 1)];
      this.preview();
    };
    return { move, end: () => this.commit(), click: () => {} };
  }

  dragStroke(from) {
    const erase = this.tool === "erase";
    if (erase && !this.object()) return { click: (point) => this.select(this.under(point)) };
    this.before ??= this.text;
    const stroke = { points: [inside(this.toPicture(from))], size: this.brushSize(), erase };
    (this.object() ?? this.grow(newObject(this.data.objects, {}))).strokes.push(stroke);
    this.preview();
    const end = () => {
      const { width, height } = this.frame;
      stroke.points = simplified(stroke.points, ([x, y]) => [x * width, y * height]);
      this.commit();
    };
    const move = (point) => {
      stroke.points.push(inside(this.toPicture(point)));
      this.follow(point);
      this.preview();
    };
    return { move, end, click: end };
  }

  dab(point) {
    this.change(() => {
      const object = this.object() ?? this.grow(newObject(this.data.objects, {}));
      object.strokes.push({ points: [inside(this.toPicture(point))], size: DOT, erase: false });
    });
  }

  grow(object) {
    this.selected = this.data.objects.push(object) - 1;
    return object;
  }

  under(point) {
    return this.outlines.at(this.data.objects, this.toPicture(point));
  }

  brushSize() {
    return this.memory.size ?? 0.04;
  }

  // The horizon

  horizon() {
    return this.data.ground?.horizon ?? this.outlines.horizon ?? GUESSED_HORIZON;
  }

  /** Where the grip of the horizon is; at the edge of the picture where the horizon is outside. */
  gripPlace() {
    const { x, y, width, height } = this.frame;
    return { x: x + width - 12, y: y + clamp(this.horizon() * height, 6, height - 6) };
  }

  onHorizon(point) {
    return Boolean(this.picture) && near(point, this.gripPlace());
  }

  /** share: of the picture's height; null: guessed again. */
  moveHorizon(share, done = true) {
    this.before ??= this.text;
    const ground = { horizon: null, camera_height: null, fov_deg: null, ...this.data.ground, horizon: share };
    this.data.ground = Object.values(ground).some((value) => value !== null) ? ground : null;
    if (done) this.commit();
    else this.preview();
  }

  /** The corner of the selected box under a point, with the one that stays: both in shares. */
  corner(point) {
    const box = this.tool === "box" ? this.object()?.box : null;
    if (!box) return null;
    const [x0, y0, x1, y1] = box;
    const corners = [[[x0, y0], [x1, y1]], [[x1, y0], [x0, y1]], [[x0, y1], [x1, y0]], [[x1, y1], [x0, y0]]];
    const hit = corners.find(([place]) => near(point, this.toScreen(place)));
    return hit ? { opposite: hit[1] } : null;
  }

  // Drawing

  findPicture() {
    return findPicture(this.node, firstOf(this.node, "IMAGE"));
  }

  hint() {
    return this.missing
      ? ["The picture is not there any more:", "choose another one in Load Image."]
      : ["No picture yet: connect Load Image,", "or press Run once and it is shown here."];
  }

  look() {
    super.look();
    if (this.before === undefined && !this.fault && this.ask()) this.render();
  }

  ask() {
    const bodies = outputOf(this.node)?.vdit_bodies;
    return this.outlines.ask(this.picture?.url ?? "", this.data.objects, this.text, bodies);
  }

  render() {
    if (!this.rows) return;
    if (this.before === undefined && !this.fault) this.ask();
    this.layOut();
    const { x, y, width, height } = this.frame;
    const drawn = svg("svg", { x, y, width, height, overflow: "hidden" }, ...this.backdrop());
    const marks = svg("g");
    this.data.objects.forEach((object, i) => this.drawObject(object, i, drawn, marks));
    if (this.picture) marks.append(...this.drawHorizon());
    this.ring = svg("circle", { fill: "none", stroke: "#fff", "stroke-width": 1.5, visibility: "hidden" });
    this.surface.replaceChildren(drawn, marks, this.ring);
    this.follow(this.pointer);
    this.showState();
  }

  drawObject(object, i, drawn, marks) {
    const { frame } = this;
    const color = colorOf(i);
    const chosen = i === this.selected;
    const found = this.outlines.of(object);
    const local = ([px, py]) => ({ x: px * frame.width, y: py * frame.height });
    if (found?.outlines) {
      drawn.append(...drawOutline(outlinePath(found.outlines, local), color, { fill: chosen ? 0.4 : 0.22, width: chosen ? 2 : 1.5 }));
    }
    if (object.box && (chosen || !found?.outlines)) {
      const [a, b] = [local(object.box), local(object.box.slice(2))];
      const box = { x: a.x, y: a.y, width: b.x - a.x, height: b.y - a.y, fill: "none", class: "vdit-box" };
      drawn.append(svg("rect", { ...box, stroke: "#000a", "stroke-width": 3 }),
        svg("rect", { ...box, stroke: color, "stroke-width": 1.5, "stroke-dasharray": "5 4" }));
      if (chosen && this.tool === "box") for (const px of [a.x, b.x]) for (const py of [a.y, b.y]) {
        drawn.append(svg("rect", { x: px - 4, y: py - 4, width: 8, height: 8, rx: 1.5, fill: "#fff", stroke: "#000a" }));
      }
    }
    for (const stroke of object.strokes.slice(found?.outlines ? found.strokes : 0)) {
      const points = stroke.points.length > 1 ? stroke.points : [stroke.points[0], stroke.points[0]];
      drawn.append(svg("path", { d: "M" + points.map(local).map((p) => `${p.x} ${p.y}`).join("L"), fill: "none",
        stroke: stroke.erase ? "#111" : color, "stroke-opacity": 0.6, "stroke-width": Math.max(3, stroke.size * frame.width),
        "stroke-linecap": "round", "stroke-linejoin": "round" }));
    }
    const top = this.toScreen(topOf(object, found));
    const text = object.name.length > 24 ? `${object.name.slice(0, 23)}…` : object.name;
    marks.append(tag(text, top.x - 5 - 3.1 * text.length, top.y - 20, color, frame));
  }

  drawHorizon() {
    const { x, width } = this.frame;
    const grip = this.gripPlace();
    const share = this.horizon();
    const guessed = (this.data.ground?.horizon ?? null) === null;
    const beyond = share < 0 ? " ↑" : share > 1 ? " ↓" : "";
    const line = { d: `M${x} ${grip.y}H${x + width}`, "stroke-dasharray": "7 5" };
    return [
      svg("path", { ...line, stroke: "#000", "stroke-opacity": guessed ? 0.35 : 0.6, "stroke-width": 2.5 }),
      svg("path", { ...line, class: "vdit-horizon", stroke: "#fff", "stroke-opacity": guessed ? 0.55 : 0.95, "stroke-width": 1 }),
      tag(`horizon${guessed ? ", guessed" : ""}${beyond}`, x + width - (guessed ? 128 : 82) - 6.2 * beyond.length, grip.y + 4, "#fff6", this.frame),
      svg("circle", { class: "vdit-horizon-grip", cx: grip.x, cy: grip.y, r: 6, fill: guessed ? "#ccc" : "#fff", stroke: "#000a" }),
    ];
  }

  ringed() {
    return this.tool === "brush" || (this.tool === "erase" && Boolean(this.object()));
  }

  /** Shows the brush's size around the pointer; null: the pointer is elsewhere. */
  follow(point) {
    this.pointer = point;
    if (!this.ring || !this.frame) return;
    const shown = point && this.ringed() && !this.onHorizon(point);
    this.ring.setAttribute("visibility", shown ? "visible" : "hidden");
    if (!shown) return;
    for (const [name, value] of [["cx", point.x], ["cy", point.y], ["r", Math.max(2, (this.brushSize() / 2) * this.frame.width)]]) {
      this.ring.setAttribute(name, value);
    }
    if (this.tool === "erase") this.ring.setAttribute("stroke-dasharray", "3 3");
  }

  showState() {
    const count = this.count();
    const object = this.object();
    const bad = this.fault ? `Not a list of objects: ${this.fault}` : "";
    const said = this.outlines.says(this.data.objects);
    this.says.classList.toggle("vdit-fault", Boolean(bad));
    this.says.classList.toggle("vdit-warning", Boolean(count && said && !this.outlines.waiting));
    const next = object
      ? `Brush adds to ${object.name}, Erase takes away from it`
      : this.tool === "erase" && count ? "Select an object first: erase takes away from it"
        : count ? "Click a thing to change it, or mark another one" : "";
    this.says.textContent = bad || (count && said) || next;
    this.says.title = bad || said || TOOLS.map(([, name, text]) => `${name}: ${text}.`).join("\n")
      + "\nDelete: removes the selected object. Arrow keys: nudge it. Escape: selects none. Ctrl+Z: undo.";
    this.tools.showValue(this.tool);
    this.size.style.visibility = this.ringed() || this.tool === "erase" ? "" : "hidden";
    this.size.show(this.brushSize(), `${round(this.brushSize() * 100, 1)} %`);
    this.buttons.add.disabled = !object;
    this.buttons.undo.disabled = !this.canUndo();
    this.buttons.clear.disabled = !count && !this.fault;
    this.rows.show(this.data.objects, this.selected);
  }
}

const near = (a, b) => Math.hypot(a.x - b.x, a.y - b.y) <= GRIP;
const inside = ([x, y]) => [clamp(x, 0, 1), clamp(y, 0, 1)];

app.registerExtension({
  name: "VDiT.SceneObjects",
  getCustomWidgets() {
    return {
      VDIT_OBJECTS: (node, name) => new SceneObjects(node, name, "VDIT_OBJECTS", {
        minWidth: 480, minHeight: 460, label: "Objects: mark on the picture what can move",
      }).made,
    };
  },
});
