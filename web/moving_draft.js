// The draft of VDiT Simulate and the render of VDiT Camera Render, moving on their node: while it forms, and as a video that loops once it is done.
import { html } from "./drawing.js";
import { Screen, addressOf, giveScreen } from "./screen.js";

const HEIGHT = 280; // px at least, on the node

class MovingDraft extends Screen {
  constructor(node) {
    super(node, "vdit_draft", "VDIT_DRAFT", { label: "Draft", height: HEIGHT });
    this.show(null);
  }

  show(output) {
    const [file] = output?.vdit_draft ?? [];
    this.line.textContent = file ? (output.vdit_line ?? []).join("\n") : "Run to see what happens here.";
    if (!file) return this.stage.replaceChildren();
    const video = html("video", { src: addressOf(file), autoplay: true, loop: true, playsinline: true, controls: true });
    video.muted = true; // what is not muted does not play by itself
    this.stage.replaceChildren(video);
  }
}

giveScreen("VDiT.MovingDraft", "VDiTSimulate", (node) => new MovingDraft(node));
giveScreen("VDiT.MovingRender", "VDiTCameraRender", (node) => new MovingDraft(node));
