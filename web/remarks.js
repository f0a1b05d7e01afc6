// Shows what a VDiT node remarked (words it does not know, sizes it was not trained on) or reports as text on the node.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const REMARKS = { name: "vdit_remarks", color: "#f0d9a0", background: "#3a2f12" };
const REPORT = { name: "vdit_report", color: "#cfd8e3", background: "#1d2733" };

const heightOf = (element) => 20 + 32 * element.textContent.split("\n").length; // px, if each line is broken once
const SHORT = 120; // px: more may grow with the node

function show(node, text, { name, color, background }) {
  let widget = node.widgets?.find((w) => w.name === name);
  if (!text) {
    if (widget) {
      node.widgets = node.widgets.filter((w) => w !== widget);
      widget.onRemove?.();
      app.graph.setDirtyCanvas(true, true);
    }
    return;
  }
  if (!widget) {
    const element = document.createElement("div");
    element.textContent = text;
    element.style.cssText =
      "min-height:48px; overflow:auto; white-space:pre-wrap; font-size:12px; padding:6px; box-sizing:border-box;" +
      `border-radius:4px; color:${color}; background:${background}; user-select:text;`;
    widget = node.addDOMWidget(name, "VDIT_REMARKS", element, {
      serialize: false, // neither in the prompt
      hideOnZoom: false,
      getMinHeight: () => Math.min(180, heightOf(element)),
      getValue: () => element.textContent,
      setValue: () => {},
    });
    widget.serialize = false; // nor in the saved workflow: it belongs to a run
    if (heightOf(element) <= SHORT) {
      // A few lines take their own height and no more: a drawing or a picture on the same node has better use for it.
      widget.computeSize = (width) => [width, heightOf(element)];
      widget.computeLayoutSize = undefined;
    }
    const [width, height] = node.computeSize();
    node.setSize([Math.max(width, node.size[0]), Math.max(height, node.size[1])]);
  }
  widget.element.textContent = text;
  app.graph.setDirtyCanvas(true, true);
}

app.registerExtension({
  name: "VDiT.Remarks",
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!nodeData.name.startsWith("VDiT")) return;
    const executed = nodeType.prototype.onExecuted;
    nodeType.prototype.onExecuted = function (output) {
      executed?.apply(this, arguments);
      show(this, output?.text?.join("\n"), REMARKS);
      const saysIt = this.vditScreen ?? this.vditLive; // below itself
      if (!saysIt) show(this, output?.vdit_line?.join("\n"), REPORT);
    };
  },
  setup() {
    // A node that runs again may have nothing left to remark.
    api.addEventListener("executing", ({ detail }) => {
      const node = detail ? app.graph.getNodeById(detail) ?? app.graph.getNodeById(Number(detail)) : null;
      if (node?.comfyClass?.startsWith("VDiT")) for (const kind of [REMARKS, REPORT]) show(node, "", kind);
    });
  },
});
