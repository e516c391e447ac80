// Loaded before Azurite: prints a line when Azurite has installed its SIGTERM handler, shortly after
// it answers requests. Until then Node.js ends the process at once.
process.on("newListener", (name) => {
  if (name === "SIGTERM") setImmediate(() => console.log("SIGTERM is handled"));
});
