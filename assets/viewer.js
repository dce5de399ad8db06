/* The picture: wheel zoom around the pointer, drag to pan, and the heat map drawn over it. */
const ZOOM_MAX = 40;
const ZOOM_STEP = 1.25;

class Viewer {
  /** @param {HTMLElement} stage @param {HTMLElement} canvas the moved layer inside the stage */
  constructor(stage, canvas) {
    this.stage = stage;
    this.layer = canvas;
    this.size = null; // [width, height] of the picture
    this.view = { scale: 1, x: 0, y: 0 };
    this.heat = null;
    stage.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    stage.addEventListener("pointerdown", (event) => this.onDrag(event));
    stage.addEventListener("dblclick", (event) => {
      if (!event.target.closest("button")) this.reset();
    });
    new ResizeObserver(() => this.fit()).observe(stage);
  }

  /** @param {HTMLImageElement} image decoded @param {number} width @param {number} height */
  show(image, width, height) {
    image.draggable = false;
    this.heat = null;
    this.layer.replaceChildren(image);
    this.size = [width, height];
    this.view = { scale: 1, x: 0, y: 0 };
    this.fit();
  }

  clear() {
    this.layer.replaceChildren();
    this.size = null;
    this.heat = null;
  }

  /** Lay the picture out so that it fits; zoom and pan are kept. */
  fit() {
    if (!this.size) return;
    const [width, height] = this.size;
    const ratio = Math.min(this.stage.clientWidth / width, this.stage.clientHeight / height);
    this.layer.style.width = `${width * ratio}px`;
    this.layer.style.height = `${height * ratio}px`;
    this.apply();
  }

  reset() {
    this.view = { scale: 1, x: 0, y: 0 };
    this.apply();
  }

  /** @param {number} factor @param {{x: number, y: number}} [around] in stage pixels from its centre */
  zoom(factor, around = { x: 0, y: 0 }) {
    const { scale, x, y } = this.view;
    const next = Math.min(ZOOM_MAX, Math.max(1, scale * factor));
    const change = next / scale;
    this.view = { scale: next, x: around.x - (around.x - x) * change, y: around.y - (around.y - y) * change };
    this.apply();
  }

  /** Keep some of the picture in sight and move the layer. */
  apply() {
    const view = this.view;
    const reach = (length, room) => Math.max(0, (length * view.scale - room) / 2);
    const maxX = reach(this.layer.offsetWidth, this.stage.clientWidth);
    const maxY = reach(this.layer.offsetHeight, this.stage.clientHeight);
    view.x = Math.min(maxX, Math.max(-maxX, view.x));
    view.y = Math.min(maxY, Math.max(-maxY, view.y));
    this.layer.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.scale})`;
    this.stage.dataset.zoomed = String(view.scale > 1.001);
    const shown = this.size ? (this.layer.offsetWidth * view.scale) / this.size[0] : 1;
    this.layer.dataset.pixels = String(shown > 6);
  }

  onWheel(event) {
    if (!this.size || event.ctrlKey) return;
    event.preventDefault();
    const box = this.stage.getBoundingClientRect();
    const around = { x: event.clientX - box.left - box.width / 2, y: event.clientY - box.top - box.height / 2 };
    this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), around);
  }

  onDrag(event) {
    if (!this.size || event.button !== 0 || event.target.closest("button")) return;
    const start = { x: event.clientX - this.view.x, y: event.clientY - this.view.y };
    const move = (moved) => {
      this.view.x = moved.clientX - start.x;
      this.view.y = moved.clientY - start.y;
      this.apply();
    };
    const end = () => {
      this.stage.removeEventListener("pointermove", move);
      delete this.stage.dataset.dragging;
    };
    this.stage.setPointerCapture(event.pointerId);
    this.stage.dataset.dragging = "true";
    this.stage.addEventListener("pointermove", move);
    this.stage.addEventListener("pointerup", end, { once: true });
    this.stage.addEventListener("pointercancel", end, { once: true });
  }

  /** @param {{grid: [number, number], values: number[]}} map rows first, 255 = strongest */
  showHeat({ grid, values }) {
    this.hideHeat();
    this.heat = paintHeat(grid, values);
    this.heat.className = "ann-heat";
    this.layer.append(this.heat);
  }

  hideHeat() {
    if (this.heat) this.heat.remove();
    this.heat = null;
  }
}
