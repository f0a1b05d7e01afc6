// Camera presets as control/moves.py makes them, so that they can be shown and turned into keys.
import { EASINGS, focalOf, fovOf, lookOf, rotated, times, turn } from "./poses.js";

const RADIANS = Math.PI / 180;
const KEYS_PER_AMOUNT = 4; // keys after the first of a curved move: an orbit's are 7.5 degrees apart

// The meaning of amount 1 of each preset, from the table that Python reads too.
const { presets: TABLE } = await (await fetch(new URL("camera_moves.json", import.meta.url))).json();

/** What a preset changes at share = amount * eased time, and by = the table's amount * share (degrees or metres).
 * ahead: the first camera's viewing direction in level axes, y down. */
const MOVES = {
  static: () => ({}),
  pan: (by) => ({ yaw: by }),
  tilt: (by) => ({ pitch: by }),
  roll: (by) => ({ roll: by }),
  dolly: (by, ahead) => ({ position: ahead.map((value) => by * value) }),
  truck: (by) => ({ position: [by, 0, 0] }),
  pedestal: (by) => ({ position: [0, -by, 0] }),
  zoom: (by, ahead, distance, share) => ({ zoom: TABLE.zoom.amount ** share }),
  orbit: (by, ahead, distance) => {
    const pivot = ahead.map((value) => distance * value);
    const turned = rotated(turn([-by, 0, 0]), pivot);
    return { yaw: -by, position: pivot.map((value, axis) => value - turned[axis]) };
  },
};

/** The pose at time t in the first camera's axes; null for a preset that has no formula here (handheld). */
export function presetPose({ preset, amount, easing, fov_deg, distance, look_down_deg }, t) {
  if (!MOVES[preset] || !EASINGS[easing]) return null;
  const down = look_down_deg * RADIANS;
  const ahead = [0, Math.sin(down), Math.cos(down)];
  const share = amount * EASINGS[easing](t);
  const by = TABLE[preset].amount * share;
  const { yaw = 0, pitch = 0, roll = 0, position = [0, 0, 0], zoom = 1 } = MOVES[preset](by, ahead, distance, share);
  const level = turn([0, look_down_deg, 0]); // from level axes to the first camera's
  return {
    position: rotated(level, position),
    look: lookOf(times(level, turn([yaw, pitch - look_down_deg, roll]))),
    fov_deg: fovOf(zoom * focalOf(fov_deg)),
  };
}

/** Key frames that move as a preset does, or null; two keys where linear interpolation between them is exact. */
export function presetKeys(settings) {
  if (!presetPose(settings, 0)) return null;
  const { preset, amount, easing } = settings;
  const level = settings.look_down_deg === 0 || ["dolly", "truck", "pedestal", "static", "tilt"].includes(preset);
  const straight = level && !["orbit", "zoom"].includes(preset) && Math.abs(TABLE.pan.amount * amount) < 170;
  const steps = straight ? 1 : Math.min(16, KEYS_PER_AMOUNT * Math.max(1, Math.round(Math.abs(amount))));
  const even = { ...settings, easing: "linear" };
  const eases = (i) => {
    if (straight) return easing;
    if (i === 0 && ["smooth", "in"].includes(easing)) return "in";
    return i === steps - 1 && ["smooth", "out"].includes(easing) ? "out" : "linear";
  };
  return Array.from({ length: steps + 1 }, (_, i) => {
    const share = i / steps; // keys at even steps of the move, at the times when the eased move reaches them
    return { t: straight ? share : timeOf(easing, share), ease: eases(i), ...presetPose(even, share) };
  });
}

/** The time at which an easing reaches a share, by bisection. */
function timeOf(easing, share) {
  let [low, high] = [0, 1];
  for (let i = 0; i < 40; i++) {
    const middle = (low + high) / 2;
    if (EASINGS[easing](middle) < share) low = middle;
    else high = middle;
  }
  return share === 0 ? 0 : share === 1 ? 1 : (low + high) / 2;
}
