// One view of a camera path, from above or from the side: conversion between metres and pixels, drawing of cameras.
import { measure, round, svg } from "./drawing.js";
import { forwardOf, poseAt } from "./poses.js";

export const KEY = "#ffd166";
const LINE = "#6aa8ff";
const QUIET = "#8a9099";
const REACH = 34; // px: length of a drawn camera frustum
const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]; // m between grid lines

// Screen right and screen down as world axes: [index, sign]. World: x right, y down, z forward.
const VIEWS = {
  above: { right: [0, 1], down: [2, -1], says: "from above", arrow: "↑ forward" },
  side: { right: [2, 1], down: [1, 1], says: "from the side", arrow: "→ forward" },
};

export class CameraView {
  constructor(name, share) {
    this.name = name;
    Object.assign(this, VIEWS[name]);
    this.surface = svg("svg", { class: "vdit-surface", "data-view": name, style: `flex-grow: ${share}` });
    this.scale = 0;
  }

  // Between the world and the screen

  toScreen(position) {
    const { right, down, x, y, scale } = this;
    return { x: x + scale * right[1] * position[right[0]], y: y + scale * down[1] * position[down[0]] };
  }

  /** A point of the view in metres; the coordinate that the view does not show is taken from `other`. */
  toWorld(point, other) {
    const { right, down, x, y, scale } = this;
    const position = [...other];
    position[right[0]] = round((right[1] * (point.x - x)) / scale, 2);
    position[down[0]] = round((down[1] * (point.y - y)) / scale, 2);
    return position;
  }

  /** Chooses the scale so that the first camera, the subject and all keys are visible. */
  fit({ width, height }, keys, subject) {
    const places = [[0, 0, 0], subject, ...keys.map((key) => key.position)];
    const span = ([axis, sign], least) => {
      const values = places.map((place) => sign * place[axis]);
      const [low, high] = [Math.min(...values), Math.max(...values)];
      return { middle: (low + high) / 2, length: Math.max(high - low, least) };
    };
    const [across, along] = [span(this.right, 2), span(this.down, 2)];
    this.scale = Math.max(0.01, Math.min((width - 2 * REACH) / across.length, (height - 2 * REACH) / along.length));
    this.x = width / 2 - this.scale * across.middle;
    this.y = height / 2 - this.scale * along.middle;
  }

  tip({ position, look }) {
    const { right, down } = this;
    const at = this.toScreen(position);
    const ahead = forwardOf(this.name === "above" ? [look[0], 0] : look);
    return { x: at.x + REACH * right[1] * ahead[right[0]], y: at.y + REACH * down[1] * ahead[down[0]] };
  }

  /** The dot by which a camera is turned; null where it looks along the view's axis and the dot would cover it. */
  handle(key) {
    const [at, tip] = [this.toScreen(key.position), this.tip(key)];
    return Math.hypot(tip.x - at.x, tip.y - at.y) > REACH / 2 ? tip : null;
  }

  // Drawing

  /**
   * keys: the keys that can be dragged; path: the poses to draw, the keys themselves or a preset's; subject: the point
   * that an orbit goes round; now: the pose at the time marker; moving: during a drag the scale does not change.
   */
  draw({ keys, path, selected, subject, now, moving }) {
    const size = measure(this.surface);
    if (!size.width) return;
    if (!moving || !this.scale) this.fit(size, path, subject);
    const parts = this.grid(size);
    const middle = this.toScreen(subject);
    parts.push(
      svg("circle", { cx: middle.x, cy: middle.y, r: 5, fill: "none", stroke: QUIET, "stroke-dasharray": "2 2" }),
      svg("text", { x: middle.x + 9, y: middle.y + 4, style: `fill:${QUIET}` }, `${subject[2]} m`));
    if (path.length > 1) {
      const at = path.map((pose) => this.toScreen(pose.position));
      parts.push(svg("path", { class: "vdit-camera-path", d: "M" + at.map(({ x, y }) => `${x} ${y}`).join("L"), fill: "none",
        stroke: LINE, "stroke-width": 2 }));
      for (let i = 0; i <= 16; i++) { // evenly spaced in time: the closer, the slower
        const dot = this.toScreen(poseAt(path, i / 16).position);
        parts.push(svg("circle", { cx: dot.x, cy: dot.y, r: 2, fill: LINE }));
      }
      if (!keys.length) parts.push(...[0, 0.5, 1].flatMap((t) => this.frustum(poseAt(path, t), QUIET, 0.12)));
    }
    keys.forEach((key, i) => {
      if (i !== selected) parts.push(...this.camera(key, i, false));
    });
    parts.push(...this.frustum(now, "#fff", 0, "3 3"));
    if (keys[selected]) parts.push(...this.camera(keys[selected], selected, true));
    this.surface.replaceChildren(...parts);
  }

  camera(key, i, active) {
    const at = this.toScreen(key.position);
    const tip = active && i > 0 ? this.handle(key) : null;
    const handle = tip
      ? [svg("circle", { class: "vdit-aim", cx: tip.x, cy: tip.y, r: 5, fill: "#fff", stroke: "#000a" })]
      : [];
    return [
      ...this.frustum(key, KEY, active ? 0.4 : 0.15),
      svg("circle", { class: "vdit-key", cx: at.x, cy: at.y, r: 8, fill: KEY, stroke: active ? "#fff" : "#000a",
        "stroke-width": active ? 2.5 : 1 }),
      svg("text", { x: at.x, y: at.y + 4, "text-anchor": "middle", style: "fill:#111;font-weight:bold" }, `${i + 1}`),
      ...handle,
    ];
  }

  frustum(pose, color, opacity, dashes) {
    const at = this.toScreen(pose.position);
    const tip = this.tip(pose);
    const side = Math.tan((Math.min(pose.fov_deg, 120) * Math.PI) / 360);
    const [dx, dy] = [tip.x - at.x, tip.y - at.y];
    const half = [-dy * side, dx * side];
    const d = `M${at.x} ${at.y}L${tip.x + half[0]} ${tip.y + half[1]}L${tip.x - half[0]} ${tip.y - half[1]}Z`;
    return [svg("path", { d, fill: color, "fill-opacity": opacity, stroke: color, "stroke-opacity": 0.9, "stroke-dasharray": dashes })];
  }

  grid({ width, height }) {
    const { x, y, scale } = this;
    const step = STEPS.find((each) => each * scale >= 30) ?? 5000;
    const lines = [];
    for (let u = Math.ceil(-x / scale / step); u * step * scale + x <= width; u++) {
      lines.push(svg("path", { d: `M${x + u * step * scale} 0V${height}`, stroke: u ? "#24282e" : "#3d444d" }));
    }
    for (let v = Math.ceil(-y / scale / step); v * step * scale + y <= height; v++) {
      lines.push(svg("path", { d: `M0 ${y + v * step * scale}H${width}`, stroke: v ? "#24282e" : "#3d444d" }));
    }
    return [...lines,
      svg("text", { x: 6, y: 14 }, this.says),
      svg("text", { x: 6, y: height - 6, style: `fill:${QUIET}` }, `${this.arrow}, grid ${step} m`)];
  }
}
