// The preview: the last picture that came, with its boxes.

const LABEL_PX = 13;
const LINE_PX = 2;
const GOLDEN_ANGLE = 137.5; // neighbouring classes get colours far apart

export class Picture {
  constructor(canvas, words) {
    this.canvas = canvas;
    this.words = words;
    this.classes = [];
    this.image = null;
    this.preview = null;
    this.waiting = null;
    this.decoding = false;
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  // Pictures that come while one is unpacked are passed over, but for the last.
  async show(preview) {
    this.waiting = preview;
    if (this.decoding) return;
    this.decoding = true;
    try {
      while (this.waiting) {
        const next = this.waiting;
        this.waiting = null;
        await this.unpack(next);
      }
    } finally {
      this.decoding = false;
    }
  }

  async unpack(preview) {
    const image = new Image();
    image.src = preview.url;
    try {
      await image.decode();
    } catch {
      this.words.textContent = `The picture of frame ${preview.number} cannot be read`;
      return;
    }
    this.image = image;
    this.preview = preview;
    this.tell();
    this.draw();
  }

  tell() {
    const { number, boxes, labels } = this.preview;
    const found = labels.length ? this.labelled(labels) : this.counted(boxes);
    this.words.textContent = `Frame ${number}: ${found}`;
    this.canvas.setAttribute("aria-label", `Preview of frame ${number}: ${found}`);
  }

  counted(boxes) {
    if (!boxes.length) return "nothing found";
    const counts = new Map();
    for (const box of boxes) {
      const name = this.name(box[5]);
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    return [...counts].map(([name, count]) => (count > 1 ? `${count} × ${name}` : name)).join(", ");
  }

  labelled(labels) {
    const name = (label) => (typeof label === "string" ? label : this.name(label));
    return labels.map(([label, score]) => `${name(label)} ${percent(score)}`).join(", ");
  }

  name(index) {
    return this.classes[index] ?? `class ${index}`;
  }

  draw() {
    if (!this.image) return;
    const { canvas, image, preview } = this;
    canvas.style.aspectRatio = `${preview.width} / ${preview.height}`;
    const dots = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(canvas.clientWidth * dots));
    const height = Math.max(1, Math.round((width * preview.height) / preview.width));
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    const pen = canvas.getContext("2d");
    pen.drawImage(image, 0, 0, width, height);
    const scale = width / preview.width;
    for (const box of preview.boxes) this.drawBox(pen, box, scale, dots);
  }

  drawBox(pen, [x0, y0, x1, y1, score, index], scale, dots) {
    // Whole dots, so that lines are sharp.
    const [left, top, right, bottom] = [x0, y0, x1, y1].map((edge) => Math.round(edge * scale));
    const colour = `hsl(${(index * GOLDEN_ANGLE) % 360} 90% 60%)`;
    pen.strokeStyle = colour;
    pen.lineWidth = LINE_PX * dots;
    pen.strokeRect(left, top, right - left, bottom - top);
    const size = LABEL_PX * dots;
    pen.font = `${size}px system-ui, "DejaVu Sans", sans-serif`;
    pen.textBaseline = "top";
    const words = `${this.name(index)} ${percent(score)}`;
    const high = size * 1.25;
    const above = top >= high ? top - high : top;
    const wide = pen.measureText(words).width + 6 * dots;
    const from = Math.max(0, Math.min(left - dots, this.canvas.width - wide));
    pen.fillStyle = colour;
    pen.fillRect(from, above, wide, high);
    pen.fillStyle = "#000";
    pen.fillText(words, from + 3 * dots, above + size * 0.18);
  }
}

function percent(share) {
  return `${Math.round(share * 100)} %`;
}
