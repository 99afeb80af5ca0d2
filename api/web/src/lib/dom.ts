/**
 * Making elements in one line each.
 *
 * In:    a tag (with `.classes`), properties and children.
 * Out:   the element.
 * Never: innerHTML. SVG comes from our own constants through `svg`, parsed as XML.
 */

type Child = Node | string | null;
type Attributes = Record<string, string | boolean | EventListener>;

/** `h('p.note', { id: 'x' }, 'text')` */
export function h(tag: string, attributes: Attributes = {}, ...children: Child[]): HTMLElement {
  const [name = 'div', ...classes] = tag.split('.');
  const element = document.createElement(name);
  if (classes.length > 0) element.className = classes.join(' ');
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(key, value);
    else if (typeof value === 'boolean') element.toggleAttribute(key, value);
    else element.setAttribute(key, value);
  }
  for (const child of children) if (child !== null) element.append(child);
  return element;
}

/** An inline drawing, hidden from readers: words beside it say the same. */
export function svg(viewBox: string, body: string, className = ''): Element {
  const text = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="${viewBox}" class="${className}" aria-hidden="true" focusable="false">${body}</svg>`;
  const parsed = new DOMParser().parseFromString(text, 'image/svg+xml').documentElement;
  return document.importNode(parsed, true);
}

/** Writes text only when it changed: screen readers and the layout stay quiet otherwise. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows or hides. */
export function setShown(element: HTMLElement, shown: boolean): void {
  if (element.hidden === shown) element.hidden = !shown;
}
