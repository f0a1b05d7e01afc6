// Geometry of drawn lines: lists of {x, y} in pixels.

/** Pixels from a point to the nearest place on a line. */
export function distance(point, line) {
  let least = Math.hypot(point.x - line[0].x, point.y - line[0].y);
  for (let i = 1; i < line.length; i++) least = Math.min(least, toSegment(point, line[i - 1], line[i]));
  return least;
}

function toSegment(point, a, b) {
  const [dx, dy] = [b.x - a.x, b.y - a.y];
  const share = ((point.x - a.x) * dx + (point.y - a.y) * dy) / (dx * dx + dy * dy || 1);
  const t = Math.min(1, Math.max(0, share));
  return Math.hypot(point.x - a.x - t * dx, point.y - a.y - t * dy);
}

/** The place at a share 0..1 of a line's length. */
export function along(line, share) {
  let left = share * total(line);
  for (let i = 1; i < line.length; i++) {
    const [a, b] = [line[i - 1], line[i]];
    const step = Math.hypot(b.x - a.x, b.y - a.y);
    if (step > 0 && left <= step) return { x: a.x + (b.x - a.x) * (left / step), y: a.y + (b.y - a.y) * (left / step) };
    left -= step;
  }
  return line.at(-1);
}

export function total(line) {
  return line.slice(1).reduce((sum, point, i) => sum + Math.hypot(point.x - line[i].x, point.y - line[i].y), 0);
}

/** Chevrons that point along a line: one at its end, and one about every `every` pixels before it. */
export function arrowheads(line, every, size = 8) {
  const length = total(line);
  if (length < 4) return [];
  const count = Math.max(1, Math.floor(length / every));
  return Array.from({ length: count }, (_, i) => {
    const share = (i + 1) / count;
    const tip = along(line, share);
    const back = along(line, Math.max(0, share - Math.min(size, length) / length)); // the direction over a few pixels, since hands tremble
    const angle = Math.atan2(tip.y - back.y, tip.x - back.x);
    const wing = (turn) => ({ x: tip.x - size * Math.cos(angle + turn), y: tip.y - size * Math.sin(angle + turn) });
    return [wing(0.5), tip, wing(-0.5)];
  });
}

/** Douglas-Peucker: the fewest points that stay within `tolerance` pixels; place(point) -> [x, y] in pixels. */
export function simplified(points, place, tolerance = 1) {
  if (points.length < 3) return points;
  const line = points.map((point) => {
    const [x, y] = place(point);
    return { x, y };
  });
  const kept = new Set([0, points.length - 1]);
  const open = [[0, points.length - 1]];
  while (open.length) {
    const [first, last] = open.pop();
    let worst = tolerance;
    let at = -1;
    for (let i = first + 1; i < last; i++) {
      const away = toSegment(line[i], line[first], line[last]);
      if (away > worst) [worst, at] = [away, i];
    }
    if (at < 0) continue;
    kept.add(at);
    open.push([first, at], [at, last]);
  }
  return points.filter((_, i) => kept.has(i));
}
