// What the drawing widgets share: a JSON string with its history, svg elements, pointer events, buttons, sliders.
import { app } from "../../scripts/app.js";

const SVG = "http://www.w3.org/2000/svg";
const MAX_UNDO = 100; // undo steps of a widget
const CLICK = 4; // px, of the node's own: a pointer that moved less has clicked, not dragged

export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
export const round = (value, digits = 4) => Number(Number(value).toFixed(digits)) || 0; // || 0: no -0

/** An svg element with attributes; `on*` are listeners, children may be strings. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** An html element, in the same way. */
export function html(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Per open workflow, then per node: what a drawing keeps. It outlives the node, which the graph's undo rebuilds.
const memories = new WeakMap();

/**
 * A DOM widget whose value is one JSON string, "" while nothing is drawn.
 * A drawing gives read(text) -> data (may throw), write(data) -> text, and render(). An edit is
 * change(() => ...) or, for a drag, any number of preview() and then one commit(): one step in both histories.
 */
export class Drawing {
  constructor(node, name, type, { minWidth, minHeight, label }) {
    this.node = node;
    this.name = name;
    this.text = "";
    this.data = this.read("");
    this.fault = "";
    this.selected = -1;
    addStyle("vdit-drawing-style", STYLE);
    this.root = html("div", { class: "vdit-drawing", tabindex: 0, role: "group", "aria-label": label, title: "" });
    this.root.style.minHeight = `${minHeight}px`; // Nodes 2.0 asks the element, the classic canvas getMinHeight
    this.root.dataset.widget = name;
    this.root.addEventListener("keydown", (event) => this.keydown(event));
    for (const kind of ["pointerdown", "pointermove", "pointerup"]) this.root.addEventListener(kind, toCanvas);
    this.root.addEventListener("wheel", wheelToCanvas, { passive: false });
    this.build();
    this.widget = node.addDOMWidget(name, type, this.root, {
      getValue: () => this.text,
      setValue: (text) => this.load(text),
      getMinHeight: () => minHeight,
      hideOnZoom: false,
      hideInPanel: true,
    });
    watch(this);
    new ResizeObserver(() => this.render()).observe(this.root);
    this.made = { widget: this.widget, minWidth, minHeight };
  }

  /** The texts before each edit (`past`), and whatever else a drawing wants to know again after the graph's undo. */
  get memory() {
    const workflow = app.extensionManager?.workflow?.activeWorkflow ?? app;
    if (!memories.has(workflow)) memories.set(workflow, new Map());
    const key = `${this.node.graph?.id ?? ""}:${this.node.id}:${this.name}`;
    const kept = memories.get(workflow);
    if (!kept.has(key)) kept.set(key, { past: [] });
    return kept.get(key);
  }

  /** A value from outside: a workflow, a paste, the graph's undo. Text that is no drawing is kept until it is edited. */
  load(text) {
    const next = typeof text === "string" ? text : "";
    if (next === this.text && this.before === undefined) return;
    this.text = next;
    this.before = undefined;
    this.fault = "";
    try {
      this.data = this.read(next.trim());
    } catch (reason) {
      this.data = this.read("");
      this.fault = String(reason.message ?? reason);
    }
    this.selected = Math.min(this.selected, this.count() - 1);
    this.render();
  }

  preview() {
    this.before ??= this.text;
    this.render();
  }

  commit() {
    const before = this.before ?? this.text;
    const text = this.write(this.data);
    this.before = undefined;
    this.fault = "";
    if (text === before) return this.render();
    const { past } = this.memory;
    past.push(before);
    if (past.length > MAX_UNDO) past.shift();
    this.text = text;
    this.tell();
  }

  change(edit) {
    this.before ??= this.text;
    edit();
    this.commit();
  }

  cancel() {
    if (this.before === undefined) return;
    const text = this.before;
    this.text = null;
    this.load(text);
  }

  /** One step of the graph's own undo, which also stores the workflow. */
  tell() {
    app.canvas.emitBeforeChange();
    this.widget.callback?.(this.text);
    app.canvas.emitAfterChange();
    app.graph.setDirtyCanvas(true, true);
    this.render();
  }

  canUndo() {
    const { past } = this.memory;
    while (past.length && past.at(-1) === this.text) past.pop(); // the graph's undo has already restored this text
    return past.length > 0;
  }

  undo() {
    if (!this.canUndo()) return;
    this.load(this.memory.past.pop());
    this.tell();
  }

  clear() {
    this.selected = -1;
    this.change(() => { this.data = this.read(""); });
  }

  /**
   * Ctrl+Z belongs to the graph, of which each edit is one step; only on a slider it is handled here, because the graph
   * ignores input fields. Delete never reaches the graph from here: it would delete the whole node.
   */
  keydown(event) {
    const field = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
    const slider = field && event.target.type === "range";
    const command = event.ctrlKey || event.metaKey;
    if (slider && command && event.key.toLowerCase() === "z" && !event.shiftKey) this.undo();
    else if (field) {
      if (event.target instanceof HTMLSelectElement && !command) event.stopPropagation(); // the graph does not treat a select as an input field
      return;
    } else if (event.key === "Delete" || event.key === "Backspace") this.remove();
    else if (event.key === "Escape" && (this.before !== undefined || this.selected >= 0)) {
      this.cancel();
      this.select(-1);
    } else if (event.key.startsWith("Arrow") && !command && this.selected >= 0) this.nudge(event);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  select(index) {
    this.selected = index;
    this.render();
  }

  attach() {
    mount(this.root, this.node, `.vdit-drawing[data-widget="${this.name}"]`);
  }
}

/** Nodes 2.0 mounts the element of the node from before an undo, at once or when it draws the nodes anew: this replaces it. */
export function mount(root, node, selector) {
  if (root.isConnected || app.canvas.graph?.id !== node.graph?.id) return;
  const stale = document.querySelector(`[data-node-id="${node.id}"] ${selector}`);
  if (stale && stale !== root) stale.replaceWith(root);
}

/** Keeps a drawing (root, attach(), perhaps look() and render()) on its node for as long as that is in the graph. */
export function watch(drawing) {
  const { node } = drawing;
  const after = (name, then) => {
    const before = node[name];
    node[name] = (...given) => {
      before?.apply(node, given);
      then();
    };
  };
  const show = () => {
    if (!drawing.gone) drawing.attach();
    drawing.render?.();
  };
  after("onConfigure", () => [0, 100, 500].forEach((wait) => setTimeout(show, wait)));
  after("onRemoved", () => (drawing.gone = true));
  after("onAdded", () => (drawing.gone = false));
  watched.add(new WeakRef(drawing));
}

// What a drawing shows beside its value (the background picture, the preset), and what is mounted, changes without an
// event, differently in each front end. So both are looked at twice a second, which reads a few widgets.
const watched = new Set();
setInterval(() => {
  for (const ref of watched) {
    const drawing = ref.deref();
    if (!drawing) watched.delete(ref);
    if (!drawing || drawing.gone || document.hidden) continue;
    drawing.attach();
    if (drawing.root.isConnected) drawing.look?.();
  }
}, 500);

/** The middle button and the wheel move the graph, as over any other part of a node. Nodes 2.0 does this itself. */
function toCanvas(event) {
  if (event.currentTarget.closest("[data-node-id]")) return;
  const middle = event.type === "pointermove" ? event.buttons & 4 : event.button === 1;
  if (!middle) return;
  const handler = { pointerdown: "processMouseDown", pointermove: "processMouseMove", pointerup: "processMouseUp" };
  app.canvas[handler[event.type]](event);
}

function wheelToCanvas(event) {
  if (event.currentTarget.closest("[data-node-id]")) return;
  event.preventDefault();
  app.canvas.processMouseWheel(event);
}

/**
 * Pointer events on an svg whose units are the node's own pixels, at any zoom of the graph and of the screen.
 * start({x, y}, event) returns {move, end, click} or nothing; move and end get the point, click is called instead of
 * end where the pointer hardly moved, cancel() when the system takes the pointer away. twice(point): a double click.
 * over(point): the cursor to show there, or nothing for the surface's own.
 */
export function onDrag(drawing, surface, start, { twice, over }) {
  let held = null;
  const at = (event) => {
    const box = surface.getBoundingClientRect();
    return {
      x: ((event.clientX - box.left) / box.width) * surface.clientWidth,
      y: ((event.clientY - box.top) / box.height) * surface.clientHeight,
    };
  };
  surface.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || held) return; // no preventDefault: the graph's undo needs the mouseup that follows
    event.stopPropagation();
    drawing.root.focus({ preventScroll: true });
    const from = at(event);
    const drag = start(from, event);
    if (!drag) return;
    held = { ...drag, id: event.pointerId, from, moved: false };
    surface.setPointerCapture(event.pointerId);
  });
  surface.addEventListener("pointermove", (event) => {
    if (!held) surface.style.cursor = over?.(at(event)) ?? "";
    if (event.pointerId !== held?.id) return;
    event.stopPropagation();
    const path = event.getCoalescedEvents?.() ?? [];
    for (const each of path.length ? path : [event]) {
      const point = at(each);
      held.moved ||= Math.hypot(point.x - held.from.x, point.y - held.from.y) >= CLICK;
      if (held.moved) held.move?.(point, each);
    }
  });
  surface.addEventListener("pointerup", (event) => {
    if (event.pointerId !== held?.id) return;
    event.stopPropagation();
    const drag = held;
    held = null;
    if (drag.moved) drag.end?.(at(event), event);
    else drag.click?.(at(event), event);
  });
  const lost = (event) => {
    if (event.pointerId !== held?.id) return;
    const drag = held;
    held = null;
    drawing.cancel();
    drag.cancel?.();
  };
  surface.addEventListener("dblclick", (event) => {
    event.stopPropagation(); // else the graph would open its search for nodes
    twice(at(event));
  });
  surface.addEventListener("pointercancel", lost);
  surface.addEventListener("lostpointercapture", lost);
}

/** The svg's size in the node's pixels; its units are set to them. */
export function measure(surface) {
  const width = surface.clientWidth;
  const height = surface.clientHeight;
  if (width && height) surface.setAttribute("viewBox", `0 0 ${width} ${height}`);
  return { width, height };
}

export function button(label, title, action) {
  return html("button", { type: "button", title, onclick: action }, label);
}

/** A slider in percent with its number. set(share) while it moves, done() when let go. */
export function slider(label, title, { min = 0, max = 1, step = 0.01 }, set, done) {
  const range = html("input", { type: "range", min, max, step, title, "aria-label": label });
  const number = html("output");
  range.addEventListener("input", () => set(Number(range.value)));
  range.addEventListener("change", done);
  const row = html("label", { class: "vdit-slider", title }, html("span", {}, label), range, number);
  row.show = (value, text) => {
    if (Number(range.value) !== value) range.value = value;
    number.textContent = text ?? `${Math.round(value * 100)} %`;
  };
  return row;
}

/** Plays 0..1 once over `seconds`, frame by frame; a second press stops it. */
export function player(frame, seconds = 2.5) {
  let running = 0;
  const stop = () => {
    cancelAnimationFrame(running);
    running = 0;
    frame(null);
  };
  return () => {
    if (running) return stop();
    const began = performance.now();
    const step = (now) => {
      const t = Math.max(0, now - began) / (seconds * 1000);
      frame(Math.min(t, 1));
      if (t < 1.15) running = requestAnimationFrame(step); // the last frame stays for a moment
      else stop();
    };
    running = requestAnimationFrame(step);
  };
}

const STYLE = `
.vdit-drawing { display: flex; flex-direction: column; gap: 5px; box-sizing: border-box; padding: 5px; outline: none;
  border-radius: 6px; background: var(--comfy-input-bg, #222); color: var(--input-text, #ddd); font: 12px/1.3 sans-serif;
  user-select: none; -webkit-user-select: none; overflow: hidden; border: 1px solid transparent; }
.vdit-drawing:focus-visible { border-color: #6aa8ff; }
.vdit-drawing svg.vdit-surface { flex: 1 1 0; min-height: 0; min-width: 0; width: 100%; display: block; touch-action: none;
  background: #15171a; border-radius: 4px; cursor: crosshair; }
.vdit-drawing svg.vdit-surface * { pointer-events: none; } /* redrawn at each edit: a click must not lose its target */
.vdit-drawing svg text { font: 11px sans-serif; fill: #cfd3d8; }
.vdit-bar { display: flex; gap: 5px; align-items: center; flex: none; min-height: 24px; }
.vdit-bar .vdit-says { flex: 1; min-width: 0; color: var(--descrip-text, #aaa); overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap; }
.vdit-drawing button, .vdit-drawing select, .vdit-drawing input[type=number] { font: inherit; color: inherit;
  background: var(--comfy-menu-secondary-bg, #303338); border: 1px solid var(--border-color, #4e4e4e);
  border-radius: 4px; padding: 2px 7px; min-width: 0; box-sizing: border-box; }
.vdit-drawing button { cursor: pointer; white-space: nowrap; }
.vdit-drawing button:hover:enabled { border-color: #6aa8ff; }
.vdit-drawing button:disabled, .vdit-drawing input:disabled, .vdit-drawing select:disabled { opacity: .4; cursor: default; }
.vdit-slider { display: flex; align-items: center; gap: 6px; flex: 1 1 0; min-width: 0; }
.vdit-slider span { flex: none; }
.vdit-slider input { flex: 1; min-width: 30px; margin: 0; accent-color: #6aa8ff; height: 16px; }
.vdit-slider output { flex: none; width: 42px; text-align: right; white-space: nowrap; color: var(--descrip-text, #aaa); }
.vdit-fields { display: grid; gap: 4px 6px; flex: none; }
.vdit-fields label { display: flex; align-items: center; gap: 4px; min-width: 0; }
.vdit-fields label span { flex: none; color: var(--descrip-text, #aaa); }
.vdit-fields label span:first-child { width: 46px; }
.vdit-fields label span:last-child { width: 10px; }
.vdit-fields label input, .vdit-fields label select { flex: 1; width: 0; padding: 2px 3px; }
.vdit-fault { color: #ffb4a8 !important; }
`;

/** Adds a style sheet to the page, once. */
export function addStyle(id, text) {
  if (!document.getElementById(id)) document.head.append(html("style", { id }, text));
}
