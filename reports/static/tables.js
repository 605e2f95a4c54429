// Sorting and filtering of tables. Without it the tables stand complete and in a useful order.
"use strict";

const collator = new Intl.Collator("en", { numeric: true });

/** Orders two sort keys; empty keys come last in either direction. */
function compareKeys(left, right, sign) {
  if (left === right) return 0;
  if (left === "") return 1;
  if (right === "") return -1;
  const difference = Number(left) - Number(right);
  return sign * (Number.isNaN(difference) ? collator.compare(left, right) : difference);
}

/** Sorts the body of `table` by a column; equal rows keep their order. */
function sortBy(table, index, sign) {
  const body = table.tBodies[0];
  const keyed = Array.from(body.rows, (row) => [row.cells[index].dataset.sort ?? "", row]);
  keyed.sort((left, right) => compareKeys(left[0], right[0], sign));
  body.append(...keyed.map((pair) => pair[1]));
}

/** Turns the headings of `table` into buttons that sort. */
function makeSortable(table) {
  const headings = Array.from(table.tHead.rows[0].cells);
  headings.forEach((heading, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const descending = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sortBy(table, index, descending ? -1 : 1);
    });
  });
}

/** Shows the filter of a table and hides the rows that lack one of the words or the verdict. */
function makeFilterable(container) {
  const text = container.querySelector("[data-filter-text]");
  const group = container.querySelector("[data-filter-group]");
  const count = container.querySelector("[data-filter-count]");
  const rows = Array.from(container.querySelectorAll("tbody tr"));
  const update = () => {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const content = row.textContent.toLowerCase();
      row.hidden = (group.value && row.dataset.group !== group.value) || !words.every((word) => content.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = shown === rows.length ? `${rows.length} rows` : `${shown} of ${rows.length} rows`;
  };
  text.addEventListener("input", update);
  group.addEventListener("change", update);
  container.querySelector(".filter").hidden = false;
  update();
}

document.querySelectorAll("table[data-sortable]").forEach(makeSortable);
document.querySelectorAll("[data-filter]").forEach(makeFilterable);
