// A live session on the server: messages as JSON both ways, and frames as pictures, of which the newest is shown.
import { api } from "../../scripts/api.js";

const ROUTE = "/vdit/live";
const MAGIC = 0x56444c56; // how each frame begins
const HEADER = 16; // bytes before a frame's picture: magic, number, seconds, the newest message that it shows
const JPEG = 0xff; // first byte of a JPEG file; any other picture is WebP
const FEWEST_DELAYS = 5;
const MOST_DELAYS = 200; // that are remembered, of pointer events
const MOST_WAITING = 2 ** 16; // bytes not sent yet above which a pointer's way is left out
const LOST = "The connection to the server was lost: press ▶ to begin again.";

const running = new Set();
document.addEventListener("visibilitychange", () => { // what nobody sees waits
  if (document.hidden) for (const session of running) session.pause();
});

/**
 * Opens a session of a scene that the server knows by `scene`. owner, which may change, gets what comes:
 * opened(message), changed(message), recorded(message), drawn(bitmap, seconds), ended(sentence).
 */
export class LiveSession {
  constructor(scene, owner) {
    this.scene = scene;
    this.owner = owner;
    this.count = 0; // of messages sent
    this.asked = new Map(); // message's number -> when its pointer event was, until a frame shows it
    this.delays = []; // ms from pointer events to the frames that show them, the newest last
    const base = location.protocol === "https:" ? "wss:" : "ws:";
    running.add(this);
    this.socket = new WebSocket(`${base}//${location.host}${api.apiURL(ROUTE)}`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => this.send({ type: "open", scene });
    this.socket.onmessage = ({ data }) => (typeof data === "string" ? this.hear(JSON.parse(data)) : this.see(data));
    this.socket.onclose = () => this.end(LOST);
  }

  get isOpen() {
    return Boolean(this.about) && this.socket.readyState === WebSocket.OPEN;
  }

  /** when: of the pointer event that the message tells, as event.timeStamp. */
  send(message, when = 0) {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    if (message.type === "move" && this.socket.bufferedAmount > MOST_WAITING) return;
    const n = ++this.count;
    if (when) this.asked.set(n, when);
    this.socket.send(JSON.stringify({ ...message, n }));
  }

  hear(message) {
    if (message.type === "opened") {
      this.first = message;
      this.about = structuredClone(message); // with what the controls set since
      this.owner.opened(this.about);
    } else if (message.type === "state") {
      this.state = message;
      this.owner.changed(message);
    } else if (message.type === "recording") this.owner.recorded(message);
    else if (message.type === "error") this.end(message.message);
  }

  /** Pictures are decoded one at a time; those that came meanwhile are passed over, but for the newest. */
  async see(buffer) {
    if (buffer.byteLength <= HEADER) return;
    this.newest = buffer;
    if (this.isDecoding) return;
    this.isDecoding = true;
    while (this.newest) {
      const head = new DataView(this.newest);
      const type = head.getUint8(HEADER) === JPEG ? "image/jpeg" : "image/webp";
      const picture = new Blob([this.newest.slice(HEADER)], { type });
      this.newest = null;
      if (head.getUint32(0, true) !== MAGIC) continue;
      const bitmap = await createImageBitmap(picture).catch(() => null); // a damaged one is passed over
      if (!bitmap) continue;
      this.owner.drawn(bitmap, head.getFloat32(8, true));
      bitmap.close();
      this.measure(head.getUint32(12, true));
    }
    this.isDecoding = false;
  }

  /** Notes how long the pointer events took that the frame shows which the screen takes next. */
  measure(seen) {
    const shown = [...this.asked].filter(([n]) => n <= seen);
    for (const [n] of shown) this.asked.delete(n);
    if (!shown.length) return;
    requestAnimationFrame(() => {
      const now = performance.now();
      this.delays.push(...shown.map(([, when]) => now - when));
      this.delays.splice(0, this.delays.length - MOST_DELAYS);
    });
  }

  /** Median of the delays in ms; 0 while too few were measured. */
  get delay() {
    return this.delays.length < FEWEST_DELAYS ? 0 : this.delays.toSorted((a, b) => a - b)[this.delays.length >> 1] ?? 0;
  }

  /** Back to the beginning, everything as it was when the session was opened. */
  reset() {
    this.about = structuredClone(this.first);
    this.send({ type: "reset" });
  }

  pause() {
    if (this.state && !this.state.paused) this.send({ type: "pause" });
  }

  close() {
    this.end("");
  }

  end(reason) {
    if (this.isOver) return;
    this.isOver = true;
    running.delete(this);
    this.socket.close();
    this.owner.ended(reason);
  }
}
