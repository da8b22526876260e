// Elements, and nothing else: text is always text, for what a model writes may look like HTML.

const SVG = "http://www.w3.org/2000/svg";

/**
 * Make an element.
 * @param {string} name Its tag, with classes as in CSS: `p.note`.
 * @param {Record<string, string | number | boolean | undefined>} attributes Those that are undefined or false are left out.
 * @param {...(Node | string | null | undefined)} children Strings become text.
 */
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(tag(name)), name, attributes, children);
}

/** The same for SVG. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag(name)), name, attributes, children);
}

/** Return the element that has an id. */
export function byId(id) {
  return document.getElementById(id);
}

function tag(name) {
  return name.split(".", 1)[0];
}

function fill(element, name, attributes, children) {
  const classes = name.split(".").slice(1);
  if (classes.length) element.setAttribute("class", classes.join(" "));
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}
