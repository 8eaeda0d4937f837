// Makes the page of `dfgym play` one that needs no server: the socket it opens is a worker, game.js.
"use strict";
{
  document.getElementById("about").textContent = "Loading…";
  const controls = document.getElementById("controls");
  const hide = (id) => (document.getElementById(id).closest("div").hidden = true);
  hide("twin"); // there is no real game beside
  document.querySelector(".save").parentElement.hidden = true;
  document.querySelector("details").hidden = true;

  // The seed: the same one, and the same keys, dream the same again.
  const label = document.createElement("label");
  label.className = "field";
  label.innerHTML = '<span class="label">Seed</span><input type="number" id="seed" min="0" step="1">';
  controls.prepend(label);
  const input = label.querySelector("input");

  // Inside another page it is the game alone, and waits for its player.
  const embedded = window !== window.parent;
  const invitation = document.createElement("button");
  const start = () => {
    if (!invitation.isConnected || !window.dfgym.hello) return;
    invitation.remove();
    document.getElementById("pause").click();
  };
  if (embedded) {
    for (const id of ["top", "starts"]) document.getElementById(id).hidden = true;
    document.querySelector("aside").hidden = true;
    invitation.textContent = "▶ Play";
    Object.assign(invitation.style, { position: "absolute", inset: "0", margin: "auto", width: "9em", height: "3.5em" });
    document.querySelector(".screen").append(invitation);
    invitation.onclick = start;
    document.getElementById("keys").addEventListener("pointerdown", start);
    addEventListener("keydown", ({ key }) => ["Tab", "Shift", "Enter", " ", "p"].includes(key) || start());
  }

  window.WebSocket = class WorkerSocket {
    static OPEN = 1;
    readyState = 1;
    constructor() {
      if (location.protocol === "file:") {
        return void queueMicrotask(() => this.refuse(
          "A browser lets no page read the files beside it where it was opened from the disk. Serve this folder, " +
          "for instance by: python -m http.server, and open the address that it prints."));
      }
      const seed = new URLSearchParams(location.search).get("seed");
      if (seed !== null && !/^\d{1,18}$/.test(seed)) {
        return void queueMicrotask(() => this.refuse(`seed is ${seed.slice(0, 40)}; allowed is a whole number of at least 0`));
      }
      const query = new URLSearchParams({ ...(seed !== null && { seed }), ...(embedded && { paused: "" }) });
      this.worker = new Worker(`game.js#${query}`, { type: "module" });
      this.worker.onmessage = ({ data }) => {
        const message = typeof data === "string" ? JSON.parse(data) : {};
        if (message.type === "hello") input.value = message.seed;
        if (message.type === "error" && !window.dfgym.hello) return this.refuse(message.message);
        if (message.type === "state" && !message.paused) invitation.remove();
        this.onmessage({ data });
      };
      this.worker.onerror = ({ message }) => this.refuse(`The game cannot start: ${message ?? "game.js or ort.mjs is missing"}.`);
      input.onchange = () => {
        if (/^\d{1,18}$/.test(input.value)) this.send(JSON.stringify({ do: "seed", seed: input.value, start: null }));
      };
    }
    send(text) {
      this.worker.postMessage(text);
    }
    refuse(message) {
      document.getElementById("about").textContent = "Not started";
      this.onmessage({ data: JSON.stringify({ type: "error", message }) });
    }
    close() {
      this.worker.terminate();
    }
  };
}
