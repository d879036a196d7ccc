// What the explorer computes and draws: images, distances, bits, histogram. It keeps no state.

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in node && typeof value !== "string") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function bytes(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

// An image: its label (null if unknown), packed code, kept cells, picture.
function readImages(gallery) {
  const codes = bytes(gallery.codes);
  const kept = bytes(gallery.kept);
  const width = codes.length / gallery.names.length;
  const cells = gallery.side ** 2;
  return gallery.names.map((name, i) => ({
    name,
    label: gallery.labels ? gallery.labels[i] : null,
    code: codes.subarray(i * width, (i + 1) * width),
    kept: kept.subarray(i * cells, (i + 1) * cells),
    source: `data:image/webp;base64,${gallery.thumbnails[i]}`,
  }));
}

function bitAt(code, k) {
  return (code[k >> 3] >> (7 - (k & 7))) & 1;
}

function ones(byte) {
  let count = 0;
  for (; byte; byte &= byte - 1) count += 1;
  return count;
}

// Number of differing bits among the first `length`.
function distance(a, b, length) {
  let count = 0;
  for (let i = 0; i < length >> 3; i += 1) count += ones(a[i] ^ b[i]);
  const rest = length & 7;
  if (rest) count += ones(((a[length >> 3] ^ b[length >> 3]) & 0xff) >> (8 - rest));
  return count;
}

// All database images but the query itself, nearest first; ties in database order.
function search(query, database, length) {
  return database
    .filter((image) => image !== query)
    .map((image) => ({ image, bits: distance(query.code, image.code, length) }))
    .sort((a, b) => a.bits - b.bits);
}

// The class that an image is shown with. In an album no image has one, and nothing is said of it.
function className(gallery, image) {
  if (!gallery.labels) return "";
  return image.label === null ? "class unknown" : gallery.classes[image.label];
}

function count(n, noun) {
  return `${n} ${noun}${n === 1 ? "" : "s"}`;
}

// A file's name that may break where its words end, and elsewhere only if it must.
function breakable(name) {
  return name.match(/[^/_-]*[/_-]*/g).flatMap((word) => [word, element("wbr")]);
}

function percent(share) {
  return `${Math.round(100 * share)}\u00a0%`;
}

// A picture; what the chosen stages drop is dimmed. alt: "" where its name stands beside it.
function picture(gallery, image, stages, alt = "") {
  const box = element("span", { class: "picture" });
  box.append(element("img", { src: image.source, alt }));
  if (stages && image.kept.length) {
    const canvas = element("canvas", { width: gallery.side, height: gallery.side });
    const pen = canvas.getContext("2d");
    const pixels = pen.createImageData(gallery.side, gallery.side);
    image.kept.forEach((cell, i) => {
      pixels.data.set([10, 14, 30, cell & stages ? 0 : 150], 4 * i);
    });
    pen.putImageData(pixels, 0, 0);
    box.append(canvas);
  }
  return box;
}

// Bits as cells in groups of eight. Marked: those that differ from `other`; faded: beyond `length`.
function strip(image, bits, length, other) {
  const row = element("span", { class: "bits", "aria-hidden": "true" });
  for (let k = 0; k < bits; k += 1) {
    const names = [bitAt(image.code, k) ? "one" : "zero"];
    if (k >= length) names.push("unused");
    else if (other && bitAt(image.code, k) !== bitAt(other.code, k)) names.push("differs");
    row.append(element("i", { class: names.join(" ") }));
  }
  return row;
}

function spelled(image, length) {
  const signs = Array.from({ length }, (_, k) => bitAt(image.code, k)).join("");
  return signs.replace(/(.{8})(?=.)/g, "$1 ");
}

// Share of each group at each distance: the query's class upwards, all others downwards, on one
// scale. If the query's class is unknown, there is one group, upwards.
function shares(found, query, length) {
  const groups = query.label === null ? { open: [] } : { right: [], wrong: [] };
  for (const { image, bits } of found) {
    groups[query.label === null ? "open" : image.label === query.label ? "right" : "wrong"].push(bits);
  }
  return Object.entries(groups).map(([name, distances]) => {
    const share = Array(length + 1).fill(0);
    for (const bits of distances) share[bits] += 1 / distances.length;
    return { name, share, peak: share.indexOf(Math.max(...share)), some: distances.length > 0 };
  });
}

const GROUPS = { right: "same class", wrong: "other classes", open: "all images" };

function histogram(found, query, length, radius) {
  const sides = shares(found, query, length);
  const top = Math.max(...sides.flatMap(({ share }) => share)) || 1;
  const tick = [0.5, 0.2, 0.1, 0.05, 0.02, 0.01].find((each) => each <= top) || top;
  const [width, left, half] = [400, 42, sides.length > 1 ? 60 : 110];
  const [middle, bottom] = [14 + half, 14 + half * sides.length];
  const step = (width - left - 10) / (length + 1);
  const place = (d) => left + d * step;
  const at = (x, y, words, kind) => `<text class="${kind}" x="${x.toFixed(2)}" y="${y.toFixed(2)}">${words}</text>`;
  const box = (kind, x, y, w, h) =>
    `<rect class="${kind}" x="${x.toFixed(2)}" y="${y.toFixed(2)}" width="${w.toFixed(2)}" height="${h.toFixed(2)}"/>`;
  const across = (y, kind) => `<line class="${kind}" x1="${left}" x2="${width - 10}" y1="${y.toFixed(2)}" y2="${y.toFixed(2)}"/>`;
  let shapes = box("ball", left, 14, (radius + 1) * step, bottom - 14);
  for (const [i, { name, share }] of sides.entries()) {
    const way = i ? 1 : -1;
    const level = middle + (way * half * tick) / top;
    shapes += across(level, "level") + at(left - 6, level + 4, percent(tick), "end");
    share.forEach((part, d) => {
      const height = (part / top) * half;
      if (height) shapes += box(name, place(d), i ? middle : middle - height, 0.8 * step, height);
    });
    shapes += at(width - 10, i ? bottom - 4 : 24, GROUPS[name], "end side");
  }
  for (let d = 0; d <= length; d += length > 24 ? 8 : 4) {
    shapes += at(place(d) + 0.4 * step, bottom + 15, d, "");
  }
  const tallest = sides.filter(({ some }) => some).map(({ name, share, peak }) =>
    `${GROUPS[name]}, ${percent(share[peak])} at ${count(peak, "bit")}`);
  const two = sides.length > 1;
  const what = two ? "Same class upwards, other classes downwards, on one scale" : "All images";
  return `<svg viewBox="0 0 ${width} ${bottom + 36}" role="img" aria-label="Share of images at each distance. ${what}. Most at one distance: ${tallest.join("; ")}.">
    ${shapes}${across(middle, "")}
    ${at((left + width - 10) / 2, bottom + 31, `Hamming distance (bits); share of ${two ? "each group" : "images"}`, "")}</svg>`;
}

function summary(gallery, query, found, inside, radius) {
  const near = `${count(inside.length, gallery.labels ? "database image" : "picture")} within ${count(radius, "bit")}`;
  if (query.label === null) return `${near}.`;
  const same = (hit) => hit.image.label === query.label;
  const right = inside.filter(same).length;
  const all = found.filter(same).length;
  const start = `${near}: ${right} of the query's class, ${inside.length - right} of others.`;
  const precision = inside.length ? `Precision ${percent(right / inside.length)}, ` : "";
  const recall = all ? `recall ${percent(right / all)} (${right} of ${all}).` : "";
  return `${start} ${precision}${precision ? recall : recall.replace("r", "R")}`;
}

function slider(label, id, min, max, value) {
  const input = element("input", { type: "range", id, min, max, value });
  const shown = element("span", { class: "value", "aria-hidden": "true" }); // the slider says it
  return [element("div", { class: "slider" }, element("label", { for: id }, label), input, shown), input, shown];
}

// The control that chooses which stages' kept regions are shown, and its row.
function regions(gallery, id) {
  const stages = element("select", { id });
  stages.append(element("option", { value: "0" }, "off"));
  if (gallery.stages) {
    stages.append(element("option", { value: "255" }, "any stage"));
    for (let l = 0; l < gallery.stages; l += 1) {
      const where = l === 0 ? " (finest)" : l === gallery.stages - 1 ? " (deepest)" : "";
      stages.append(element("option", { value: `${1 << l}` }, `stage ${l + 1}${where}`));
    }
    stages.value = "255";
  }
  const row = element("div", { class: "choice" }, element("label", { for: id }, "Kept regions"), stages);
  if (!gallery.stages) {
    stages.disabled = true;
    row.append(element("span", { class: "note" }, "this method keeps none"));
  }
  return [row, stages];
}

// Call `take` with the files that are dropped on a part of the page. Else the browser would open
// them in place of the page.
function acceptDrops(target, take) {
  const over = (event, inside) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    event.stopPropagation();
    target.classList.toggle("over", inside);
  };
  target.addEventListener("dragover", (event) => over(event, true));
  target.addEventListener("dragleave", (event) => over(event, target.contains(event.relatedTarget)));
  target.addEventListener("drop", (event) => {
    over(event, false);
    if (event.defaultPrevented) take([...event.dataTransfer.files]);
  });
}
