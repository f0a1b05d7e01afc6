// What a camera preset will do, as control/moves.py has it, so that it can be seen and turned into keys.
import { EASINGS, focalOf, fovOf, lookOf, rotated, times, turn } from "./poses.js";

const RADIANS = Math.PI / 180;
const PER_AMOUNT = 4; // keys after the first on a way that is no straight line: an orbit's are 7.5 degrees apart

/** Per move, for s = amount * eased time: what changes. ahead: where the first camera looks, upright axes, y down. */
const MOVES = {
  static: () => ({}),
  pan: (s) => ({ yaw: 12 * s }),
  tilt: (s) => ({ pitch: 8 * s }),
  roll: (s) => ({ roll: 10 * s }),
  dolly: (s, ahead) => ({ place: ahead.map((value) => 2 * s * value) }),
  truck: (s) => ({ place: [s, 0, 0] }),
  pedestal: (s) => ({ place: [0, -0.6 * s, 0] }),
  zoom: (s) => ({ focal: 1.5 ** s }),
  orbit: (s, ahead, distance) => {
    const pivot = ahead.map((value) => distance * value);
    const turned = rotated(turn([-30 * s, 0, 0]), pivot);
    return { yaw: -30 * s, place: pivot.map((value, axis) => value - turned[axis]) };
  },
};

/** The pose at time t in the first camera's axes; null for a preset that no formula here states (handheld). */
export function presetPose({ preset, amount, easing, fov_deg, distance, look_down_deg }, t) {
  if (!MOVES[preset] || !EASINGS[easing]) return null;
  const down = look_down_deg * RADIANS;
  const ahead = [0, Math.sin(down), Math.cos(down)];
  const { yaw = 0, pitch = 0, roll = 0, place = [0, 0, 0], focal = 1 } = MOVES[preset](amount * EASINGS[easing](t), ahead, distance);
  const level = turn([0, look_down_deg, 0]); // undoes the first camera's look down
  return {
    position: rotated(level, place),
    look: lookOf(times(level, turn([yaw, pitch - look_down_deg, roll]))),
    fov_deg: fovOf(focal * focalOf(fov_deg)),
  };
}

/** Key frames that move as a preset does, or null. Two where straight lines and one turn say it all. */
export function presetKeys(settings) {
  if (!presetPose(settings, 0)) return null;
  const { preset, amount, easing } = settings;
  const level = settings.look_down_deg === 0 || ["dolly", "truck", "pedestal", "static", "tilt"].includes(preset);
  const straight = level && !["orbit", "zoom"].includes(preset) && Math.abs(12 * amount) < 170;
  const steps = straight ? 1 : Math.min(16, PER_AMOUNT * Math.max(1, Math.round(Math.abs(amount))));
  const even = { ...settings, easing: "linear" };
  const eases = (i) => {
    if (straight) return easing;
    if (i === 0 && ["smooth", "in"].includes(easing)) return "in";
    return i === steps - 1 && ["smooth", "out"].includes(easing) ? "out" : "linear";
  };
  return Array.from({ length: steps + 1 }, (_, i) => {
    const share = i / steps; // of the way: keys at even places, at the times when the eased move is there
    return { t: straight ? share : timeOf(easing, share), ease: eases(i), ...presetPose(even, share) };
  });
}

/** When an easing has gone a share of the way. */
function timeOf(easing, share) {
  let [low, high] = [0, 1];
  for (let i = 0; i < 40; i++) {
    const middle = (low + high) / 2;
    if (EASINGS[easing](middle) < share) low = middle;
    else high = middle;
  }
  return share === 0 ? 0 : share === 1 ? 1 : (low + high) / 2;
}
