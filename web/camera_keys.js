// Key frames of a camera path as the JSON text that the widget stores and control/moves.py reads.
import { round } from "./drawing.js";
import { EASINGS } from "./poses.js";

/** The keys in a text, sorted by time; numbers that are missing get defaults. Throws for text that is no path. */
export function readKeys(text, fovDeg) {
  if (!text) return [];
  const data = JSON.parse(text);
  if (data?.version !== 1 || !Array.isArray(data.keys)) throw new Error('expected {"version": 1, "keys": [...]}');
  const keys = data.keys.map((key, i) => {
    const whole = { position: [0, 0, 0], look: [0, 0, 0], fov_deg: fovDeg, ease: "linear", ...key };
    const { t, position, look, fov_deg, ease } = whole;
    const threes = [position, look].every((value) => Array.isArray(value) && value.length === 3);
    if (!threes || ![t, fov_deg, ...position, ...look].every(Number.isFinite) || !(ease in EASINGS)) {
      throw new Error(`key ${i + 1} lacks numbers or has an unknown ease`);
    }
    return { t, position: [...position], look: [...look], fov_deg, ease };
  });
  return keys.sort((a, b) => a.t - b.t);
}

/** The text of keys, rounded to 0.1 mm and 0.01 degrees; "" without keys. */
export function writeKeys(keys) {
  if (!keys.length) return "";
  return JSON.stringify({
    version: 1,
    keys: keys.map(({ t, position, look, fov_deg, ease }) => ({
      t: round(t),
      position: position.map((value) => round(value)),
      look: look.map((value) => round(value, 2)),
      fov_deg: round(fov_deg, 2),
      ease,
    })),
  });
}
