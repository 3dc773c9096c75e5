// Sorts a table by the column whose heading is clicked: by number where all of its cells have one, else by text.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const heading = button.parentElement, table = heading.closest("table"), body = table.tBodies[0];
    const isRising = heading.getAttribute("aria-sort") === "descending";
    const key = (row) => {
      const cell = row.cells[heading.cellIndex];
      const number = parseFloat(cell.textContent.replaceAll(",", ""));
      return Number.isNaN(number) ? null : number;
    };
    const text = (row) => row.cells[heading.cellIndex].textContent;
    const rows = [...body.rows], keys = new Map(rows.map((row) => [row, key(row)]));
    const isNumeric = heading.cellIndex > 0 && rows.some((row) => keys.get(row) !== null);
    const numeric = (row) => keys.get(row) ?? (isRising ? Infinity : -Infinity);
    rows.sort((a, b) => isNumeric ? numeric(a) - numeric(b) : text(a).localeCompare(text(b), undefined, {numeric: true}));
    if (!isRising) rows.reverse();
    for (const other of table.querySelectorAll("th")) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", isRising ? "ascending" : "descending");
    body.append(...rows);
  });
}
