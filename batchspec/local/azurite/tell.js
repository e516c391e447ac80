// Loaded into Azurite's process before Azurite: says when it has a handler for SIGTERM of its own,
// which it has a moment after it answers. Node's handler, there from the start, just ends it.
process.on("newListener", (name) => {
  if (name === "SIGTERM") setImmediate(() => console.log("SIGTERM is handled"));
});
