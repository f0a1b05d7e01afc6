// The camera path widget: key frames in a view from above, in one from the side, on a time line and as numbers.
import { app } from "../../scripts/app.js";
import { Drawing, button, clamp, html, measure, onDrag, player, round, svg } from "./drawing.js";
import { readKeys, writeKeys } from "./camera_keys.js";
import { CameraView, KEY } from "./camera_view.js";
import { EASINGS, poseAt } from "./poses.js";
import { presetKeys, presetPose } from "./presets.js";

const HIT = 11; // px around a mark that still count as a hit
const APART = 0.01; // least distance of two keys in time, as a share of the clip
const EDGE = 20; // px to the left and right of the time line

const FIELDS = [
  ["right", "m", "Metres to the right of the first camera; negative: left", (key) => [key.position, 0, 1], -1000, 1000, 0.1],
  ["up", "m", "Metres above the first camera; negative: below", (key) => [key.position, 1, -1], -1000, 1000, 0.1],
  ["forward", "m", "Metres ahead of the first camera; negative: behind", (key) => [key.position, 2, 1], -1000, 1000, 0.1],
  ["yaw", "°", "Degrees that the camera looks to the right; negative: left", (key) => [key.look, 0, 1], -180, 180, 1],
  ["pitch", "°", "Degrees that the camera looks up; negative: down", (key) => [key.look, 1, 1], -90, 90, 1],
  ["roll", "°", "Degrees that the camera leans clockwise", (key) => [key.look, 2, 1], -180, 180, 1],
  ["view", "°", "Vertical field of view, 5 to 120 degrees; smaller: zoomed in", (key) => [key, "fov_deg", 1], 5, 120, 1],
  ["time", "%", "When the camera is here, in percent of the clip", (key) => [key, "t", 100], 0, 100, 1],
];

class CameraPath extends Drawing {
  build() {
    this.now = 0;
    this.says = html("span", { class: "vdit-says" });
    this.buttons = {
      play: button("▶", "Plays the move once", player((t) => this.playAt(t))),
      add: button("+ Key", "Adds a key at the time line's marker; without keys: makes the preset's, to be changed",
        () => this.insert(this.now)),
      undo: button("Undo", "Takes back the last edit of this drawing", () => this.undo()),
      remove: button("Delete", "Deletes the selected key (Delete key)", () => this.remove()),
      clear: button("Clear", "Deletes the path: the preset decides again", () => this.clear()),
    };
    this.views = [new CameraView("above", 3), new CameraView("side", 2)];
    for (const view of this.views) {
      onDrag(this, view.surface, (from) => this.beginInView(view, from), {
        twice: (point) => this.goTo(view, point),
        over: (point) => (this.grips(view, point) ? "grab" : this.under(view, point).length ? "move" : null),
      });
    }
    this.line = svg("svg", { class: "vdit-surface", "data-view": "time", style: "flex: none; height: 46px" });
    onDrag(this, this.line, (from) => this.beginInTime(from), { twice: ({ x }) => this.insert(this.xToTime(x)) });
    this.root.append(
      html("div", { class: "vdit-bar" }, this.says, ...Object.values(this.buttons)),
      html("div", { style: "display: flex; gap: 5px; flex: 1 1 0; min-height: 0" }, ...this.views.map((view) => view.surface)),
      this.line,
      this.buildFields(),
    );
  }

  buildFields() {
    this.fields = FIELDS.map(([label, unit, title, place, min, max, step]) => {
      const input = html("input", { type: "number", min, max, step, title, "aria-label": label });
      input.addEventListener("change", () => this.setNumber(place, clamp(Number(input.value) || 0, min, max)));
      const row = html("label", { title }, html("span", {}, label), input, html("span", {}, unit));
      return { row, input, place, label };
    });
    const title = "How the move from this key to the next is spread over time. smooth: starts and stops gently. linear: "
      + "even speed. in: only starts gently. out: only stops gently";
    const options = Object.keys(EASINGS).map((name) => html("option", { value: name }, name));
    this.ease = html("select", { title, "aria-label": "ease" }, ...options);
    this.ease.addEventListener("change", () => this.change(() => (this.key().ease = this.ease.value)));
    const ease = html("label", { title }, html("span", {}, "ease"), this.ease);
    return html("div", { class: "vdit-fields", style: "grid-template-columns: repeat(3, 1fr)" },
      ...this.fields.map((field) => field.row), ease);
  }

  // The value

  read(text) {
    return { keys: readKeys(text, this.widgetNumber("fov_deg", 40)) };
  }

  write({ keys }) {
    return writeKeys(keys);
  }

  count() {
    return this.data.keys.length;
  }

  key() {
    return this.data.keys[this.selected];
  }

  widgetNumber(name, fallback) {
    const value = Number(this.node.widgets?.find((widget) => widget.name === name)?.value);
    return Number.isFinite(value) ? value : fallback;
  }

  /** What the node does while nothing is drawn; null where another node or a file decides. */
  settings() {
    const said = (name) => this.node.widgets?.find((widget) => widget.name === name)?.value;
    const names = ["preset", "amount", "easing", "fov_deg", "distance", "look_down_deg"];
    const linked = this.node.inputs?.some((input) => names.includes(input.widget?.name ?? input.name) && input.link != null);
    if (linked || said("file")?.trim?.()) return null;
    return Object.fromEntries(names.map((name) => [name, said(name)]));
  }

  look() {
    const now = JSON.stringify([this.settings(), this.subject()]);
    if (now === this.looked) return;
    this.looked = now;
    this.render();
  }

  /** The poses to draw: the path's own keys, else 33 poses of the preset's move. */
  shown() {
    if (this.count()) return this.data.keys;
    const settings = this.settings();
    if (!settings || this.fault || !presetPose(settings, 0)) return [];
    return Array.from({ length: 33 }, (_, i) => ({ t: i / 32, ease: "linear", ...presetPose(settings, i / 32) }));
  }

  // Editing

  select(index) {
    this.selected = index;
    if (this.key()) this.now = this.key().t;
    this.render();
  }

  firstKey() {
    return { t: 0, position: [0, 0, 0], look: [0, 0, 0], fov_deg: this.widgetNumber("fov_deg", 40), ease: "smooth" };
  }

  /** Adds a key at the end and gives it an equal share of the time; the eases between keys become linear, so that the
   * camera does not stop there. */
  append(position) {
    const keys = this.data.keys;
    if (!keys.length) keys.push(this.firstKey());
    const last = keys.at(-1);
    const moves = keys.length - 1;
    if (moves && last.t > 1 - APART) {
      for (const key of keys) key.t *= moves / (moves + 1);
      const before = keys.at(-2);
      if (before.ease === "smooth") before.ease = "in";
      if (before.ease === "out") before.ease = "linear";
      last.ease = "out";
    }
    keys.push({ ...structuredClone(last), t: 1, position: position(last) });
    this.selected = keys.length - 1;
    this.now = 1;
  }

  /** Adds a key on the path at time t; without keys, makes the preset's keys, or a first and a last one. */
  insert(t) {
    const keys = this.data.keys;
    const taken = keys.findIndex((key) => Math.abs(key.t - t) < APART);
    if (taken >= 0 && keys.length > 1) return this.select(taken);
    this.change(() => {
      if (!keys.length) {
        keys.push(...(presetKeys(this.settings() ?? {}) ?? [this.firstKey()]));
        if (keys.length > 1) {
          this.selected = keys.length - 1;
          this.now = 1;
          return;
        }
      }
      if (keys.length < 2) return this.append((last) => last.position);
      const i = keys.filter((key) => key.t < t).length;
      const pose = structuredClone(poseAt(keys, t));
      keys.splice(i, 0, { ease: keys[Math.max(i - 1, 0)].ease, ...pose, t });
      this.selected = i;
      this.now = t;
    });
  }

  remove() {
    const keys = this.data.keys;
    if (this.selected < 1) return; // all other keys are relative to the first one
    this.change(() => {
      if (keys.length <= 2) keys.length = 0;
      else keys.splice(this.selected, 1);
      this.selected = -1;
    });
  }

  setNumber(place, value) {
    if (!this.key()) return;
    this.change(() => {
      const [holder, index, factor] = place(this.key());
      if (index === "t") this.moveInTime(value / factor);
      else holder[index] = value / factor;
    });
  }

  moveInTime(t) {
    const keys = this.data.keys;
    const [low, high] = [keys[this.selected - 1]?.t ?? -APART, keys[this.selected + 1]?.t ?? 1 + APART];
    this.key().t = this.now = round(clamp(t, low + APART, high - APART));
  }

  nudge({ key, shiftKey }) {
    if (this.selected === 0) return;
    const by = shiftKey ? 0.5 : 0.1;
    const [axis, sign] = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [2, 1], ArrowDown: [2, -1] }[key];
    this.change(() => { this.key().position[axis] = round(this.key().position[axis] + sign * by); });
  }

  beginInView(view, from) {
    if (this.grips(view, from)) {
      return { move: (point) => this.aim(view, point), end: () => this.commit() };
    }
    const under = this.under(view, from);
    if (under.length) {
      const held = under.includes(this.selected) ? this.selected : under.at(-1);
      const next = under[(under.indexOf(this.selected) + 1) % under.length]; // clicks cycle through keys on one spot
      return {
        move: (point) => {
          this.selected = held;
          this.now = this.key().t;
          if (held > 0) this.place(view, point);
          else this.render();
        },
        end: () => (held > 0 ? this.commit() : this.render()),
        click: () => this.select(next),
      };
    }
    return { click: (point) => (this.count() ? this.select(-1) : this.goTo(view, point)) };
  }

  /** Whether a point is on the white dot by which the selected camera is turned. */
  grips(view, point) {
    const handle = this.selected > 0 && view.handle(this.key());
    return Boolean(handle) && near(point, handle);
  }

  /** The keys under a point of a view. */
  under(view, point) {
    return this.data.keys.map((key, i) => i).filter((i) => near(point, view.toScreen(this.data.keys[i].position)));
  }

  /** Adds a key at a point of a view, unless a key is there already. */
  goTo(view, point) {
    if (this.under(view, point).length) return;
    this.change(() => this.append((last) => view.toWorld(point, last.position)));
  }

  place(view, point) {
    this.key().position = view.toWorld(point, this.key().position);
    this.preview();
  }

  /** Turns the selected camera towards a point: yaw from above, pitch from the side. */
  aim(view, point) {
    const key = this.key();
    const at = view.toScreen(key.position);
    const [dx, dy] = [point.x - at.x, point.y - at.y];
    const degrees = (radians) => round((radians * 180) / Math.PI, 1);
    if (view.name === "above") key.look[0] = degrees(Math.atan2(dx, -dy));
    else {
      const ahead = Math.abs(key.look[0]) <= 90 ? dx : -dx; // a camera that looks backwards points to the left
      key.look[1] = clamp(degrees(Math.atan2(-dy, Math.max(ahead, 0.001))), -90, 90);
    }
    this.preview();
  }

  beginInTime(from) {
    const hits = this.data.keys.map((key, i) => [Math.abs(from.x - this.timeToX(key.t)), i]).filter(([away]) => away <= HIT);
    const at = hits.length ? hits.sort((a, b) => a[0] - b[0])[0][1] : -1;
    if (at >= 0) {
      return {
        move: (point) => {
          this.selected = at;
          if (at === 0) return this.render(); // the first key is the first frame
          this.moveInTime(this.xToTime(point.x));
          this.preview();
        },
        end: () => (at > 0 ? this.commit() : this.render()),
        click: () => this.select(at),
      };
    }
    const go = (point) => {
      this.now = this.xToTime(point.x);
      this.render();
    };
    return { move: go, end: go, click: go };
  }

  // Between the world and the screen

  timeToX(t) {
    return EDGE + t * (this.line.clientWidth - 2 * EDGE);
  }

  xToTime(x) {
    return round(clamp((x - EDGE) / (this.line.clientWidth - 2 * EDGE), 0, 1), 2);
  }

  subject() {
    return [0, 0, this.widgetNumber("distance", 7)];
  }

  // Drawing

  render() {
    if (!this.line) return;
    this.drawViews();
    this.drawTime();
    this.showState();
  }

  drawViews() {
    const { keys } = this.data;
    const path = this.shown();
    const state = { keys, path, selected: this.selected, subject: this.subject(), moving: this.before !== undefined };
    const now = path.length ? poseAt(path, this.now) : this.firstKey();
    for (const view of this.views) view.draw({ ...state, now });
  }

  drawTime() {
    const { width } = measure(this.line);
    if (!width) return;
    const parts = [svg("path", { d: `M${EDGE} 16H${width - EDGE}`, stroke: "#4a515b", "stroke-width": 3, "stroke-linecap": "round" })];
    for (let i = 0; i <= 4; i++) {
      const x = this.timeToX(i / 4);
      parts.push(svg("path", { d: `M${x} 24v4`, stroke: "#6b727c" }),
        svg("text", { x, y: 41, "text-anchor": "middle", style: "fill:#8a9099" }, `${i * 25} %`));
    }
    const now = this.timeToX(this.now);
    parts.push(svg("path", { d: `M${now} 3V29`, stroke: "#fff", "stroke-width": 1.5 }));
    this.data.keys.forEach((key, i) => {
      const x = this.timeToX(key.t);
      const active = i === this.selected;
      parts.push(svg("path", { class: "vdit-time-key", d: `M${x} 7l9 9l-9 9l-9 -9Z`, fill: KEY, stroke: active ? "#fff" : "#000a",
        "stroke-width": active ? 2.5 : 1 }),
        svg("text", { x, y: 20, "text-anchor": "middle", style: "fill:#111;font-weight:bold" }, `${i + 1}`));
    });
    this.line.replaceChildren(...parts);
  }

  showState() {
    const count = this.count();
    const key = this.key();
    this.says.classList.toggle("vdit-fault", Boolean(this.fault));
    this.says.textContent = this.fault
      ? `Not a path: ${this.fault}`
      : !count
        ? this.settings() ? `Preset: ${this.settings().preset}. Click where to go` : "Click where to go"
        : key
          ? `Key ${this.selected + 1} of ${count}`
          : "Double-click adds a key";
    this.says.title = this.fault || "Click a camera: select it. Drag it: move it. Drag its white dot: turn it. Double-click a "
      + "view: go there at the end. Double-click the time line: a key in between. Arrow keys: nudge. Ctrl+Z: undo.";
    this.buttons.play.disabled = this.shown().length < 2;
    this.buttons.clear.disabled = !count && !this.fault;
    this.buttons.undo.disabled = !this.canUndo();
    this.buttons.remove.disabled = this.selected < 1;
    const focused = document.activeElement;
    for (const { input, place, label } of this.fields) {
      const first = this.selected === 0 && label !== "view";
      input.disabled = !key || first;
      if (!key) input.value = "";
      else if (input !== focused || this.before !== undefined) {
        const [holder, index, factor] = place(key);
        input.value = round(holder[index] * factor, 2);
      }
      input.parentElement.title = first ? "The path starts at the first frame's camera; all else is measured from it" : input.title;
    }
    this.ease.disabled = !key || this.selected === count - 1;
    this.ease.value = key?.ease ?? "smooth";
  }

  playAt(t) {
    if (t === null) this.now = this.key()?.t ?? 0;
    else this.now = t;
    this.buttons.play.textContent = t === null ? "▶" : "■";
    this.drawViews();
    this.drawTime();
  }
}

const near = (a, b) => Math.hypot(a.x - b.x, a.y - b.y) <= HIT;

app.registerExtension({
  name: "VDiT.CameraPath",
  getCustomWidgets() {
    return {
      VDIT_CAMERA_PATH: (node, name) => new CameraPath(node, name, "VDIT_CAMERA_PATH", {
        minWidth: 520, minHeight: 430, label: "Camera path: key frames from above, from the side and over time",
      }).made,
    };
  },
});
