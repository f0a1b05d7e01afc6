// Which object is meant by a place on a picture: the same rule as world/arrows.py:body_under.
import { distance } from "./lines.js";

const NEAR = 0.04; // of the picture's width: an arrow may start so far beside an object (world/arrows.py:NEAR)

/**
 * The number of the smallest object that holds a place [x, y] (shares of the picture); -1: none does.
 * objects: [{outlines, box, strokes}], the first of these that is known counts. beside: the picture's width over its
 * height, where the nearest object within NEAR is meant too if none holds the place.
 */
export function under(objects, place, beside = 0) {
  const found = objects.map((object, i) => ({ i, away: away(object, place, beside), area: areaOf(object) }));
  return found.filter((each) => each.away <= NEAR).sort((a, b) => a.away - b.away || a.area - b.area)[0]?.i ?? -1;
}

/** Picture widths from a place to an object; 0 inside; outside without an aspect it is Infinity. */
function away(object, place, aspect) {
  if (covers(object, place)) return 0;
  if (!aspect) return Infinity;
  const local = ([x, y]) => ({ x, y: y / aspect });
  const lines = object.outlines?.map((line) => [...line, line[0]]) ?? (object.box ? [cornersOf(object.box)] : []);
  return Math.min(Infinity, ...lines.map((line) => distance(local(place), line.map(local))));
}

const cornersOf = ([x0, y0, x1, y1]) => [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]];

/** Whether a place is within an object: in its outline, else in its box, else on one of its strokes. */
function covers({ outlines, box, strokes }, [x, y]) {
  if (outlines) return outlines.reduce((inside, line) => inside !== within(line, x, y), false);
  if (box && x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3]) return true;
  const line = (points) => points.map(([px, py]) => ({ x: px, y: py }));
  return strokes.some((stroke) => !stroke.erase && distance({ x, y }, line(stroke.points)) <= Math.max(stroke.size, 0.01));
}

function within(line, x, y) {
  let inside = false;
  for (let i = 0, j = line.length - 1; i < line.length; j = i++) {
    const [[ax, ay], [bx, by]] = [line[i], line[j]];
    if (ay > y !== by > y && x < ax + ((y - ay) / (by - ay)) * (bx - ax)) inside = !inside;
  }
  return inside;
}

/** Share of the picture that an object takes, roughly. */
function areaOf({ outlines, box }) {
  if (!outlines) return box ? (box[2] - box[0]) * (box[3] - box[1]) : 0;
  const twice = (line) => line.reduce((sum, [x, y], i) => sum + x * line.at(i - 1)[1] - y * line.at(i - 1)[0], 0);
  return Math.max(0, ...outlines.map((line) => Math.abs(twice(line)) / 2));
}
