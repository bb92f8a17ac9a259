// Sends a photograph, shows how far it is, then the page that was made of it.
"use strict";

const POLL_MS = 500;
const element = (id) => document.getElementById(id);
let current = null;  // the job that is shown; answers for an earlier one are ignored

function show(id, visible) {
  element(id).hidden = !visible;
}

function fail(text) {
  element("failure").textContent = text;
  show("failure", true);
  show("waiting", false);
}

// The JSON of an answer; throws the server's line if it refuses.
async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("the app does not answer; look whether it still runs");
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

async function start(path, options) {
  const mine = (current = {});
  for (const id of ["failure", "done", "result"]) show(id, false);
  element("result").removeAttribute("src");
  element("stage").textContent = "sending the picture";
  element("progress").removeAttribute("value");
  show("waiting", true);
  try {
    const {id} = await ask(path, {method: "POST", ...options});
    const began = performance.now();
    while (current === mine) {
      const job = await ask(`jobs/${id}`);
      if (current !== mine) return;
      if (job.state === "failed") throw new Error(job.stage);
      if (job.state === "done") return finish(id, job);
      const seconds = Math.round((performance.now() - began) / 1000);
      const stage = job.ahead ? `waiting for ${job.ahead} other photographs` : job.stage;
      element("stage").textContent =
          `${job.name}: ${stage} (${seconds} s; the first picture takes longest)`;
      if (job.progress) element("progress").value = job.progress;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  } catch (error) {
    if (current === mine) fail(error.message);
  }
}

function finish(id, job) {
  const links = Object.entries(job.files).map(([name, bytes]) => {
    const link = document.createElement("a");
    link.href = `jobs/${id}/files/${encodeURIComponent(name)}`;
    link.download = name;
    link.textContent = `${name} (${(bytes / 1e6).toFixed(1)} MB)`;
    return link;
  });
  element("downloads").replaceChildren(...links.flatMap((link, i) => (i ? [", ", link] : [link])));
  show("notes", job.notes.length > 0);
  element("note-list").replaceChildren(...job.notes.map((note) => {
    const item = document.createElement("li");
    item.textContent = note;
    return item;
  }));
  const frame = element("result");
  frame.onload = () => {
    const body = frame.contentDocument.body;
    if (!body) return;
    new ResizeObserver(() => (frame.style.height = `${body.scrollHeight + 20}px`)).observe(body);
  };
  frame.src = `jobs/${id}/page`;
  show("waiting", false);
  show("done", true);
  show("result", true);
}

function send(file) {
  if (!file) return;
  const most = +element("picture").dataset.maxBytes;
  if (file.size > most) {
    current = null;
    show("done", false);
    show("result", false);
    const size = (file.size / 1e6).toFixed(1);
    fail(`expected a file of at most ${most / 1e6} MB, got ${size} MB; make the picture smaller`);
    return;
  }
  const headers = {"Content-Type": "application/octet-stream"};
  start(`jobs?name=${encodeURIComponent(file.name)}`, {body: file, headers});
}

element("picture").addEventListener("change", (event) => {
  send(event.target.files[0]);
  event.target.value = "";  // so that the same file can be chosen again
});
for (const button of document.querySelectorAll("[data-example]")) {
  button.addEventListener("click", () => start(`examples/${button.dataset.example}`));
}
const drop = element("drop");
for (const name of ["dragover", "dragleave", "drop"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragover");
    if (name === "drop") send(event.dataTransfer.files[0]);
  });
}
