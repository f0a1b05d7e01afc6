// A drawing over a picture: the backdrop, places as shares of the picture, and the brush that follows the pointer.
import { Drawing, measure, svg } from "./drawing.js";
import { findPicture } from "./picture.js";

/** A subclass puts `this.surface`, an svg, into its root, and draws `backdrop()` into an svg of the size of `frame`. */
export class PictureDrawing extends Drawing {
  /** The address of the picture to draw over, or "". */
  findPicture() {
    return findPicture(this.node);
  }

  /** Lines of text in place of a picture that is not known. */
  hint() {
    return [];
  }

  /** Width / height of the surface. */
  aspect() {
    return this.picture ? this.picture.width / this.picture.height : 1;
  }

  toPicture({ x, y }) {
    return [(x - this.frame.x) / this.frame.width, (y - this.frame.y) / this.frame.height];
  }

  toScreen([x, y]) {
    return { x: this.frame.x + x * this.frame.width, y: this.frame.y + y * this.frame.height };
  }

  layOut() {
    const { width, height } = measure(this.surface);
    const aspect = this.aspect();
    const wide = Math.max(1, Math.min(width, height * aspect));
    this.frame = { x: (width - wide) / 2, y: (height - wide / aspect) / 2, width: wide, height: wide / aspect };
  }

  backdrop() {
    const { width, height } = this.frame;
    if (this.picture) {
      if (this.image?.getAttribute("href") !== this.picture.url) {
        this.image = svg("image", { href: this.picture.url, preserveAspectRatio: "xMidYMid slice" });
      }
      this.image.setAttribute("width", width); // one element throughout: a new one would flicker
      this.image.setAttribute("height", height);
      return [this.image];
    }
    const lines = [1, 2, 3].map((i) =>
      svg("path", { d: `M${(width * i) / 4} 0V${height}M0 ${(height * i) / 4}H${width}`, stroke: "#2b2f35" }));
    const hint = this.hint();
    const text = hint.map((line, i) => {
      const y = height / 2 + 16 * (i - (hint.length - 1) / 2);
      return svg("text", { x: width / 2, y, "text-anchor": "middle" }, line);
    });
    return [svg("rect", { width, height, fill: "#1c1f23" }), ...lines, ...text];
  }

  look() {
    const url = this.findPicture();
    if (url === this.wanted) {
      if (this.frame && Math.abs(this.aspect() - this.frame.width / this.frame.height) > 1e-3) this.render();
      return;
    }
    this.wanted = url;
    const show = (picture, missing) => {
      if (this.wanted !== url) return;
      this.picture = picture;
      this.missing = missing;
      this.render();
    };
    if (!url) return show(null, false);
    const image = new Image();
    image.onload = () => show({ url, width: image.naturalWidth, height: image.naturalHeight }, false);
    image.onerror = () => show(null, true);
    image.src = url;
  }
}
