// Loaded before Azurite, which waits for the disk (fdatasync) after each blob and each block. Without
// this wait, written data survives the end of Azurite, even by SIGKILL. A power failure loses blobs in
// both cases: Azurite saves its index every five seconds without waiting for the disk.
const fs = require("fs");
fs.fdatasync = (descriptor, done) => setImmediate(done, null);

// Azurite opens a stream on the same descriptor for each blob. A file stream prepares much that one
// write of a small blob does not need.
const { Writable } = require("stream");
const createWriteStream = fs.createWriteStream;
fs.createWriteStream = (path, options) => {
  if (options?.fd === undefined || options.autoClose !== false) return createWriteStream(path, options);
  return new Writable({
    write(data, _, done) {
      const write = (from) =>
        fs.write(options.fd, data, from, data.length - from, null, (error, written) => {
          if (error || from + written === data.length) done(error);
          else write(from + written);
        });
      write(0);
    },
  });
};
