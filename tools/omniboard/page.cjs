// Omniboard has no place for a script of ours. Loaded before it, this puts columns.js into the page that it serves, with
// the fields of the runs' configs ($PAL_FIELDS) before it; nothing that npm installed is changed.
const express = require("express");
const fs = require("fs");
const path = require("path");

const sendFile = express.response.sendFile;
const fields = (process.env.PAL_FIELDS || "[]").replaceAll("<", "\\u003c");
const columns = fs.readFileSync(path.join(__dirname, "columns.js"), "utf8");
const script = `<script>const PAL_FIELDS = ${fields};\n${columns}</script>`;

express.response.sendFile = function (file, ...rest) {
  if (path.basename(file) !== "index.html") return sendFile.call(this, file, ...rest);
  const page = fs.readFileSync(file, "utf8");
  return this.type("html").send(page.replace("<body>", () => `<body>${script}`));
};
