// Runs the web worker of Perfetto's UI, which is its trace processor, outside of a browser.
//
//   node trace_processor_worker.js FOLDER     with engine_bundle.js and trace_processor.wasm in it
//
// Requests come on stdin and replies go to stdout, each behind its length (uint32, little-endian);
// a reply of length 0 follows the last one to a request. What they hold is for others to know.
"use strict";
const fs = require("fs");
const path = require("path");

const folder = process.argv[2];

// The worker asks for its .wasm in the one way that a web worker can without awaiting it.
class FileRequest {
  open(_method, name) {
    this.name = name;
  }
  send() {
    const content = fs.readFileSync(path.join(folder, path.basename(this.name)));
    this.response = new Uint8Array(content).buffer;
  }
}

function readExactly(length) {
  const held = Buffer.alloc(length);
  for (let have = 0; have < length; ) {
    const count = fs.readSync(0, held, have, length - have, null);
    if (count === 0) return null;
    have += count;
  }
  return held;
}

function write(bytes) {
  for (let done = 0; done < bytes.length; ) done += fs.writeSync(1, bytes, done);
}

function reply(bytes) {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  write(length);
  write(bytes);
}

const worker = { location: { href: "http://localhost/worker.js" } };
const quiet = { ...console, log: console.error, warn: console.error };
const source = fs.readFileSync(path.join(folder, "engine_bundle.js"), "utf8");
const names = ["self", "WorkerGlobalScope", "XMLHttpRequest", "console", "process", "require"];
new Function(...names, source)(worker, class {}, FileRequest, quiet, undefined, undefined);

// A worker's first message is the port to talk through. The module needs a moment to be up.
const port = { postMessage: reply };
worker.onmessage({ data: port });
setTimeout(() => {
  for (let head; (head = readExactly(4)) !== null; ) {
    const request = readExactly(head.readUInt32LE());
    if (request === null) break;
    port.onmessage({ data: new Uint8Array(request) });
    reply(new Uint8Array(0));
  }
}, 0);
