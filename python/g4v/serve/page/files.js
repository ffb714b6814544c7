// Files that are dropped on the page or pasted into it.

import { byId } from "./dom.js";

const carriesFile = (event) => event.dataTransfer?.types.includes("Files");

/** Calls take(files), at least one. */
export function onFiles(take) {
  let inside = 0; // elements that a file is over, one in the other
  const over = (change) => {
    inside = Math.max(0, inside + change);
    byId("drop").hidden = !inside;
  };
  addEventListener("dragenter", (event) => carriesFile(event) && over(1));
  addEventListener("dragleave", (event) => carriesFile(event) && over(-1));
  addEventListener("dragover", (event) => carriesFile(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!carriesFile(event)) return;
    event.preventDefault(); // else the browser leaves the page and opens the file
    over(-inside);
    if (event.dataTransfer.files.length) take(event.dataTransfer.files);
  });
  addEventListener("paste", ({ clipboardData }) => clipboardData?.files.length && take(clipboardData.files));
}
