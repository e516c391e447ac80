// Loaded before Azurite. For each request, Azurite parses the same URI templates and the same query
// string several times, which takes a quarter of its processor time for a small blob.
const { createRequire } = require("module");
const querystring = require("querystring");

const azurite = createRequire(process.argv[1]);
const parseTemplate = azurite("uri-templates");
const templates = new Map(); // Azurite has a fixed number of templates.
azurite.cache[azurite.resolve("uri-templates")].exports = (text) => {
  let template = templates.get(text);
  if (template === undefined) templates.set(text, (template = parseTemplate(text)));
  return template;
};

const parseQuery = querystring.parse;
let query, values; // the latest query string
querystring.parse = function (text, ...options) {
  if (options.length || typeof text !== "string") return parseQuery.call(this, text, ...options);
  if (text !== query) {
    const parsed = parseQuery.call(this, text);
    if (Object.values(parsed).some(Array.isArray)) return parsed;
    [query, values] = [text, parsed];
  }
  return Object.assign(Object.create(null), values); // a copy, which callers can change
};
