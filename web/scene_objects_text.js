// The JSON text of objects marked on a picture (lift/objects.py), to and from what the widget edits.
import { round } from "./drawing.js";

export const MATERIALS = ["wood", "rubber", "glass", "ceramic", "steel", "foam", "ice", "stone"];
const NEW = { material: "wood", fixed: false, thickness: null, box: null };

/** Throws an Error that says what is wrong. What the widget does not edit (camera, light) is carried along. */
export function readObjects(text) {
  if (!text) return { objects: [], ground: null, light: null };
  const data = JSON.parse(text);
  if (data?.version !== 1 || !Array.isArray(data.objects ?? [])) throw new Error('expected {"version": 1, "objects": [...]}');
  const numbers = (list, count) => Array.isArray(list) && list.length === count && list.every(Number.isFinite);
  const objects = (data.objects ?? []).map((object, i) => {
    const strokes = object?.strokes ?? [];
    if (typeof object?.name !== "string") throw new Error(`object ${i + 1} has no name`);
    if (object.box && !numbers(object.box, 4)) throw new Error(`${object.name}: the box is no list of 4 numbers`);
    const good = (stroke) => stroke?.points?.length && stroke.points.every((point) => numbers(point, 2));
    if (!Array.isArray(strokes) || !strokes.every(good)) throw new Error(`${object.name}: a stroke has no points`);
    return { ...NEW, ...object, strokes: strokes.map((stroke) => ({ size: 0.02, erase: false, ...stroke })) };
  });
  return { objects, ground: data.ground ?? null, light: data.light ?? null };
}

export function writeObjects({ objects, ground, light }) {
  if (!objects.length && !ground && !light) return "";
  return JSON.stringify({
    version: 1,
    objects: objects.map(({ name, material, fixed, thickness, box, strokes }) => ({
      name, material, fixed, thickness,
      box: box && box.map((value) => round(value)),
      strokes: strokes.map(({ points, size, erase }) => ({
        points: points.map(([x, y]) => [round(x), round(y)]), size: round(size), erase,
      })),
    })),
    ground,
    light,
  });
}

/** An object with a name that none has yet: "object 1", "object 2", ... */
export function newObject(objects, marks) {
  let number = objects.length + 1;
  while (objects.some(({ name }) => name === `object ${number}`)) number++;
  return { ...NEW, name: `object ${number}`, strokes: [], ...marks };
}

/** The name, made different from the others' where one of them has it already; the old one where it is empty. */
export function uniqueName(name, objects, index) {
  const taken = objects.filter((_, i) => i !== index).map((each) => each.name);
  const wanted = name.trim() || objects[index].name;
  let free = wanted;
  for (let number = 2; taken.includes(free); number++) free = `${wanted} ${number}`;
  return free;
}
