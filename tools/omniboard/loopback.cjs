// Omniboard listens on every interface and has no option against it. Loaded before it, this keeps it on this machine.
const net = require("net");
const listen = net.Server.prototype.listen;

net.Server.prototype.listen = function (port, ...rest) {
  const plain = typeof port === "number" || typeof port === "string";
  return plain ? listen.call(this, { port: Number(port), host: "127.0.0.1" }, ...rest) : listen.call(this, port, ...rest);
};
