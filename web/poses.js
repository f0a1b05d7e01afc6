// Camera poses between key frames, as control/moves.py interpolates them: linear positions, slerp, eased time.

export const EASINGS = {
  smooth: (s) => s * s * (3 - 2 * s),
  linear: (s) => s,
  in: (s) => s * s,
  out: (s) => s * (2 - s),
};

const RADIANS = Math.PI / 180;
export const focalOf = (fov) => 1 / Math.tan((fov * RADIANS) / 2); // in half picture heights
export const fovOf = (focal) => (2 * Math.atan(1 / focal)) / RADIANS;
const mix = (a, b, s) => a + (b - a) * s;

/** {position [x,y,z] m, look [yaw right, pitch up, roll clockwise] degrees, fov_deg} at time t of sorted keys. */
export function poseAt(keys, t) {
  const last = keys.length - 1;
  const i = keys.findLastIndex((key) => key.t <= t);
  if (i < 0) return keys[0];
  if (i === last) return keys[last];
  const [from, to] = [keys[i], keys[i + 1]];
  const s = EASINGS[from.ease]((t - from.t) / (to.t - from.t));
  return {
    position: from.position.map((value, axis) => mix(value, to.position[axis], s)),
    look: lookOf(slerp(turn(from.look), turn(to.look), s)),
    fov_deg: fovOf(mix(focalOf(from.fov_deg), focalOf(to.fov_deg), s)),
  };
}

/** Quaternion [w, x, y, z] of yaw about y, then pitch about x, then roll about z. */
export function turn([yaw, pitch, roll]) {
  const half = (degrees) => [Math.cos((degrees * RADIANS) / 2), Math.sin((degrees * RADIANS) / 2)];
  const [[cy, sy], [cp, sp], [cr, sr]] = [half(yaw), half(pitch), half(roll)];
  return times(times([cy, 0, sy, 0], [cp, sp, 0, 0]), [cr, 0, 0, sr]);
}

/** The product of two quaternions. */
export function times([a, b, c, d], [e, f, g, h]) {
  return [
    a * e - b * f - c * g - d * h,
    a * f + b * e + c * h - d * g,
    a * g - b * h + c * e + d * f,
    a * h + b * g - c * f + d * e,
  ];
}

/** A vector [x, y, z] rotated by a quaternion. */
export function rotated([w, x, y, z], vector) {
  return times(times([w, x, y, z], [0, ...vector]), [w, -x, -y, -z]).slice(1);
}

/** Spherical interpolation from a to b. */
function slerp(a, b, s) {
  let dot = a.reduce((sum, value, i) => sum + value * b[i], 0);
  const sign = dot < 0 ? -1 : 1; // q and -q are the same rotation: take the shorter arc
  dot = Math.min(1, Math.abs(dot));
  const angle = Math.acos(dot);
  const [u, v] = angle < 1e-6 ? [1 - s, s] : [Math.sin((1 - s) * angle) / Math.sin(angle), Math.sin(s * angle) / Math.sin(angle)];
  const q = a.map((value, i) => u * value + sign * v * b[i]);
  const length = Math.hypot(...q);
  return q.map((value) => value / length);
}

/** Yaw, pitch and roll in degrees of a quaternion: the inverse of turn. */
export function lookOf([w, x, y, z]) {
  const forward = [2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)];
  const pitch = Math.asin(Math.min(1, Math.max(-1, -forward[1])));
  const right = [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)];
  const level = Math.hypot(forward[0], forward[2]) < 1e-9; // looking straight up or down, yaw and roll are the same rotation
  const yaw = level ? Math.atan2(-right[2], right[0]) : Math.atan2(forward[0], forward[2]);
  const down = [Math.sin(yaw) * Math.sin(pitch), Math.cos(pitch), Math.cos(yaw) * Math.sin(pitch)];
  const roll = Math.atan2(dot3(right, down), dot3(right, [Math.cos(yaw), 0, -Math.sin(yaw)]));
  return [yaw, pitch, roll].map((angle) => angle / RADIANS);
}

const dot3 = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];

/** The viewing direction of a camera, as a unit vector [x, y, z]. */
export function forwardOf([yaw, pitch]) {
  const level = Math.cos(pitch * RADIANS);
  return [Math.sin(yaw * RADIANS) * level, -Math.sin(pitch * RADIANS), Math.cos(yaw * RADIANS) * level];
}
