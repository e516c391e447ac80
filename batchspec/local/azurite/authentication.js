// Loaded before Azurite: adds authentication that Azurite supports only over https, or not at all.
//
// - A bearer token is accepted if it is the token of the embedded service. The request is then
//   signed with the account key.
// - User delegation keys are derived from the secret of this service, so that the keys of one service
//   are not valid in another.
// - With `entraOnly`, signatures of the account key are refused, as by a Storage account whose
//   property `allowSharedKeyAccess` is false.
//
// No request ends Azurite: malformed, too long and incomplete requests are refused or dropped.
//
// Reads account, key (base64), seed, token and entraOnly from BATCHSPEC_AUTHENTICATION (JSON).
const crypto = require("crypto");
const http = require("http");
const path = require("path");

const { account, key, seed, token, entraOnly } = JSON.parse(process.env.BATCHSPEC_AUTHENTICATION);
const zeroId = "00000000-0000-0000-0000-000000000000";
const mostDays = 7;
const mostBytes = 64 * 1024; // of the body of a request for a user delegation key

const hmac = (secret, text) => crypto.createHmac("sha256", secret).update(text, "utf8").digest("base64");

const constants = require(path.join(path.dirname(process.argv[1]), "utils", "constants.js"));
if (typeof constants.USERDELEGATIONKEY_SIGNING_SEED !== "string") {
  throw new Error("this version of Azurite derives user delegation keys in another way");
}
constants.USERDELEGATIONKEY_SIGNING_SEED = seed;

const create = http.createServer;
http.createServer = (...options) => {
  const server = create(...options);
  const emit = server.emit;
  // The https server of https_listener.js emits its requests here, too.
  server.emit = function (event, ...values) {
    if (event === "request" && authenticate(...values)) return true;
    return emit.call(this, event, ...values);
  };
  return server;
};

/** Sign a request with a token, or refuse a request; returns whether the request is answered. */
function authenticate(request, response) {
  const authorization = request.headers.authorization ?? "";
  const query = new URLSearchParams(request.url.split("?", 2)[1]);
  const byKey = /^SharedKey/i.test(authorization) || (query.has("sig") && !query.has("skoid"));
  if (entraOnly && byKey) {
    return refuse(request, response, 403, "KeyBasedAuthenticationNotPermitted",
      "Key based authentication is not permitted on this storage account.");
  }
  if (!/^Bearer /i.test(authorization)) return false;
  if (!isToken(authorization.slice("Bearer ".length).trim())) {
    response.setHeader("WWW-Authenticate",
      `Bearer authorization_uri=https://login.microsoftonline.com/${zeroId}/oauth2/authorize ` +
      "resource_id=https://storage.azure.com");
    return refuse(request, response, 401, "InvalidAuthenticationInfo",
      "Server failed to authenticate the request. Please refer to the information in the " +
      "www-authenticate header.");
  }
  if (request.method === "POST" && query.get("comp") === "userdelegationkey") {
    // The promise rejects if the client closes the connection before the body is complete.
    delegate(request, response).catch(() => response.destroy());
    return true;
  }
  request.headers["x-ms-date"] ??= new Date().toUTCString();
  let text;
  try {
    text = stringToSign(request);
  } catch (error) {
    if (!(error instanceof URIError)) throw error;
    return refuse(request, response, 400, "InvalidQueryParameterValue",
      "Value for one of the query parameters specified in the request URI is invalid.");
  }
  request.headers.authorization = `SharedKey ${account}:${hmac(Buffer.from(key, "base64"), text)}`;
  return false;
}

function isToken(given) {
  const hash = (text) => crypto.createHash("sha256").update(text, "utf8").digest();
  return token !== "" && crypto.timingSafeEqual(hash(given), hash(token));
}

/** The string to sign of a Shared Key, as Azurite builds it ("Authorize with Shared Key"). */
function stringToSign(request) {
  const { headers, method, url } = request;
  const length = headers["content-length"];
  const signed = [
    "content-encoding", "content-language", "content-length", "content-md5", "content-type",
    "date", "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range",
  ].map((name) => (name === "content-length" && length === "0" ? "" : headers[name] ?? ""));
  const ms = Object.keys(headers)
    .filter((name) => name.startsWith("x-ms-"))
    .sort((one, other) => one.localeCompare(other))
    .map((name) => `${name}:${headers[name].trimStart()}`);
  const [address, text = ""] = url.split("?", 2);
  const query = text.split("&")
    .map((pair) => pair.split("="))
    .filter((pair) => pair.length === 2 && pair[0])
    .map(([name, value]) => [name.toLowerCase(), decodeURIComponent(value.replace(/\+/g, "%20"))])
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([name, value]) => `${name}:${value}`);
  const resource = `/${account}${address}`;
  return [method, ...signed, ...ms, resource, ...query].join("\n");
}

/** Answer Get User Delegation Key. */
async function delegate(request, response) {
  const parts = [];
  let length = 0;
  for await (const part of request) {
    parts.push(part);
    length += part.length;
    if (length > mostBytes) {
      response.setHeader("Connection", "close");
      refuse(request, response, 413, "RequestBodyTooLarge",
        "The request body is too large and exceeds the maximum permissible limit.");
      return;
    }
  }
  const body = Buffer.concat(parts).toString("utf8");
  const element = (name) => new RegExp(`<${name}>([^<]+)</${name}>`).exec(body)?.[1] ?? "";
  const [start, expiry] = [element("Start") || new Date().toISOString(), element("Expiry")];
  const days = (Date.parse(expiry) - Math.max(Date.now(), Date.parse(start))) / 86_400_000;
  if (!(days > 0 && days <= mostDays)) {
    refuse(request, response, 400, "InvalidXmlNodeValue",
      "The value for one of the XML nodes is not in the correct format.");
    return;
  }
  const version = request.headers["x-ms-version"] ?? "";
  const value = hmac(seed, [zeroId, zeroId, start, expiry, "b", version].join("\n"));
  send(response, 200,
    `<UserDelegationKey><SignedOid>${zeroId}</SignedOid><SignedTid>${zeroId}</SignedTid>` +
    `<SignedStart>${start}</SignedStart><SignedExpiry>${expiry}</SignedExpiry>` +
    `<SignedService>b</SignedService><SignedVersion>${version}</SignedVersion>` +
    `<Value>${value}</Value></UserDelegationKey>`);
}

function refuse(request, response, status, code, message) {
  request.resume();
  response.setHeader("x-ms-error-code", code);
  const more = `\nRequestId:${crypto.randomUUID()}\nTime:${new Date().toISOString()}`;
  send(response, status, `<Error><Code>${code}</Code><Message>${message}${more}</Message></Error>`);
  return true;
}

function send(response, status, xml) {
  const content = `<?xml version="1.0" encoding="utf-8"?>${xml}`;
  response.writeHead(status, {
    "Content-Type": "application/xml",
    "Content-Length": Buffer.byteLength(content),
    "x-ms-request-id": crypto.randomUUID(),
    "x-ms-version": "2021-12-02",
  });
  response.end(content);
}
