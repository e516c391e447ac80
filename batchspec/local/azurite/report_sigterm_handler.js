// Loaded before Azurite: prints a line when Azurite has installed its SIGTERM handler, shortly after
// it accepts requests. Until then, SIGTERM ends the process immediately.
process.on("newListener", (name) => {
  if (name === "SIGTERM") setImmediate(() => console.log("SIGTERM is handled"));
});
