// What one really sees of each code cell's outputs in the notebook `panel`. `widgets`: kind -> where it draws.
// A picture counts its pixels, a canvas its colours, an SVG its shapes; what has no size on the page counts nothing.

const area = (element) => {
  const { width, height } = element.getBoundingClientRect();
  return width * height;
};

function colours(canvas) {
  if (!canvas.width || !canvas.height) return 0;
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return new Set(new Uint32Array(data.buffer)).size;
}

function drawn(element) {
  if (!element || !area(element)) return 0;
  if (element.tagName === "CANVAS") return colours(element);
  if (element.tagName === "IMG") return element.complete ? element.naturalWidth * element.naturalHeight : 0;
  return [...element.querySelectorAll("rect, path, circle, line, text, use")].filter((shape) => {
    const { width, height } = shape.getBBox();
    return width || height;
  }).length;
}

/** The letters that show once a fold is opened, its summary apart. */
function folded(details) {
  details.open = true;
  const inside = [...details.children].filter((child) => child.tagName !== "SUMMARY" && area(child));
  const letters = inside.reduce((sum, child) => sum + child.innerText.trim().length, 0);
  details.open = false;
  return letters;
}

async function whatIsDrawn(panel, widgets) {
  const told = [];
  for (const cell of panel.content.widgets) {
    if (cell.model.type !== "code") continue;
    cell.node.scrollIntoView();
    await new Promise(requestAnimationFrame);
    const find = (selector) => [...cell.node.querySelectorAll(`.jp-OutputArea-output ${selector}`)];
    await Promise.all(find("img").map((image) => image.decode().catch(() => null)));
    const pictures = cell.node.querySelectorAll(".jp-RenderedImage img, .jp-RenderedSVG img, .jp-RenderedSVG svg");
    told.push({
      outputs: [...cell.node.querySelectorAll(".jp-OutputArea-output")].map(area),
      pictures: [...pictures].map(drawn),
      widgets: Object.entries(widgets).flatMap(([kind, selector]) => find(selector).map((e) => [kind, drawn(e)])),
      folds: find("details").filter((e) => !e.parentElement.closest("details")).map(folded),
    });
  }
  return told;
}
