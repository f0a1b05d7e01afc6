// A screen on a node: the pictures of what forms while it runs, then what it has made; kept over undo and changes of tab.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { addStyle, html, mount, watch } from "./drawing.js";
import { outputOf } from "./picture.js";

/** A subclass gives show(output): it fills `stage` with what the node sent, and `line` with what is said of it. */
export class Screen {
  constructor(node, name, type, { label, height }) {
    this.node = node;
    addStyle("vdit-screen-style", STYLE);
    this.stage = html("div", { class: "vdit-stage" });
    this.line = html("div", { class: "vdit-line" });
    this.root = html("div", { class: "vdit-screen", role: "group", "aria-label": label }, this.stage, this.line);
    this.root.style.minHeight = `${height}px`; // Nodes 2.0 asks the element, the classic canvas getMinHeight
    this.widget = node.addDOMWidget(name, type, this.root, {
      serialize: false, // neither in the prompt
      hideOnZoom: false,
      getMinHeight: () => height,
      getValue: () => "",
      setValue: () => {},
    });
    this.widget.serialize = false; // nor in the saved workflow: it belongs to a run
  }

  /** The node begins to run. */
  begin() {
    this.done = false;
  }

  /** A picture of what forms; show() puts the finished thing in its place. */
  forming(blob) {
    if (this.image) URL.revokeObjectURL(this.image.src);
    else this.image = html("img", { class: "vdit-forming", alt: "" });
    this.image.src = URL.createObjectURL(blob);
    if (this.image.isConnected) return;
    this.stage.replaceChildren(this.image);
    this.line.textContent = "";
  }

  attach() {
    mount(this.root, this.node, ".vdit-screen");
  }

  /** After a change of tab or an undo: what the node showed last, if the front end still knows. */
  render() {
    const output = outputOf(this.node);
    if (output && output !== this.output) this.receive(output);
  }

  receive(output) {
    this.output = output;
    this.show(output);
  }
}

/** The address of a file that a node has saved. */
export function addressOf({ filename, subfolder, type }) {
  return api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
}

/** The screen of a node by its id in the prompt; "7:2" is node 2 in the subgraph of node 7. */
function screenOf(id) {
  let graph = app.rootGraph ?? app.graph;
  let node = null;
  for (const part of String(id).split(":")) {
    node = graph?.getNodeById(part) ?? graph?.getNodeById(Number(part));
    graph = node?.subgraph;
  }
  return node?.vditScreen;
}

/** Gives each node of a type the screen that make(node) makes. */
export function giveScreen(extension, nodeType, make) {
  app.registerExtension({
    name: extension,
    nodeCreated(node) {
      if (node.comfyClass !== nodeType) return;
      const screen = make(node);
      node.vditScreen = screen; // keeps it for as long as the node
      node.onDrawBackground = () => {}; // the canvas would draw the forming pictures once more below
      const executed = node.onExecuted;
      node.onExecuted = function (output) {
        executed?.apply(this, arguments);
        screen.done = true;
        screen.receive(output);
      };
      watch(screen);
      const [width, height] = node.computeSize();
      node.setSize([Math.max(width, 340, node.size[0]), Math.max(height, node.size[1])]);
    },
  });
}

app.registerExtension({
  name: "VDiT.Screens",
  setup() {
    api.addEventListener("executing", ({ detail }) => screenOf(detail)?.begin());
    api.addEventListener("b_preview_with_metadata", ({ detail }) => {
      const screen = screenOf(detail.displayNodeId ?? detail.nodeId);
      if (screen && !screen.done) screen.forming(detail.blob); // a late one would hide what has been made
    });
  },
});

// img.contain-size: in Nodes 2.0 the front end's own live picture, which would show the forming pictures once more.
const STYLE = `
.vdit-screen { display: flex; flex-direction: column; gap: 5px; box-sizing: border-box; padding: 5px; border-radius: 6px;
  background: var(--comfy-input-bg, #222); color: var(--input-text, #ddd); font: 12px/1.35 sans-serif; overflow: hidden; }
.vdit-stage { flex: 1 1 0; min-height: 0; display: grid; gap: 4px; place-items: center; }
.vdit-stage > img, .vdit-stage > video { max-width: 100%; max-height: 100%; width: 100%; height: 100%; min-height: 0;
  object-fit: contain; border-radius: 3px; }
[data-node-id]:has(.vdit-screen) img.contain-size, [data-node-id]:has(.vdit-screen) img.contain-size + div { display: none; }
.vdit-line { flex: none; white-space: pre-wrap; min-height: 2.7em; color: var(--descrip-text, #bbb); user-select: text; }
`;
