// What hands do in live play: keys and gamepads move the camera and a robot's actuators, the pointer is sent in steps.

// By where keys are, not by what they write: WASD lies alike on every keyboard.
const CAMERA = {
  KeyW: "w", KeyA: "a", KeyS: "s", KeyD: "d", KeyQ: "q", KeyE: "e",
  ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down",
  Equal: "+", NumpadAdd: "+", Minus: "-", NumpadSubtract: "-",
};
// One key above the other for each actuator: more, and less.
const PAIRS = [...["RF", "TG", "YH", "UJ", "IK", "OL"].map(([more, less]) => [`Key${more}`, `Key${less}`]),
  ["KeyP", "Semicolon"], ["BracketLeft", "Quote"]];
const SIGNS = { Semicolon: ";", BracketLeft: "[", Quote: "'" };
const STILL = 0.35; // of a stick's way that does not count yet for the camera
const SLACK = 0.12; // of a stick's way that does not count yet for an actuator
const SECONDS = 2; // in which an actuator goes through its whole range
const LONGEST = 0.1; // seconds of a step, however long the page stood still

/** The keys of an actuator by its number, to be shown: "R F"; "" where there are none. */
export const keysOf = (i) => PAIRS[i]?.map((code) => SIGNS[code] ?? code.slice(3)).join(" ") ?? "";

/** Calls send with the newest arguments, at once or when `wait` ms have passed since the last call; flush() at once. */
export function inSteps(send, wait) {
  let last = -Infinity;
  let timer = 0;
  let newest = null;
  const flush = () => {
    clearTimeout(timer);
    timer = 0;
    if (!newest) return;
    const given = newest;
    newest = null;
    last = performance.now();
    send(...given);
  };
  const step = (...given) => {
    newest = given;
    const left = last + wait - performance.now();
    if (left <= 0) flush();
    else timer ||= setTimeout(flush, left);
  };
  step.flush = flush;
  return step;
}

let active = null; // whom gamepads belong to: the play that was touched last

/**
 * player: keys(held) gets the names of all camera keys that are held, at each change; turn(i, share) moves an actuator by
 * a share of its range; actuators() is how many there are; press() is the gamepad's first button.
 */
export class Hands {
  constructor(player) {
    this.player = player;
    this.codes = new Set();
    this.told = "";
    this.pressed = false;
  }

  take() {
    active = this;
  }

  /** Whether the key is one of play's. */
  down({ code }) {
    const turns = PAIRS.slice(0, this.player.actuators()).flat().includes(code);
    if (!CAMERA[code] && !turns) return false;
    this.codes.add(code);
    this.tell();
    return true;
  }

  up({ code }) {
    if (this.codes.delete(code)) this.tell();
  }

  release() {
    this.codes.clear();
    this.tell();
  }

  tell(sticks = []) {
    const keys = [...this.codes].map((code) => CAMERA[code]).filter(Boolean);
    const held = [...new Set([...keys, ...sticks])].sort();
    if (held.join() === this.told) return;
    this.told = held.join();
    this.player.keys(held);
  }

  /** To be called before each picture of the screen; now: ms. */
  step(now) {
    const seconds = Math.min(LONGEST, (now - (this.before ?? now)) / 1000);
    this.before = now;
    const count = this.player.actuators();
    const rates = PAIRS.slice(0, count).map(([more, less]) => this.codes.has(more) - this.codes.has(less));
    const pad = active === this ? [...(navigator.getGamepads?.() ?? [])].find((each) => each?.connected) : null;
    if (pad) {
      const { sticks, turns } = readPad(pad, count > 0);
      this.tell(sticks);
      turns.slice(0, count).forEach((rate, i) => (rates[i] = (rates[i] ?? 0) + rate));
      const pressed = Boolean(pad.buttons[0]?.pressed);
      if (pressed && !this.pressed) this.player.press();
      this.pressed = pressed;
    }
    rates.forEach((rate, i) => rate && this.player.turn(i, (rate * seconds) / SECONDS));
  }
}

/**
 * A gamepad of the standard layout. Where there is a robot, sticks, shoulder buttons and triggers drive its first six
 * actuators, the left and the right button the next two together, and the cross the camera; without one the sticks fly,
 * and the triggers zoom.
 */
function readPad(pad, hasRobot) {
  const axis = (i) => pad.axes[i] ?? 0;
  const value = (i) => pad.buttons[i]?.value ?? 0;
  const names = (rows) => rows.filter(([is]) => is).map(([, name]) => name);
  const cross = [[value(12), "up"], [value(13), "down"], [value(14), "left"], [value(15), "right"]];
  if (hasRobot) {
    const grip = value(2) - value(1);
    const turns = [axis(0), -axis(1), axis(2), -axis(3), value(5) - value(4), value(7) - value(6), grip, grip];
    return { sticks: names(cross), turns: turns.map((rate) => (Math.abs(rate) < SLACK ? 0 : rate)) };
  }
  const [x, y, u, v] = [0, 1, 2, 3].map(axis);
  const sticks = names([
    [x < -STILL, "a"], [x > STILL, "d"], [y < -STILL, "w"], [y > STILL, "s"],
    [u < -STILL, "left"], [u > STILL, "right"], [v < -STILL, "up"], [v > STILL, "down"],
    [value(4), "q"], [value(5), "e"], [value(6) > STILL, "-"], [value(7) > STILL, "+"], ...cross,
  ]);
  return { sticks, turns: [] };
}
