"use strict";
(() => {
  const value = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim();
    const number = text === "" ? NaN : Number(text);
    return Number.isNaN(number) ? text : number;
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), undefined, { numeric: true });
  };
  const sort = (header) => {
    const table = header.closest("table");
    const ascending = header.getAttribute("aria-sort") !== "ascending";
    for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const body = table.querySelector("tbody.sortable");
    const rows = [...body.rows].sort(
      (a, b) => (ascending ? 1 : -1) * compare(value(a, header.cellIndex), value(b, header.cellIndex)),
    );
    body.append(...rows);
  };
  for (const button of document.querySelectorAll("th button")) {
    button.addEventListener("click", () => sort(button.closest("th")));
  }

  // views: parts keep their coordinates; R turns them, z towards the viewer
  const numbers = (text) => text.split(" ").map(Number);
  const turned = (R, p) => R.map((row) => row[0] * p[0] + row[1] * p[1] + row[2] * p[2]);
  const product = (A, B) => A.map((row) => [0, 1, 2].map((j) => row[0] * B[0][j] + row[1] * B[1][j] + row[2] * B[2][j]));
  const turn = (a, b) => {
    const [ca, sa, cb, sb] = [Math.cos(a), Math.sin(a), Math.cos(b), Math.sin(b)];
    return [[ca, 0, sa], [sb * sa, cb, -sb * ca], [-cb * sa, sb, cb * ca]];
  };
  const prepare = (view) => {
    const parts = [...view.children].map((element) => ({
      element, p: numbers(element.dataset.p), q: element.dataset.q ? numbers(element.dataset.q) : null,
    }));
    let R = [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
    const draw = () => {
      for (const part of parts) {
        const p = turned(R, part.p);
        part.z = p[2];
        if (part.q) {
          const q = turned(R, part.q);
          part.z = 0.5 * (p[2] + q[2]);
          const ends = { x1: p[0], y1: -p[1], x2: q[0], y2: -q[1] };
          for (const [name, x] of Object.entries(ends)) part.element.setAttribute(name, x.toFixed(2));
        } else {
          part.element.setAttribute("transform", `translate(${p[0].toFixed(2)} ${(-p[1]).toFixed(2)})`);
        }
      }
      parts.sort((a, b) => a.z - b.z);
      view.append(...parts.map((part) => part.element));
    };
    const by = (a, b) => {
      R = product(turn(a, b), R);
      draw();
    };
    let last = null;
    view.addEventListener("pointerdown", (event) => {
      last = [event.clientX, event.clientY];
      view.setPointerCapture(event.pointerId);
    });
    view.addEventListener("pointermove", (event) => {
      if (!last) return;
      by((event.clientX - last[0]) / 100, (event.clientY - last[1]) / 100);
      last = [event.clientX, event.clientY];
    });
    for (const name of ["pointerup", "pointercancel"]) view.addEventListener(name, () => (last = null));
    view.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-0.2, 0], ArrowRight: [0.2, 0], ArrowUp: [0, -0.2], ArrowDown: [0, 0.2] }[event.key];
      if (!step) return;
      event.preventDefault();
      by(...step);
    });
  };
  for (const view of document.querySelectorAll("svg.view")) prepare(view);

  const choices = [...document.querySelectorAll("button[data-colour]")];
  for (const choice of choices) {
    choice.addEventListener("click", () => {
      const key = choice.dataset.colour;
      for (const other of choices) other.setAttribute("aria-pressed", String(other === choice));
      for (const ball of document.querySelectorAll(".ball")) {
        ball.querySelector(".body").setAttribute("fill", ball.dataset[key]);
      }
      for (const other of document.querySelectorAll("[data-key]")) other.hidden = other.dataset.key !== key;
    });
  }
  document.documentElement.dataset.ready = "true";
})();
