"use strict";
// A click on a heading sorts its table, a second one reverses the order. Without the script tables stay as they are.
const collator = new Intl.Collator("en", { numeric: true });

function compareCells(left, right, isNumber) {
  if (!isNumber) return collator.compare(left.textContent, right.textContent);
  const known = [left, right].map((cell) => cell.dataset.order !== undefined);
  if (!known[0] || !known[1]) return 0;
  return Number(left.dataset.order) - Number(right.dataset.order);
}

function sortTable(table, column) {
  const head = table.tHead.rows[0].cells[column];
  const isNumber = head.classList.contains("number");
  const first = isNumber ? "descending" : "ascending";
  const second = isNumber ? "ascending" : "descending";
  const order = head.getAttribute("aria-sort") === first ? second : first;
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", order);
  const isLast = (row) => isNumber && row.cells[column].dataset.order === undefined;
  const sign = order === "ascending" ? 1 : -1;
  const rows = [...table.tBodies[0].rows].sort(
    (left, right) =>
      isLast(left) - isLast(right) || sign * compareCells(left.cells[column], right.cells[column], isNumber)
  );
  table.tBodies[0].append(...rows);
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sortTable(table, column));
    head.append(button);
  });
}
