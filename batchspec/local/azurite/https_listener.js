// Loaded before Azurite: its server also listens on an https port. Azurite itself serves http or
// https, but nodes and batchspec use http while some clients require https.
//
// Reads the paths of certificate and key and the port (0: any) from BATCHSPEC_HTTPS (JSON).
// Prints the number of the https port.
const fs = require("fs");
const http = require("http");
const https = require("https");

const { certificate, key, port } = JSON.parse(process.env.BATCHSPEC_HTTPS);
const create = http.createServer;

http.createServer = (...options) => {
  const server = create(...options);
  const secure = https.createServer({ cert: fs.readFileSync(certificate), key: fs.readFileSync(key) });
  secure.keepAliveTimeout = server.keepAliveTimeout;
  secure.on("request", (request, response) => server.emit("request", request, response));
  secure.on("listening", () => console.log(`https is served on port ${secure.address().port}`));
  server.once("listening", () => secure.listen(port, "127.0.0.1"));
  const close = server.close;
  server.close = function (...after) {
    secure.close();
    return close.apply(this, after);
  };
  return server;
};
