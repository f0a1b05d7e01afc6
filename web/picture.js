// The picture that a node's image input will get, as far as the front end can know it before a run.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const FROM_SUBGRAPH_INPUT = -10; // litegraph's id for a subgraph's own input side
const BYPASSED = 4;
const MUTED = 2;
const STILL = /\.(png|jpe?g|webp|gif|bmp|avif)$/i;
const FARTHEST = 50; // links followed upstream

/**
 * The address of the best picture to draw over, or "":
 * the file chosen in a connected Load Image; else what this node showed of its input when it last ran; else the last
 * preview of the nodes before it, the nearest first.
 */
export function findPicture(node, input = "start_image", type = "IMAGE") {
  const chain = upstream(node, input, type);
  return chosenFile(chain[0]) || executed(node) || chain.map((each) => chosenFile(each) || executed(each)).find(Boolean) || "";
}

/** The name of a node's first input of a type. */
export const firstOf = (node, type) => node.inputs?.find((each) => each.type === type)?.name;

/** The nodes that make what comes in, the nearest first; reroutes, bypassed nodes and subgraph borders are skipped. */
export function upstream(node, input, type = "IMAGE") {
  const found = [];
  let slot = node.inputs?.findIndex((each) => each.name === input) ?? -1;
  for (let step = 0; step < FARTHEST && slot >= 0; step++) {
    const origin = source(node, slot);
    if (!origin || origin.mode === MUTED) break;
    const passes = origin.mode === BYPASSED || origin.type === "Reroute";
    if (!passes) found.push(origin);
    node = origin;
    slot = passes && origin.inputs?.length === 1 ? 0 : (origin.inputs?.findIndex((each) => each.type === type) ?? -1);
  }
  return found;
}

/** The node behind an input, followed out of and into subgraphs; null where nothing is connected. */
function source(node, slot) {
  let graph = node.graph;
  let link = linkOf(graph, node.inputs?.[slot]?.link);
  for (let step = 0; step < FARTHEST && link; step++) {
    if (link.origin_id === FROM_SUBGRAPH_INPUT) {
      const outer = nodeOf(app.rootGraph ?? app.graph, graph);
      link = linkOf(outer?.graph, outer?.inputs?.[link.origin_slot]?.link);
      graph = outer?.graph;
      continue;
    }
    const origin = graph.getNodeById(link.origin_id);
    if (!origin?.subgraph || origin.mode === BYPASSED) return origin ?? null;
    graph = origin.subgraph;
    link = linkOf(graph, graph.outputs?.[link.origin_slot]?.linkIds?.[0]);
  }
  return null;
}

function linkOf(graph, id) {
  if (!graph || id === null || id === undefined) return null;
  return graph.getLink?.(id) ?? graph.links?.get?.(id) ?? graph.links?.[id] ?? null;
}

/** The node that stands for a subgraph in the graph around it. */
function nodeOf(graph, subgraph) {
  for (const node of graph?.nodes ?? []) {
    if (!node.subgraph) continue;
    if (node.subgraph === subgraph) return node;
    const inner = nodeOf(node.subgraph, subgraph);
    if (inner) return inner;
  }
  return null;
}

/** The file chosen in Load Image and its kin: their widget is called image and holds "folder/name.png [type]". */
function chosenFile(node) {
  const value = node?.widgets?.find((widget) => widget.name === "image")?.value;
  if (typeof value !== "string") return "";
  const [, name, type] = value.match(/^(.*?)(?: \[(input|output|temp)\])?$/);
  return STILL.test(name) ? address(name, type ?? "input") : "";
}

/** What a node sent when it last ran, by key. */
export function outputOf(node) {
  const root = app.rootGraph ?? app.graph;
  const key = node?.graph && node.graph !== root ? `${node.graph.id}:${node.id}` : String(node?.id);
  return app.nodeOutputs?.[key];
}

/** The picture that a node showed when it last ran; our nodes send `vdit_picture`, which is not shown a second time. */
function executed(node) {
  const output = outputOf(node);
  const file = (output?.vdit_picture ?? output?.images)?.[0];
  return file && STILL.test(file.filename) ? address(file.filename, file.type, file.subfolder) : "";
}

function address(path, type, subfolder) {
  const cut = path.lastIndexOf("/");
  const query = { filename: path.slice(cut + 1), type, subfolder: subfolder ?? path.slice(0, Math.max(cut, 0)) };
  return api.apiURL(`/view?${new URLSearchParams(query)}`);
}
