// Omniboard has no place for a script of ours. Loaded before it, this puts columns.js into the page that it serves, with
// the fields of the runs' configs ($PAL_FIELDS) before it, and lets the browser ask for what Omniboard will want to know
// while it still reads Omniboard's 5.5 MB of script; nothing that npm installed is changed.
const express = require("express");
const fs = require("fs");
const path = require("path");

const sendFile = express.response.sendFile;
const fields = (process.env.PAL_FIELDS || "[]").replaceAll("<", "\\u003c");
const columns = fs.readFileSync(path.join(__dirname, "columns.js"), "utf8");
const script = `<script>const PAL_FIELDS = ${fields};\n${columns}</script>`;
const questions = [
  "Omniboard.Settings",
  "Omniboard.Custom.Columns",
  "Omniboard.Metric.Columns",
  "Runs?distinct=omniboard.tags",
  "Runs/count?query=%7B%7D",
];

function asked(place) {
  return questions.map((each) => `<link rel="preload" as="fetch" crossorigin href="${place}/api/v1/${each}">`).join("");
}

express.response.sendFile = function (file, ...rest) {
  if (path.basename(file) !== "index.html") return sendFile.call(this, file, ...rest);
  const page = fs.readFileSync(file, "utf8");
  const ours = { "<head>": asked(this.req.baseUrl), "<body>": script };
  return this.type("html").send(page.replace(/<head>|<body>/g, (tag) => tag + ours[tag]));
};
