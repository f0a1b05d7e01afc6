// A list below a drawing: one row of fields for each item.
import { addStyle, html } from "./drawing.js";

/**
 * make(i) -> {cells, show(item)}; a row stays the same element while it is typed into. Pressing a row selects it.
 * empty: lines of text while there are no items; the height is the same, so that the picture above never moves.
 */
export class Rows {
  constructor(drawing, columns, heads, empty, make) {
    addStyle("vdit-rows-style", STYLE);
    this.drawing = drawing;
    this.make = make;
    this.rows = [];
    this.heads = html("div", { class: "vdit-row vdit-heads" }, ...heads.map((text) => html("span", {}, text)));
    this.list = html("div", { class: "vdit-list" });
    this.empty = html("div", { class: "vdit-empty" }, ...empty.map((line) => html("div", {}, line)));
    this.root = html("div", { class: "vdit-rows" }, this.heads, this.list, this.empty);
    this.root.style.setProperty("--columns", columns);
    this.list.addEventListener("wheel", (event) => {
      if (this.list.scrollHeight > this.list.clientHeight) event.stopPropagation(); // else the graph zooms
    });
  }

  show(items, selected) {
    while (this.rows.length > items.length) this.rows.pop().element.remove();
    while (this.rows.length < items.length) this.add(this.rows.length);
    this.heads.hidden = this.list.hidden = !items.length;
    this.empty.hidden = items.length > 0;
    items.forEach((item, i) => {
      const { element, show } = this.rows[i];
      element.classList.toggle("vdit-chosen", i === selected);
      show(item);
    });
    if (selected !== this.shown) this.rows[selected]?.element.scrollIntoView({ block: "nearest" });
    this.shown = selected;
  }

  add(i) {
    const { cells, show } = this.make(i);
    const element = html("div", { class: "vdit-row", role: "group", "aria-label": `${i + 1}` }, ...cells);
    element.addEventListener("pointerdown", () => this.drawing.selected !== i && this.drawing.select(i));
    this.rows.push({ element, show });
    this.list.append(element);
  }
}

/** A field: set(value) once it is edited; showValue(value) puts a value in, unless it is being typed into. */
function field(drawing, element, set, { read = () => element.value, write = (value) => (element.value = value) } = {}) {
  const leave = () => drawing.root.focus({ preventScroll: true }); // the graph's keys, undo among them, do not work in a field
  element.addEventListener("change", () => {
    const value = read();
    if (element.matches("select")) leave();
    set(value);
  });
  element.addEventListener("keydown", (event) => {
    if (event.key === "Escape") write(element.shown ?? "");
    if (!["Enter", "Escape"].includes(event.key)) return;
    event.stopPropagation();
    leave(); // which also brings the change
  });
  element.showValue = (value) => {
    element.shown = value;
    if (document.activeElement !== element) write(value);
  };
  return element;
}

export function textField(drawing, label, title, set) {
  return field(drawing, html("input", { type: "text", title, "aria-label": label, maxlength: 40, spellcheck: "false" }), set);
}

export function numberField(drawing, label, title, { min, max, step, placeholder }, set) {
  const element = html("input", { type: "number", title, "aria-label": label, min, max, step, placeholder });
  const read = () => (element.value === "" ? null : Math.min(max, Math.max(min, Number(element.value))));
  return field(drawing, element, set, { read, write: (value) => (element.value = value ?? "") });
}

/** options: [value, text] each; again(options) changes them. */
export function choice(drawing, label, title, options, set) {
  const element = field(drawing, html("select", { title, "aria-label": label }), set);
  element.again = (next) => {
    const text = JSON.stringify(next);
    if (text === element.options_) return;
    element.options_ = text;
    element.replaceChildren(...next.map(([value, words]) => html("option", { value }, words)));
  };
  element.again(options);
  return element;
}

/** A button that is on or off. */
export function toggle(label, title, flip) {
  const element = html("button", { type: "button", title, onclick: flip }, label);
  element.showValue = (on) => element.setAttribute("aria-pressed", Boolean(on));
  return element;
}

/** Buttons of which one is on; pick(value). */
export function tools(label, options, pick) {
  addStyle("vdit-rows-style", STYLE); // a drawing may have tools and no list
  const buttons = options.map(([value, text, title]) => [value, toggle(text, title, () => pick(value))]);
  const element = html("div", { class: "vdit-tools", role: "group", "aria-label": label }, ...buttons.map(([, each]) => each));
  element.showValue = (chosen) => buttons.forEach(([value, each]) => each.showValue(value === chosen));
  return element;
}

const STYLE = `
.vdit-rows { flex: none; display: flex; flex-direction: column; height: 102px; }
.vdit-rows > [hidden] { display: none; }
.vdit-list { flex: 1; overflow-y: auto; scrollbar-width: thin; display: flex; flex-direction: column; gap: 1px; }
.vdit-empty { flex: 1; display: flex; flex-direction: column; justify-content: center; gap: 3px; padding: 0 6px;
  color: var(--descrip-text, #aaa); }
.vdit-row { display: grid; grid-template-columns: var(--columns); gap: 4px; align-items: center; padding: 0 3px; flex: none;
  border-radius: 4px; border: 1px solid transparent; min-height: 26px; box-sizing: border-box; }
.vdit-row.vdit-chosen { background: #ffffff14; border-color: #ffffff30; }
.vdit-heads { min-height: 0; color: var(--descrip-text, #aaa); font-size: 11px; }
.vdit-row input, .vdit-row select { width: 100%; }
.vdit-drawing .vdit-row input[type=text] { font: inherit; color: inherit; background: transparent;
  border: 1px solid transparent; border-radius: 4px; padding: 2px 4px; min-width: 0; box-sizing: border-box; }
.vdit-drawing .vdit-row input[type=text]:hover, .vdit-drawing .vdit-row input[type=text]:focus {
  border-color: var(--border-color, #4e4e4e); background: var(--comfy-menu-secondary-bg, #303338); }
.vdit-bar.vdit-lines { min-height: 31px; align-items: flex-start; } /* two lines, so that nothing moves when one is said */
.vdit-bar.vdit-lines .vdit-says { white-space: normal; display: -webkit-box; -webkit-line-clamp: 2; -webkit-box-orient: vertical; }
.vdit-warning { color: #f0d9a0 !important; }
.vdit-row .vdit-badge { width: 18px; height: 18px; border-radius: 9px; display: grid; place-items: center; color: #111;
  font-size: 11px; font-weight: bold; }
.vdit-tools { display: flex; }
.vdit-drawing .vdit-tools button { border-radius: 0; margin-left: -1px; }
.vdit-drawing .vdit-tools button:first-child { border-radius: 4px 0 0 4px; margin-left: 0; }
.vdit-drawing .vdit-tools button:last-child { border-radius: 0 4px 4px 0; }
.vdit-drawing button[aria-pressed=true] { background: #2f5d94; border-color: #6aa8ff; color: #fff; position: relative; }
.vdit-drawing button.vdit-plain { border-color: transparent; background: none; padding: 2px 4px; color: var(--descrip-text, #aaa); }
.vdit-drawing button.vdit-plain:hover { color: inherit; }
`;
