// The controls below live play: gravity, wind and speed, what a body is made of, and a robot's actuators.
import { clamp, html, round, slider } from "./drawing.js";
import { inSteps, keysOf } from "./live_input.js";
import { choice } from "./rows.js";
import { MATERIALS } from "./scene_objects_text.js";

const EARTH = 9.81; // m/s^2
const STEP = 30; // ms between messages of one slider
const UNLIMITED = [-1, 1]; // what a slider of an actuator without a range spans

/** play: the widget; send(message) to its session. */
export class Panel {
  constructor(play, send) {
    this.play = play;
    this.send = send;
    const set = (message) => {
      Object.assign(this.about, message); // a widget that an undo made anew shows it again
      this.send({ type: "set", ...message });
    };
    const control = (label, title, range, edit) => {
      const tell = inSteps(() => set(edit()), STEP);
      const row = slider(label, title, range, (value) => {
        row.value = value;
        row.write();
        tell();
      }, () => play.root.focus({ preventScroll: true }));
      return row;
    };
    this.gravity = control("Gravity", "How strongly things fall, in m/s². 9.81 on Earth, 1.62 on the Moon, 0: nothing falls",
      { min: 0, max: 20, step: 0.01 }, () => ({ gravity: this.gravity.value }));
    this.slow = control("Speed", "Below 100 %: slow motion, while you play. What is kept runs at its own speed",
      { min: 0.05, max: 1, step: 0.05 }, () => ({ slow: this.slow.value }));
    const wind = () => ({ wind: [this.across.value, this.away.value, 0] });
    const range = { min: -15, max: 15, step: 0.5 };
    this.across = control("Wind →", "Wind to the right in m/s; below 0: to the left", range, wind);
    this.away = control("Wind ↗", "Wind away from you in m/s; below 0: towards you", range, wind);
    this.gravity.write = () => this.gravity.show(this.gravity.value, `${round(this.gravity.value, 2)}`);
    this.slow.write = () => this.slow.show(this.slow.value);
    for (const row of [this.across, this.away]) row.write = () => row.show(row.value, `${row.value} m/s`);
    this.body = choice(play, "Body", "Whose material is changed: the body that you took last, or another one", [],
      (name) => this.choose(name));
    this.material = choice(play, "Material", "What it is made of from now on: weight, friction and bounce", [],
      (name) => {
        this.about.materials[this.body.shown] = name;
        this.send({ type: "set", material: [this.body.shown, name] });
      });
    this.actuators = html("div", { class: "vdit-actuators" });
    this.actuators.addEventListener("wheel", (event) => {
      if (this.actuators.scrollHeight > this.actuators.clientHeight) event.stopPropagation(); // else the graph zooms
    });
    this.root = html("div", { class: "vdit-panel" },
      html("div", { class: "vdit-bar" }, this.gravity, this.slow),
      html("div", { class: "vdit-bar" }, this.across, this.away),
      html("div", { class: "vdit-bar" }, html("span", {}, "Material of"), this.body, html("span", {}, "is"), this.material),
      this.actuators,
    );
    this.open({});
  }

  /** about: what the session said of its scene when it was opened, and what was set since; kept up to date. */
  open(about) {
    this.about = about;
    about.materials ??= {};
    const { gravity = EARTH, slow = 1, wind = [0, 0, 0], actuators = [] } = about;
    for (const [row, value] of [[this.gravity, gravity], [this.slow, slow], [this.across, wind[0]], [this.away, wind[1]]]) {
      row.value = value;
      row.write();
    }
    const bodies = Object.keys(about.materials);
    this.body.again(bodies.map((name) => [name, name]));
    this.body.parentElement.hidden = !bodies.length;
    this.choose(bodies[0]);
    this.rows = actuators.map((actuator, i) => this.actuator(actuator, i));
    this.actuators.replaceChildren(...this.rows);
    this.actuators.hidden = !actuators.length;
  }

  /** The body whose material is shown; others, as a robot's links, have none to choose. */
  choose(name) {
    const material = this.about.materials[name];
    if (material === undefined) return;
    this.body.showValue(name);
    const named = MATERIALS.includes(material);
    this.material.again([...(named ? [] : [["", material || "its own"]]), ...MATERIALS.map((each) => [each, each])]);
    this.material.showValue(named ? material : "");
  }

  actuator(actuator, i) {
    const { name, low, high, value } = actuator;
    const [min, max] = Number.isFinite(low) && Number.isFinite(high) ? [low, high] : UNLIMITED;
    const keys = keysOf(i);
    const tell = inSteps(() => this.send({ type: "set", actuator: name, value: row.value }), STEP);
    const title = `Target of the actuator ${name}, ${round(min, 3)} to ${round(max, 3)}${keys ? `. Keys: ${keys}` : ""}`;
    const row = slider(name, title, { min, max, step: (max - min) / 1000 || 1 }, (target) => row.set(target),
      () => this.play.root.focus({ preventScroll: true }));
    row.set = (target) => {
      row.value = actuator.value = clamp(target, min, max);
      row.show(row.value, `${round(row.value, 2)}`);
      tell();
    };
    row.turn = (share) => row.set(row.value + share * (max - min));
    row.value = clamp(value ?? 0, min, max);
    row.show(row.value, `${round(row.value, 2)}`);
    row.prepend(html("kbd", {}, keys));
    return row;
  }
}
