"use strict";
const table = document.getElementById("techniques");
const body = table.tBodies[0];
const rows = Array.from(body.rows);
const family = document.getElementById("family");
const words = document.getElementById("words");
const boxes = Array.from(document.querySelectorAll("input[name=claim]"));
const count = document.getElementById("count");

function filter() {
  const asked = boxes.filter((box) => box.checked).map((box) => box.value);
  const text = words.value.trim().toLowerCase();
  let shown = 0;
  for (const row of rows) {
    const claims = row.dataset.claims.split(" ");
    const fits =
      (family.value === "" || row.dataset.family === family.value) &&
      asked.every((name) => claims.includes(name)) &&
      row.textContent.toLowerCase().includes(text);
    row.hidden = !fits;
    shown += fits ? 1 : 0;
  }
  count.textContent = `${shown} of ${rows.length}`;
}

// A cell without a number goes last, whichever way the column is sorted.
function sortBy(header) {
  const column = header.cellIndex;
  const down = header.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  const numeric = header.classList.contains("number");
  const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
  const sorted = rows.slice().sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    if ((x === "") !== (y === "")) return x === "" ? 1 : -1;
    const order = numeric ? Number(x) - Number(y) : x.localeCompare(y);
    return down ? -order : order;
  });
  body.append(...sorted);
}

for (const control of [family, words, ...boxes]) control.addEventListener("input", filter);
for (const header of table.tHead.rows[0].cells) {
  const button = header.querySelector("button");
  if (button) button.addEventListener("click", () => sortBy(header));
}
// The address may name a family, a claim or a column: #family=points&claim=pose&sort=4
const wanted = new URLSearchParams(location.hash.slice(1));
if (wanted.has("family")) family.value = wanted.get("family");
for (const box of boxes) box.checked = wanted.getAll("claim").includes(box.value);
filter();
const column = table.tHead.rows[0].cells[Number(wanted.get("sort") ?? -1)];
if (column) sortBy(column);
document.body.dataset.ready = "yes";
