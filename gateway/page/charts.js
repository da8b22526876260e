// Small pictures of numbers, without axes: what matters stands beside them in words.

import { svg } from "./dom.js";

const WIDTH = 100;
const HEIGHT = 32;

function picture(label, ...children) {
  const box = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label };
  const base = svg("line.base", { x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT });
  return svg("svg.spark", box, base, ...children);
}

/** Draw values that follow each other in equal steps. */
export function line(values, label) {
  const most = Math.max(...values, 1e-9);
  const step = WIDTH / Math.max(1, values.length - 1);
  const points = values.map((value, i) => `${(i * step).toFixed(2)},${(HEIGHT * (1 - value / most)).toFixed(2)}`);
  return picture(
    label,
    svg("polygon.area", { points: `0,${HEIGHT} ${points.join(" ")} ${WIDTH},${HEIGHT}` }),
    svg("polyline.line", { points: points.join(" ") }),
  );
}

/** Draw one bar for each value; there is room for `places`, and the newest stands at the right. */
export function bars(values, places, label) {
  const most = Math.max(...values, 1e-9);
  const step = WIDTH / places;
  return picture(
    label,
    ...values.map((value, i) => {
      const height = Math.max(1, HEIGHT * (value / most));
      const x = WIDTH - (values.length - i) * step;
      return svg("rect.bar", { x, y: HEIGHT - height, width: step * 0.7, height });
    }),
  );
}

/** Draw which part of a whole something is, and where it begins; all three in the same unit. */
export function part(begin, length, whole) {
  const scale = WIDTH / whole;
  return svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} 4`, preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect.track", { width: WIDTH, height: 4 }),
    svg("rect.part", { x: begin * scale, width: Math.max(0.6, length * scale), height: 4 }),
  );
}
