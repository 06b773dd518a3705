"use strict";
// Sends the text to the local server and shows its predictions. Nothing is stored.

const byId = (id) => document.getElementById(id);
const share = (value) => (value === null || value === undefined ? "given" : value.toFixed(3));
const heads = {};

/** An element with attributes and children; strings become text and are never parsed as HTML. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function table(caption, columns, rows) {
  const header = make("tr", {}, ...columns.map((name) => make("th", { scope: "col" }, name)));
  const body = rows.map(({ cells, chosen }) =>
    make("tr", chosen ? { class: "chosen" } : {}, ...cells.map((cell) =>
      cell instanceof Node ? make("td", { class: "number" }, cell) : make("td", {}, String(cell)))));
  return make("table", {}, make("caption", {}, caption), make("thead", {}, header), make("tbody", {}, ...body));
}

function probability(value, name) {
  const cell = document.createDocumentFragment();
  if (typeof value === "number") {
    cell.append(make("meter", { min: 0, max: 1, value, "aria-label": `score of ${name}` }), " ");
  }
  cell.append(share(value));
  return cell;
}

/** The text with its mentions; of overlapping ones the first and longest. Offsets count characters, not UTF-16 units. */
function highlighted(text, entities) {
  const characters = Array.from(text);
  const types = [...new Set(entities.map((entity) => entity.type))].sort();
  const ordered = [...entities].sort((a, b) => a.start - b.start || b.end - a.end);
  const paragraph = make("p", { class: "text" });
  let place = 0;
  for (const entity of ordered) {
    if (entity.start < place) continue;
    paragraph.append(characters.slice(place, entity.start).join(""));
    const hue = `hue-${types.indexOf(entity.type) % 8}`;
    const words = characters.slice(entity.start, entity.end).join("");
    paragraph.append(make("mark", { class: hue, title: `${entity.type}, score ${share(entity.score)}` },
      words, make("span", { class: "type" }, entity.type)));
    place = entity.end;
  }
  paragraph.append(characters.slice(place).join(""));
  return paragraph;
}

function attributesOf(entity) {
  return Object.entries(entity.attributes ?? {})
    .map(([name, found]) => `${name}: ${found.value} (${share(found.score)})`).join(", ");
}

function entityTable(entities) {
  const has = entities.some((entity) => entity.attributes);
  const rows = entities.map((entity) => ({
    cells: [entity.type, entity.text, `${entity.start}–${entity.end}`, ...(has ? [attributesOf(entity)] : []),
      probability(entity.score, entity.text)],
  }));
  return table("Mentions", ["Type", "Text", "Characters", ...(has ? ["Attributes"] : []), "Score"], rows);
}

function relationTable(relations, entities) {
  const rows = relations.map((relation) => ({
    cells: [entities[relation.head].text, relation.type, entities[relation.tail].text,
      probability(relation.score, relation.type)],
  }));
  return table("Relations", ["From", "Relation", "To", "Score"], rows);
}

function scoreTable(found) {
  const chosen = new Set(found.labels ?? [found.label]);
  const rows = Object.entries(found.scores).sort((a, b) => b[1] - a[1]).map(([name, value]) => ({
    cells: [name, probability(value, name)], chosen: chosen.has(name),
  }));
  return table(`Predicted: ${[...chosen].join(", ") || "no label"}`, ["Label", "Probability"], rows);
}

/** What one task found; a form that the page does not know is shown as JSON. */
function shown(found, text) {
  const parts = [];
  if (found.entities) {
    parts.push(highlighted(text, found.entities));
    if (found.relations) {
      parts.push(found.relations.length ? relationTable(found.relations, found.entities)
        : make("p", { class: "none" }, "No relations found."));
    }
    parts.push(found.entities.length ? entityTable(found.entities)
      : make("p", { class: "none" }, "No mentions found."));
  } else if (found.scores) {
    parts.push(scoreTable(found));
  } else if (typeof found.value === "number") {
    parts.push(make("p", {}, make("strong", {}, found.value.toFixed(3))));
  } else {
    parts.push(make("pre", {}, JSON.stringify(found, null, 2)));
  }
  return parts;
}

function show(record, text) {
  const sections = Object.entries(record.predictions).map(([task, found], index) => {
    const id = `task-${index}`;
    const heading = make("h2", { id }, task, make("span", { class: "kind" }, heads[task] ?? ""));
    return make("section", { "aria-labelledby": id, "data-task": task }, heading, ...shown(found, text));
  });
  byId("results").replaceChildren(...sections);
}

function say(message, bad = false) {
  byId("status").textContent = message;
  byId("status").classList.toggle("bad", bad);
}

async function asked(request) {
  try {
    const answer = await fetch("predict", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(request),
    });
    return [answer, await answer.json()];
  } catch {
    return [null, null];
  }
}

async function predict(event) {
  event.preventDefault();
  const text = byId("text").value;
  const request = { text, text_pair: byId("text_pair").value || null };
  const button = document.querySelector("button[type=submit]");
  button.disabled = true;
  say("Predicting …");
  try {
    const [answer, found] = await asked(request);
    if (answer === null) {
      say("The server does not answer. Is mtl serve still running?", true);
    } else if (answer.ok) {
      show(found, text);
      const number = Object.keys(found.predictions).length;
      say(`${number} task${number === 1 ? "" : "s"} predicted.`);
    } else {
      say(found.problems.map((problem) => `${problem.message} ${problem.suggestion}`).join(" "), true);
    }
  } finally {
    button.disabled = false;
  }
}

async function start() {
  const described = await (await fetch("tasks")).json();
  byId("name").textContent = described.name;
  document.title = `${described.name} · biomtl`;
  for (const task of described.tasks) heads[task.name] = task.head.replaceAll("_", " ");
  byId("pair").hidden = described.tasks.every((task) => task.num_texts === 1);
}

byId("form").addEventListener("submit", predict);
byId("form").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("form").requestSubmit();
});
byId("clear").addEventListener("click", () => {
  byId("form").reset();
  byId("results").replaceChildren();
  say("");
  byId("text").focus();
});
start();
