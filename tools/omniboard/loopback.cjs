// Omniboard listens on every interface, lets pages of every origin read and delete runs, and has no option against
// either. Loaded before it, this keeps it on this machine, for its own page alone.
const http = require("http");
const net = require("net");

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, ...rest) {
  const plain = typeof port === "number" || typeof port === "string";
  return plain ? listen.call(this, { port: Number(port), host: "127.0.0.1" }, ...rest) : listen.call(this, port, ...rest);
};

// Whether a request is one of Omniboard's own page. Another page has another origin, or another host if its own name
// leads to 127.0.0.1 by now; a browser that says no origin says from where it was sent (Sec-Fetch-Site).
function isOurs({ headers }) {
  const own = /^(127\.0\.0\.1|localhost|\[::1\])(:\d+)?$/.test(headers.host || "");
  const sameOrigin = headers.origin === undefined || headers.origin === `http://${headers.host}`;
  const site = headers["sec-fetch-site"] || "none";
  const sameSite = ["none", "same-origin"].includes(site) || headers["sec-fetch-mode"] === "navigate";
  return own && sameOrigin && sameSite;
}

const emit = http.Server.prototype.emit;
http.Server.prototype.emit = function (event, request, answer, ...rest) {
  if (["request", "checkContinue", "upgrade"].includes(event) && !isOurs(request)) {
    if (event === "upgrade") return answer.destroy();
    answer.writeHead(403, { "Content-Type": "text/plain", Connection: "close" });
    return answer.end("Omniboard answers its own page alone, at http://127.0.0.1 or http://localhost.\n");
  }
  return emit.call(this, event, request, answer, ...rest);
};
