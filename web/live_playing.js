// Live play as it is played: the session of a node's scene, what was kept of it, keys and the pointer.
import { clamp, round } from "./drawing.js";
import { LiveSession } from "./live_socket.js";
import { outputOf } from "./picture.js";
import { PictureDrawing } from "./picture_drawing.js";

const LEFT = 60_000; // ms for which a session waits for its node to be drawn again: an undo, another workflow's tab
const OUTSIDE = 1; // how far a drag may leave the frame, as a share of its size

/**
 * A subclass builds `panel` (the controls), `hands` (the keys), `move` (which tells where the pointer is) and `canvas`,
 * and renders.
 */
export class Playing extends PictureDrawing {
  constructor(...given) {
    super(...given);
    this.watchNode();
  }

  get tool() {
    return this.memory.tool ?? "grab";
  }

  /** What is shown: draft, painted, depth, masks or flow. */
  get show() {
    return this.memory.show ?? "draft";
  }

  // The value: what was kept

  read(text) {
    if (!text) return { text: "" };
    const { seconds, actions, camera } = JSON.parse(text);
    if (!Number.isFinite(seconds) || !Array.isArray(actions)) throw new Error('expected {"seconds": ..., "actions": [...]}');
    return { text, seconds, actions: actions.length, camera: Boolean(camera?.length) };
  }

  write({ text }) {
    return text;
  }

  count() {
    return this.data.text ? 1 : 0;
  }

  remove() {} // Delete takes neither what was kept nor the node

  // The session. It outlives this widget, which the graph's undo makes anew, in the drawing's memory.

  /** output: what the node sent when it ran. Each run makes a session of its own, since it may have another scene. */
  meet(output) {
    const scene = output?.vdit_live?.[0]?.session;
    if (!scene || scene === this.memory.scene) return;
    this.memory.scene = scene;
    this.connect();
  }

  connect({ plays = false } = {}) {
    this.memory.session?.close();
    this.plays = plays;
    this.problem = "";
    this.adopt((this.memory.session = new LiveSession(this.memory.scene, this)));
  }

  adopt(session) {
    this.session = session;
    session.owner = this;
    this.hasFrame = false;
    if (session.about) this.opened(session.about);
    const step = (now) => {
      if (this.session !== session || session.owner !== this) return;
      this.hands.step(now);
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
    this.render();
  }

  opened(about) {
    this.about = about;
    this.canvas.width = about.width;
    this.canvas.height = about.height;
    this.panel.open(about);
    if (this.show === "painted" && !about.painter) this.memory.show = "draft";
    this.session.send({ type: "view", show: this.show }); // brings a frame, also while paused
    if (this.plays) this.session.send({ type: "play" });
    this.plays = false;
    this.render();
  }

  changed({ holding }) {
    if (holding) this.panel.choose(holding);
    this.render();
  }

  recorded({ actions }) {
    let kept;
    try {
      kept = this.read(actions);
    } catch (reason) {
      this.problem = `What was done cannot be kept: ${reason.message}`;
      return this.render();
    }
    this.problem = kept.seconds ? "" : "Nothing has happened yet: press ▶ and play, then Keep.";
    if (kept.seconds) this.change(() => (this.data = kept));
    else this.render();
  }

  drawn(bitmap, seconds) {
    this.canvas.getContext("2d").drawImage(bitmap, 0, 0, this.canvas.width, this.canvas.height);
    this.seconds = seconds;
    if (!this.hasFrame) {
      this.hasFrame = true;
      this.render();
    }
    this.showTime();
  }

  ended(reason) {
    if (this.memory.session === this.session) this.memory.session = null;
    this.session = null;
    this.problem = reason;
    this.render();
  }

  look() {
    super.look();
    this.meet(outputOf(this.node));
    const kept = this.memory.session;
    if (kept && kept !== this.session) this.adopt(kept);
  }

  /**
   * A run brings a session. It ends when the node is gone for good, and waits, paused, for an undo or until its workflow
   * is shown again.
   */
  watchNode() {
    const after = (name, then) => {
      const before = this.node[name];
      this.node[name] = (...given) => {
        before?.apply(this.node, given);
        then(...given);
      };
    };
    after("onExecuted", (output) => this.meet(output));
    after("onRemoved", () => {
      const { session } = this;
      session?.pause();
      setTimeout(() => this.gone && session?.owner === this && session.close(), LEFT);
    });
  }

  // Playing

  get state() {
    return this.session?.state ?? { time: 0, paused: true };
  }

  toggle() {
    if (this.session) this.session.send({ type: this.state.paused ? "play" : "pause" });
    else if (this.memory.scene) this.connect({ plays: true });
  }

  reset() {
    if (!this.session?.isOpen) return;
    this.session.reset();
    this.panel.open(this.session.about);
  }

  focus() {
    this.root.focus({ preventScroll: true });
  }

  enlarge() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.root.requestFullscreen?.().catch(() => {}); // a page in a frame may not
  }

  keydown(event) {
    const { target, ctrlKey, metaKey, altKey, code } = event;
    const typing = target.matches("select, input:not([type=range])");
    if (typing || ctrlKey || metaKey || altKey) return super.keydown(event);
    if (code === "Space" && target.matches("button")) return event.stopPropagation(); // presses it
    if (target.matches("input") && code.startsWith("Arrow")) return event.stopPropagation(); // moves the slider
    if (code === "Space") event.repeat || this.toggle();
    else if (!this.session || !this.hands.down(event)) {
      if (code === "Escape" && document.fullscreenElement) return;
      if (!["Delete", "Backspace", "Escape"].includes(code)) return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  begin(from, { timeStamp }) {
    if (!this.session?.isOpen) return this.toggle();
    const place = (point) => {
      const [x, y] = this.toPicture(point).map((value) => round(clamp(value, -OUTSIDE, 1 + OUTSIDE)));
      return { x, y };
    };
    if (this.state.paused) this.session.send({ type: "play" });
    if (this.tool === "push") return this.beginPush(from, place);
    this.session.send({ type: "grab", ...place(from) }, timeStamp);
    const drop = () => {
      this.move.flush();
      this.session?.send({ type: "drop" });
    };
    return { move: (point, event) => this.move(place(point), event.timeStamp), end: drop, click: drop, cancel: drop };
  }

  beginPush(from, place) {
    const draw = (to) => {
      this.arrow = to && [from, to];
      this.render();
    };
    const push = (to, { timeStamp }) => {
      const [a, b] = [place(from), place(to)];
      this.session?.send({ type: "push", from: [a.x, a.y], to: [b.x, b.y] }, timeStamp);
      draw(null);
    };
    return { move: draw, end: push, click: () => draw(null), cancel: () => draw(null) };
  }
}
