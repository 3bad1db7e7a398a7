// Omniboard computes status and duration of every run before it sorts and keeps the first 200. Loaded before it, this lets
// it sort and cut first, by an index, where what it sorts by is stored and nothing is filtered.
const mongoose = require("mongoose");

const aggregate = mongoose.Model.aggregate;

function early(pipeline) {
  const first = pipeline.findIndex((stage) => stage.$sort);
  const before = pipeline.slice(0, first);
  const computed = before.flatMap((stage) => Object.keys(stage.$addFields || {}));
  const plain = first > 0 && before.every((stage) => stage.$project || stage.$addFields);
  if (!plain || Object.keys(pipeline[first].$sort).some((name) => computed.includes(name))) return pipeline;
  let end = first + 1;
  while (end < pipeline.length && (pipeline[end].$skip || pipeline[end].$limit)) end += 1;
  return [...pipeline.slice(first, end), ...before, ...pipeline.slice(end)];
}

mongoose.Model.aggregate = function (pipeline, ...rest) {
  return aggregate.call(this, Array.isArray(pipeline) ? early(pipeline) : pipeline, ...rest);
};
