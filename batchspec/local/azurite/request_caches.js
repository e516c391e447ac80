// Loaded before Azurite. For each request, Azurite parses the query string about thirty times, matches
// all operations and their URI templates, and signs the same text for each blob of a container SAS.
// This takes more than half of its processor time for a small blob.
const { createRequire } = require("module");

const azurite = createRequire(process.argv[1]);

/** A function of one text that remembers up to `most` results. */
function remember(compute, most) {
  const results = new Map();
  return (text) => {
    let result = results.get(text);
    if (result === undefined) {
      result = compute(text);
      if (results.size >= most) results.clear();
      results.set(text, result);
    }
    return result;
  };
}

// The query of a request.
const { request } = azurite("express");
const { get: parseQuery } = Object.getOwnPropertyDescriptor(request, "query");
const url = Symbol("url"), values = Symbol("values");
Object.defineProperty(request, "query", {
  configurable: true,
  enumerable: true,
  get() {
    if (this[url] !== this.url) {
      this[values] = Object.freeze(parseQuery.call(this));
      this[url] = this.url;
    }
    return this[values];
  },
});

// Signatures: a SAS of a container has the same signature for all its blobs.
const utils = azurite("../common/utils/utils.js");
const sign = utils.computeHMACSHA256;
const signers = remember((key) => {
  const bytes = Buffer.from(key, "latin1");
  return remember((text) => sign(text, bytes), 64);
}, 16);
utils.computeHMACSHA256 = (text, key) => signers(Buffer.from(key).toString("latin1"))(text);

// Operations: only those with the method and the path of a request are possible.
const operations = azurite("./generated/artifacts/operation.js");
const { default: specifications } = azurite("./generated/artifacts/specifications.js");
const templates = azurite("./generated/utils/utils.js");
const dispatcher = azurite("./generated/middleware/dispatch.middleware.js");
const patterns = ["/", "/container", "/container/blob"];

const isMatch = templates.isURITemplateMatch;
const matches = Object.fromEntries(
  patterns.map((pattern) => [pattern, remember((template) => isMatch(pattern, template), 1000)]),
);
templates.isURITemplateMatch = (path, template) =>
  patterns.includes(path) ? matches[path](template) : isMatch(path, template);

const { default: everything } = operations;
const possible = Object.fromEntries(
  patterns.map((pattern) => [
    pattern,
    remember((method) => {
      const found = Object.entries(everything).filter(([key]) => {
        const specification = specifications[key];
        if (specification === undefined || specification.httpMethod !== method) return false;
        const { path = "/" } = specification;
        return templates.isURITemplateMatch(pattern, path.startsWith("/") ? path : `/${path}`);
      });
      return Object.fromEntries(found);
    }, 20),
  ]),
);
const dispatch = dispatcher.default;
dispatcher.default = (context, request, next, logger) => {
  const { dispatchPattern } = context;
  if (!patterns.includes(dispatchPattern) || request.getHeader("x-http-method")) {
    return dispatch(context, request, next, logger);
  }
  let after;
  operations.default = possible[dispatchPattern](request.getMethod());
  try {
    dispatch(context, request, (...values) => (after = values), logger);
  } finally {
    operations.default = everything;
  }
  return next(...after);
};
