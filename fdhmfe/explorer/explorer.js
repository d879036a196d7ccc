// The retrieval explorer, in Jupyter (through anywidget) and in a page of its own.
// model.get("gallery") is Gallery.as_json(); model.send exists only where a kernel listens.

const SHOWN = 24; // neighbours drawn at most

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
    label: gallery.labels[i],
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
export function distance(a, b, length) {
  let count = 0;
  for (let i = 0; i < length >> 3; i += 1) count += ones(a[i] ^ b[i]);
  const rest = length & 7;
  if (rest) count += ones(((a[length >> 3] ^ b[length >> 3]) & 0xff) >> (8 - rest));
  return count;
}

// All database images but the query itself, nearest first; ties in database order.
export function search(query, database, length) {
  return database
    .filter((image) => image !== query)
    .map((image) => ({ image, bits: distance(query.code, image.code, length) }))
    .sort((a, b) => a.bits - b.bits);
}

function className(gallery, image) {
  return image.label === null ? "class unknown" : gallery.classes[image.label];
}

// A picture; what the chosen stages drop is dimmed.
function picture(gallery, image, stages) {
  const box = element("span", { class: "picture" });
  box.append(element("img", { src: image.source, alt: "" }));
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
    if (k % 8 === 0 && k) names.push("group");
    row.append(element("i", { class: names.join(" ") }));
  }
  return row;
}

function spelled(image, length) {
  const signs = Array.from({ length }, (_, k) => bitAt(image.code, k)).join("");
  return signs.replace(/(.{8})(?=.)/g, "$1 ");
}

// Share of the database at each distance: the query's class upwards, all other classes downwards.
function histogram(found, query, length, radius) {
  const known = query.label !== null;
  const counts = { right: Array(length + 1).fill(0), wrong: Array(length + 1).fill(0) };
  for (const { image, bits } of found) {
    counts[image.label === query.label ? "right" : "wrong"][bits] += 1;
  }
  const [width, half] = [400, 46];
  const step = (width - 20) / (length + 1);
  const peak = (side) => Math.max(1, ...counts[side]);
  const place = (d) => (10 + d * step).toFixed(2);
  let shapes = `<rect class="ball" x="10" y="2" width="${((radius + 1) * step).toFixed(2)}" height="${2 * half + 4}"/>`;
  for (let d = 0; d <= length; d += 1) {
    for (const side of ["right", "wrong"]) {
      const height = (counts[side][d] / peak(side)) * half;
      const y = side === "right" ? half + 4 - height : half + 4;
      if (height) {
        shapes += `<rect class="${known ? side : "open"}" x="${place(d)}" y="${y.toFixed(2)}" width="${(0.8 * step).toFixed(2)}" height="${height.toFixed(2)}"/>`;
      }
    }
    if (d % (length > 24 ? 8 : 4) === 0) {
      shapes += `<text x="${(+place(d) + 0.4 * step).toFixed(2)}" y="${2 * half + 20}">${d}</text>`;
    }
  }
  const title = known ? "Same class upwards, other classes downwards" : "Database images downwards";
  if (known) shapes += `<text class="end" x="${width - 10}" y="${half - 6}">same class</text>`;
  shapes += `<text class="end" x="${width - 10}" y="${half + 22}">${known ? "other classes" : "database"}</text>`;
  return `<svg viewBox="0 0 ${width} ${2 * half + 38}" role="img" aria-label="Distances to all database images. ${title}, each scaled to its own peak; the numbers are in the text above.">
    ${shapes}<line x1="10" x2="${width - 10}" y1="${half + 4}" y2="${half + 4}"/>
    <text x="${width / 2}" y="${2 * half + 35}">Hamming distance (bits)</text></svg>`;
}

function summary(gallery, query, found, inside, radius) {
  const images = (n) => `${n} database image${n === 1 ? "" : "s"}`;
  const bits = `${radius} bit${radius === 1 ? "" : "s"}`;
  if (query.label === null) return `${images(inside.length)} within ${bits}.`;
  const same = (hit) => hit.image.label === query.label;
  const right = inside.filter(same).length;
  const all = found.filter(same).length;
  const start = `${images(inside.length)} within ${bits}: ${right} of the query's class, ${inside.length - right} of others.`;
  const percent = (share) => `${Math.round(100 * share)}\u00a0%`;
  const precision = inside.length ? `Precision ${percent(right / inside.length)}, ` : "";
  const recall = all ? `recall ${percent(right / all)} (${right} of ${all}).` : "";
  return `${start} ${precision}${precision ? recall : recall.replace("r", "R")}`;
}

function slider(label, id, min, max, value) {
  const input = element("input", { type: "range", id, min, max, value });
  const shown = element("span", { class: "value", "aria-hidden": "true" }); // the slider says it
  return [element("div", { class: "slider" }, element("label", { for: id }, label), input, shown), input, shown];
}

let instances = 0;

function render({ model, el }) {
  const gallery = model.get("gallery");
  const images = readImages(gallery);
  const database = images.slice(gallery.queries);
  const queries = images.slice(0, gallery.queries);
  const own = `explorer-${(instances += 1)}`;
  const state = { query: queries[0], length: gallery.bits, radius: Math.round(gallery.bits / 8) };

  const present = [...new Set(queries.map((image) => image.label))].sort((a, b) => a - b);
  const classes = element("select", { id: `${own}-class` });
  classes.append(...present.map((label) => element("option", { value: `${label}` }, gallery.classes[label])));
  const strips = element("div", { class: "queries" });
  const picker = element("fieldset", { class: "picker" }, element("legend", {}, "Query image (arrow keys move between them)"), strips);
  const [lengthRow, length, lengthText] = slider("Code length", `${own}-length`, 1, gallery.bits, gallery.bits);
  const [radiusRow, radius, radiusText] = slider("Radius", `${own}-radius`, 0, gallery.bits, state.radius);
  const stages = element("select", { id: `${own}-stages` });
  stages.append(element("option", { value: "0" }, "off"));
  if (gallery.stages) {
    stages.append(element("option", { value: "255" }, "any stage"));
    for (let l = 0; l < gallery.stages; l += 1) {
      const where = l === 0 ? " (finest)" : l === gallery.stages - 1 ? " (deepest)" : "";
      stages.append(element("option", { value: `${1 << l}` }, `stage ${l + 1}${where}`));
    }
    stages.value = "255";
  }
  const regions = element("div", { class: "choice" }, element("label", { for: stages.id }, "Kept regions"), stages);
  if (!gallery.stages) {
    stages.disabled = true;
    regions.append(element("span", { class: "note" }, "this method keeps none"));
  }
  const shown = element("div", { class: "query" });
  const said = element("p", { class: "summary", role: "status" });
  const alarm = element("p", { class: "alarm", role: "alert" });
  const chart = element("div", { class: "chart" });
  const hits = element("ol", { class: "hits", "aria-label": "Neighbours, nearest first" });
  const more = element("p", { class: "note" });

  function fillPicker() {
    strips.replaceChildren();
    const of = queries.filter((image) => `${image.label}` === classes.value);
    for (const image of of) {
      const input = element("input", { type: "radio", name: `${own}-query`, checked: image === state.query });
      input.addEventListener("change", () => choose(image));
      const words = element("span", { class: "words" }, `${className(gallery, image)}, ${image.name}`);
      strips.append(element("label", { title: image.name }, input, picture(gallery, image, 0), words));
    }
  }

  function choose(image) {
    state.query = image;
    for (const [i, input] of strips.querySelectorAll("input").entries()) {
      input.checked = queries.filter((q) => `${q.label}` === classes.value)[i] === image;
    }
    draw();
  }

  function card(hit) {
    const { query } = state;
    const known = query.label !== null;
    const right = hit.image.label === query.label;
    const verdict = known ? (right ? "same class" : "other class") : "class of the query unknown";
    const name = className(gallery, hit.image);
    const bits = `${hit.bits} bit${hit.bits === 1 ? "" : "s"}`;
    const button = element(
      "button",
      { type: "button", class: known ? (right ? "right" : "wrong") : "open", title: `${hit.image.name}: make it the query` },
      picture(gallery, hit.image, +stages.value),
      element("b", {}, `${known ? (right ? "✓ " : "✗ ") : ""}${bits}`),
      element("span", { class: "words" }, `, ${verdict}: `),
      element("span", { class: "name" }, name),
      strip(hit.image, gallery.bits, state.length, query),
    );
    button.addEventListener("click", () => { choose(hit.image); shown.focus(); });
    return element("li", {}, button);
  }

  function draw() {
    const { query } = state;
    state.length = +length.value;
    radius.max = state.length;
    state.radius = +radius.value;
    const part = state.length < gallery.bits;
    lengthText.textContent = part ? `first ${state.length} of ${gallery.bits} bits` : `all ${gallery.bits} bits`;
    length.setAttribute("aria-valuetext", lengthText.textContent);
    radiusText.textContent = `${state.radius} bit${state.radius === 1 ? "" : "s"}`;
    radius.setAttribute("aria-valuetext", radiusText.textContent);
    const found = search(query, database, state.length);
    const inside = found.filter((hit) => hit.bits <= state.radius);
    shown.replaceChildren(
      picture(gallery, query, +stages.value),
      element("div", {},
        element("p", { class: "title" }, className(gallery, query)),
        element("p", { class: "note" }, query.name),
        strip(query, gallery.bits, state.length, null),
        element("p", { class: "code" }, element("span", { class: "words" }, "Code: "), spelled(query, state.length)),
        element("p", { class: "note" }, part ? `A prefix of the ${gallery.bits}-bit code, not a code trained at ${state.length} bits.` : "White is 1 (+1), black is 0 (−1)."),
      ),
    );
    said.textContent = summary(gallery, query, found, inside, state.radius);
    chart.innerHTML = histogram(found, query, state.length, state.radius);
    hits.replaceChildren(...inside.slice(0, SHOWN).map(card));
    const order = "Images at the same distance come in database order.";
    const cut = inside.length > SHOWN ? `The nearest ${SHOWN} are shown. ` : "";
    more.replaceChildren(...(inside.length
      ? [element("i", { class: "swatch" }), `Bits that differ from the query's. ${cut}${order}`]
      : ["No image this near: widen the radius."]));
  }

  function receive(message) {
    if (message.error) alarm.textContent = message.error;
    if (message.encoded) {
      alarm.textContent = "";
      const { name, code, kept, thumbnail } = message.encoded;
      choose({ name, label: null, code: bytes(code), kept: bytes(kept), source: `data:image/webp;base64,${thumbnail}` });
      shown.focus();
    }
  }

  function uploader() {
    if (!model.send) {
      return element("p", { class: "note" }, "An image of your own needs the network, which this page does not hold: open notebook 13_explorer in JupyterLab to search with one.");
    }
    const file = element("input", { type: "file", id: `${own}-file`, accept: "image/*" });
    file.addEventListener("change", async () => {
      if (!file.files.length) return;
      alarm.textContent = "Encoding …";
      model.send({ upload: file.files[0].name }, undefined, [await file.files[0].arrayBuffer()]);
      file.value = "";
    });
    return element("div", { class: "choice" }, element("label", { for: file.id }, "Or an image of your own"), file);
  }

  classes.addEventListener("change", () => { fillPicker(); choose(queries.find((image) => `${image.label}` === classes.value)); });
  for (const input of [length, radius]) input.addEventListener("input", draw);
  stages.addEventListener("change", draw);
  if (model.on) model.on("msg:custom", receive);

  shown.tabIndex = -1;
  shown.setAttribute("aria-label", "The query");
  shown.setAttribute("role", "group");
  el.replaceChildren(element("section", { class: "fdhmfe-explorer", "aria-label": "Retrieval explorer" },
    element("p", { class: "protocol" }, `${gallery.title}; ${queries.length} queries, ${database.length} database images`),
    element("div", { class: "choose" },
      element("div", { class: "choice" }, element("label", { for: classes.id }, "Class"), classes),
      picker, uploader(), alarm),
    element("div", { class: "controls" }, lengthRow, radiusRow, regions),
    shown,
    element("div", { class: "outcome" }, said, chart),
    hits, more));
  classes.value = `${state.query.label}`;
  fillPicker();
  draw();
}

export default { render };
