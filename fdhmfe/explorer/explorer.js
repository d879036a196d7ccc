// The retrieval explorer, in Jupyter (through anywidget) and in a page of its own.
// model.get("gallery") is Gallery.as_json(); model.send exists only where a kernel listens.

const SHOWN = 24; // neighbours drawn at most
const OFFERED = 100; // pictures of an album to choose from at once
const MEGABYTES = 9; // a Jupyter server closes the connection at a message of 10

const AGAIN = "Give another photo, such as a JPEG or PNG, or choose an image above.";

let instances = 0;

function render({ model, el }) {
  const gallery = model.get("gallery");
  const images = readImages(gallery);
  const database = images.slice(gallery.database);
  const queries = images.slice(0, gallery.queries);
  const own = `explorer-${(instances += 1)}`;
  const offline = `This page holds no network, so it cannot search with another photo: ${gallery.labels ? "notebook 13_explorer" : "fdhmfe search PHOTO --in FOLDER"} can.`;
  // Without a query, as after a failed upload, nothing is found.
  const state = { query: queries[0], offered: [], length: gallery.bits };

  const chooser = element(gallery.labels ? "select" : "input", { id: `${own}-chooser` });
  if (gallery.labels) {
    const present = [...new Set(queries.map((image) => image.label))].sort((a, b) => a - b);
    chooser.append(...present.map((label) => element("option", { value: `${label}` }, gallery.classes[label])));
    chooser.value = `${state.query.label}`;
  } else chooser.type = "search";
  const strips = element("div", { class: "queries" });
  const picker = element("fieldset", { class: "picker" }, element("legend", {}, "Query image (arrow keys move between them)"), strips);
  const cut = element("p", { class: "note", role: "status" });
  const [lengthRow, length, lengthText] = slider("Code length", `${own}-length`, 1, gallery.bits, gallery.bits);
  // An album has no right or wrong to weigh: it begins with the nearest, however far.
  const start = gallery.labels ? Math.round(gallery.bits / 8) : gallery.bits;
  const [radiusRow, radius, radiusText] = slider("Radius", `${own}-radius`, 0, gallery.bits, start);
  const [stagesRow, stages] = regions(gallery, `${own}-stages`);
  const shown = element("div", { class: "query", role: "group", "aria-label": "The query", tabIndex: -1 });
  const said = element("p", { class: "summary", role: "status" });
  const alarm = element("p", { class: "alarm", role: "alert" });
  const chart = element("div", { class: "chart" });
  const outcome = element("div", { class: "outcome" }, said, chart);
  const hits = element("ol", { class: "hits", "aria-label": "Neighbours, nearest first" });
  const more = element("p", { class: "note" });

  function isOffered(image) {
    if (gallery.labels) return `${image.label}` === chooser.value;
    return image.name.toLowerCase().includes(chooser.value.trim().toLowerCase());
  }

  function fillPicker() {
    const all = queries.filter(isOffered);
    state.offered = gallery.labels ? all : all.slice(0, OFFERED);
    strips.replaceChildren(...state.offered.map((image) => {
      const input = element("input", { type: "radio", name: `${own}-query`, checked: image === state.query });
      input.addEventListener("change", () => choose(image));
      const name = [className(gallery, image), image.name].filter(Boolean).join(", ");
      return element("label", { title: image.name }, input, picture(gallery, image, 0), element("span", { class: "words" }, name));
    }));
    if (gallery.labels) return;
    const part = all.length > OFFERED ? `; the first ${OFFERED} are shown: type more of a name` : "";
    cut.textContent = all.length ? `${count(all.length, "picture")}${part}.` : "No picture has this in its name.";
  }

  function choose(image, words = "") {
    state.query = image;
    alarm.textContent = words;
    for (const [i, input] of strips.querySelectorAll("input").entries()) {
      input.checked = state.offered[i] === image;
    }
    draw();
  }

  function card(hit) {
    const known = state.query.label !== null;
    const right = hit.image.label === state.query.label;
    const kind = known ? (right ? "right" : "wrong") : "open";
    const [bits, label] = [count(hit.bits, "bit"), className(gallery, hit.image)];
    const verdict = known ? `, ${right ? "same" : "other"} class` : "";
    const named = [label, hit.image.name].filter(Boolean);
    const button = element(
      "button",
      { type: "button", class: kind, "aria-label": `${bits}${verdict}: ${named.join(", ")}` },
      picture(gallery, hit.image, +stages.value),
      element("b", {}, known ? (right ? "✓ " : "✗ ") : "", bits),
      ...(label ? [element("span", { class: "name" }, label)] : []),
      element("span", { class: "file" }, ...breakable(hit.image.name)),
      strip(hit.image, gallery.bits, state.length, state.query),
    );
    button.addEventListener("click", () => { choose(hit.image); shown.focus(); });
    return element("li", {}, button);
  }

  function describe(query, part) {
    const kept = +stages.value ? `, with kept regions: ${stages.selectedOptions[0].text}` : "";
    const about = part
      ? `A prefix of the ${gallery.bits}-bit code, not a code made for ${count(state.length, "bit")}.`
      : "White is 1 (+1), black is 0 (−1).";
    const label = className(gallery, query);
    return [
      picture(gallery, query, +stages.value, `${query.name}${kept}`),
      element("div", {},
        ...(label ? [element("p", { class: "title" }, label)] : []),
        element("p", { class: label ? "note" : "title" }, ...breakable(query.name)),
        strip(query, gallery.bits, state.length, null),
        element("p", { class: "code" }, element("span", { class: "words" }, "Code: "), spelled(query, state.length)),
        element("p", { class: "note" }, about),
      ),
    ];
  }

  function draw() {
    const { query } = state;
    state.length = +length.value;
    radius.max = state.length;
    const part = state.length < gallery.bits;
    lengthText.textContent = part ? `first ${state.length} of ${gallery.bits} bits` : `all ${gallery.bits} bits`;
    length.setAttribute("aria-valuetext", lengthText.textContent);
    radiusText.textContent = count(+radius.value, "bit");
    radius.setAttribute("aria-valuetext", radiusText.textContent);
    const found = query ? search(query, database, state.length) : [];
    const inside = found.filter((hit) => hit.bits <= +radius.value);
    for (const answer of [shown, outcome, hits, more]) answer.hidden = !query;
    shown.replaceChildren(...(query ? describe(query, part) : []));
    said.textContent = query ? summary(gallery, query, found, inside, +radius.value) : "";
    chart.innerHTML = found.length ? histogram(found, query, state.length, +radius.value) : "";
    hits.replaceChildren(...inside.slice(0, SHOWN).map(card));
    const order = `Images at the same distance come in ${gallery.labels ? "database order" : "order of their names"}.`;
    const nearest = inside.length > SHOWN ? `The nearest ${SHOWN} are shown. ` : "";
    more.replaceChildren(...(inside.length
      ? [element("i", { class: "swatch" }), `Bits that differ from the query's. Choose a neighbour to make it the query. ${nearest}${order}`]
      : ["No image this near: widen the radius."]));
  }

  // The old result goes at once: what is on the screen never belongs to another photo.
  async function upload(files) {
    const refuse = (reason) => choose(null, `${reason} ${AGAIN}`);
    if (files.length !== 1) return refuse("One photo at a time, as a file from your computer.");
    const [file] = files;
    if (file.size > MEGABYTES * 1e6) {
      return refuse(`${file.name} has ${(file.size / 1e6).toFixed(1)} MB, and ${MEGABYTES} MB is the most: save it smaller.`);
    }
    choose(null, `Encoding ${file.name} …`);
    try {
      model.send({ upload: file.name }, undefined, [await file.arrayBuffer()]);
    } catch {
      refuse(`${file.name} cannot be read: it is a folder, or it is gone.`);
    }
  }

  function receive({ error, encoded }) {
    if (error) return choose(null, `${error}. ${AGAIN}`);
    const { name, code, kept, thumbnail } = encoded;
    choose({ name, label: null, code: bytes(code), kept: bytes(kept), source: `data:image/webp;base64,${thumbnail}` });
    shown.focus();
  }

  function uploader() {
    if (!model.send) return element("p", { class: "note" }, offline);
    const file = element("input", { type: "file", id: `${own}-file`, accept: "image/*" });
    file.addEventListener("change", () => {
      if (file.files.length) upload([...file.files]);
      file.value = "";
    });
    return element("div", { class: "choice" }, element("label", { for: file.id }, "Or a photo of your own"), file,
      element("span", { class: "note" }, "or drop it anywhere here"));
  }

  chooser.addEventListener("input", () => {
    fillPicker();
    if (gallery.labels) choose(state.offered[0]);
  });
  for (const input of [length, radius]) input.addEventListener("input", draw);
  stages.addEventListener("change", draw);
  if (model.on) model.on("msg:custom", receive);

  const chosen = element("div", { class: "choice" },
    element("label", { for: chooser.id }, gallery.labels ? "Class" : "Name contains"), chooser, cut);
  const sizes = gallery.labels
    ? `${queries.length} queries, ${count(database.length, "database image")}`
    : `${count(images.length, "picture")}, without labels`;
  const section = element("section", { class: "fdhmfe-explorer", "aria-label": "Retrieval explorer" },
    element("p", { class: "protocol" }, `${gallery.title}; ${sizes}`),
    element("div", { class: "choose" }, chosen, picker, uploader(), alarm),
    element("div", { class: "controls" }, lengthRow, radiusRow, ...(gallery.labels ? [stagesRow] : [])),
    shown, outcome, hits, more);
  acceptDrops(section, (files) => {
    if (model.send) upload(files);
    else alarm.textContent = offline;
  });
  el.replaceChildren(section);
  fillPicker();
  draw();
}

export default { render };
