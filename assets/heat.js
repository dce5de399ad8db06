/* Where the model looked for the focused category, drawn over the picture. */
const HEAT_CELL = 24; // pixels of the drawn heat map per grid cell

class HeatMap {
  /** @param {Viewer} viewer @param {HTMLElement} badge @param {HTMLButtonElement} button */
  constructor(viewer, badge, button) {
    this.viewer = viewer;
    this.badge = badge;
    this.button = button;
    this.on = false;
    this.maps = new Map();
    this.target = null;
  }

  toggle() {
    this.on = !this.on;
    this.button.setAttribute("aria-pressed", String(this.on));
    this.draw();
  }

  /** @param {ProjectApi} api @param {Loaded|null} loaded @param {object|null|undefined} category */
  follow(api, loaded, category) {
    this.target = loaded && category ? { api, loaded, category } : null;
    this.draw();
  }

  async draw() {
    const { target } = this;
    this.badge.hidden = true;
    this.viewer.hideHeat();
    if (!this.on || !target) return;
    let words = `Where the model looked for ${target.category.name}`;
    let map = null;
    try {
      map = await this.read(target);
    } catch (error) {
      if (!(error instanceof Refusal || error instanceof Unreachable)) throw error;
      words = error.message;
    }
    if (this.target !== target || !this.on) return;
    if (map) this.viewer.showHeat(map);
    this.badge.textContent = words;
    this.badge.hidden = false;
  }

  /** One request per picture, category and generation; a failed one may be asked again. */
  read({ api, loaded, category }) {
    const key = `${loaded.image.id}:${category.id}:${loaded.generation}`;
    if (!this.maps.has(key)) {
      if (this.maps.size > 200) this.maps.clear();
      const reading = api.attention(loaded.image.id, category.id);
      this.maps.set(key, reading);
      reading.catch(() => this.maps.delete(key));
    }
    return this.maps.get(key);
  }
}

/** Interpolate first and colour afterwards, so that edges keep the colours of the scale. */
function paintHeat([rows, columns], values) {
  const small = new OffscreenCanvas(columns, rows);
  const dots = new ImageData(columns, rows);
  values.forEach((value, i) => dots.data.set([value, value, value, 255], i * 4));
  small.getContext("2d").putImageData(dots, 0, 0);
  const canvas = make("canvas", { width: columns * HEAT_CELL, height: rows * HEAT_CELL });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  for (let i = 0; i < pixels.data.length; i += 4) pixels.data.set(heatColour(pixels.data[i] / 255), i);
  context.putImageData(pixels, 0, 0);
  return canvas;
}

/** Dark violet, red, yellow: rising lightness, readable without colour vision; weak places stay clear. */
function heatColour(t) {
  const stops = [[40, 11, 84], [159, 42, 99], [240, 96, 32], [252, 255, 164]];
  const at = Math.min(2.999, t * 3);
  const [from, to] = [stops[Math.floor(at)], stops[Math.floor(at) + 1]];
  const mix = at - Math.floor(at);
  const colour = from.map((value, i) => value + (to[i] - value) * mix);
  return [...colour, 225 * Math.min(1, t * 1.15) ** 0.9 * 0.8];
}
