// The outlines of objects drawn over a picture, as the server finds them; shared by all widgets that show them.
import { api } from "../../scripts/api.js";
import { svg } from "./drawing.js";
import { under } from "./under.js";

// Okabe and Ito's colours, which stay apart for colour-blind eyes; numbers and names say the same.
export const COLORS = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2"];
const WAIT = 120; // ms after an edit, so that a quick next one replaces it
const KEPT = 100; // answers

const answers = new Map(); // the newest last: an undo, a copied node or another widget asks the same again
let offered = true; // whether the server has the route, as far as the last answer tells
let made = 0;

/** What makes an object's outline; names and materials do not. */
export const marksOf = ({ box, strokes }) => JSON.stringify([box, strokes]);
export const colorOf = (i) => COLORS[i % COLORS.length];

export class Outlines {
  constructor(changed) {
    this.changed = changed;
    this.client = `${Date.now()}-${++made}-${Math.random()}`;
    this.key = "";
    this.fault = "";
    this.found = this.before = this.bodies = new Map();
  }

  /**
   * objects: [{name, box, strokes}]; text: the JSON that holds them; url: the picture's address, "" while there is none.
   * bodies: [{name, outlines}] that the scene's node sent when it last ran, for what the server has not answered.
   * Returns whether there is something new to draw; what comes later is told by `changed`.
   */
  ask(url, objects, text, bodies = []) {
    this.bodies = new Map(bodies.map(({ name, outlines }) => [name, { outlines, reason: "" }]));
    const key = url && objects.length ? JSON.stringify([url, objects.map(marksOf)]) : "";
    if (key === this.key) return false;
    this.key = key;
    this.fault = "";
    clearTimeout(this.timer);
    this.request?.abort();
    if (url !== this.url) this.found = this.before = new Map();
    this.url = url;
    this.waiting = Boolean(key) && !answers.has(key);
    if (this.waiting) this.timer = setTimeout(() => this.send(key, objects, text), WAIT);
    else if (key) this.take(objects, answers.get(key));
    return true;
  }

  async send(key, objects, text) {
    this.request = new AbortController();
    const query = new URL(this.url, location.href).searchParams;
    const image = Object.fromEntries(["filename", "subfolder", "type"].map((name) => [name, query.get(name) ?? ""]));
    const { answer, fault } = await post({ client: this.client, image, objects: text }, this.request.signal);
    if (key !== this.key) return;
    this.waiting = false;
    this.fault = fault ?? "";
    if (answer) {
      answers.set(key, answer);
      if (answers.size > KEPT) answers.delete(answers.keys().next().value);
      this.take(objects, answer);
    }
    this.changed();
  }

  take(objects, answer) {
    this.horizon = answer.horizon;
    const found = objects.map((object, i) => ({ ...answer.objects[i], strokes: object.strokes.length }));
    this.found = new Map(objects.map((object, i) => [marksOf(object), found[i]]));
    this.before = new Map(objects.map((object, i) => [object.name, found[i]]));
  }

  /**
   * {outlines: [[[x, y], ...], ...] or null, reason, strokes: how many of its strokes are in it} of an object: the one
   * from before an edit while it is asked again; undefined while none is known.
   */
  of(object) {
    return this.found.get(marksOf(object)) ?? this.before.get(object.name) ?? this.bodies.get(object.name);
  }

  /** The number of the object that is meant by a place; -1: none. beside: as in `under`. */
  at(objects, place, beside) {
    return under(objects.map((object) => ({ ...object, outlines: this.of(object)?.outlines })), place, beside);
  }

  /** One sentence on what cannot be shown; "" where all is well. */
  says(objects) {
    if (this.fault) return this.fault;
    if (!offered && !objects.every((object) => this.of(object))) return "Outlines are shown after a run";
    if (this.waiting) return "Finding the outline ...";
    const lost = objects.find((object) => this.of(object)?.reason);
    return lost ? `${lost.name}: ${this.of(lost).reason}` : "";
  }
}

async function post(body, signal) {
  try {
    const headers = { "Content-Type": "application/json" };
    const response = await api.fetchApi("/vdit/select", { method: "POST", body: JSON.stringify(body), headers, signal });
    const answer = await response.json().catch(() => null);
    offered = Boolean(answer) || ![404, 405].includes(response.status); // a server that was started with an older pack
    if (response.ok && answer) return { answer };
    if (answer?.error) return { fault: answer.error };
    return { fault: offered ? `Outlines cannot be shown: the server answered ${response.status}` : "" };
  } catch (reason) {
    return { fault: reason.name === "AbortError" ? "" : "Outlines cannot be shown: the server does not answer" };
  }
}

/** Outlines in shares of the picture as the text of one svg path. */
export function outlinePath(outlines, toScreen) {
  return outlines.map((points) => `M${points.map((point) => at(toScreen(point))).join("L")}Z`).join("");
}

const at = ({ x, y }) => `${x.toFixed(1)} ${y.toFixed(1)}`;

/** An object's outline, tinted; dark below bright, so that it is seen on any picture. */
export function drawOutline(d, color, { fill, width }) {
  const shape = { d, "fill-rule": "evenodd", "stroke-linejoin": "round" };
  return [
    svg("path", { ...shape, fill: color, "fill-opacity": fill, stroke: "#000", "stroke-opacity": 0.65, "stroke-width": width + 2 }),
    svg("path", { ...shape, class: "vdit-outline", fill: "none", stroke: color, "stroke-width": width }),
  ];
}

/** A line of text on a dark ground, its left upper corner at x, y as far as the frame allows. */
export function tag(text, x, y, color, frame) {
  const width = 10 + 6.2 * text.length; // 11 px sans-serif: 6.2 px a letter, on average
  const left = Math.max(frame.x, Math.min(x, frame.x + frame.width - width));
  const top = Math.max(frame.y, Math.min(y, frame.y + frame.height - 17));
  return svg("g", { class: "vdit-tag" },
    svg("rect", { x: left, y: top, width, height: 17, rx: 3, fill: "#000b", stroke: color }),
    svg("text", { x: left + width / 2, y: top + 12.5, "text-anchor": "middle", style: "fill:#fff" }, text));
}

/** The top and the middle of an object, where its name is written: [x, y] in shares. */
export function topOf(object, found) {
  const points = found?.outlines?.flat() ?? (object.box ? [object.box.slice(0, 2), object.box.slice(2)] : object.strokes[0]?.points);
  if (!points?.length) return [0.5, 0.5];
  const [xs, ys] = [points.map((point) => point[0]), points.map((point) => point[1])];
  return [(Math.min(...xs) + Math.max(...xs)) / 2, Math.min(...ys)];
}
