// A web server for folders, for tests and for machines without Python.

import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
  ".png": "image/png",
  ".ts": "text/plain",
  ".json": "application/json",
};

/** Returns a path without its escapes; one whose escapes are broken names no file. */
function unescaped(path) {
  try {
    return decodeURIComponent(path);
  } catch {
    return "/";
  }
}

/**
 * Serves folders on this machine alone.
 *
 * @param {Record<string, string>} folders by the prefix of their paths
 * @param {number} [port] a free one where it is not given
 * @returns {Promise<{origin: string, close: () => void}>}
 */
export async function serve(folders, port = 0) {
  const server = createServer((request, response) => {
    const path = unescaped(new URL(request.url, "http://localhost").pathname);
    const prefix = Object.keys(folders).find((one) => path.startsWith(one));
    let file = prefix && normalize(join(folders[prefix], path.slice(prefix.length)));
    if (file && existsSync(file) && statSync(file).isDirectory()) file = join(file, "index.html");
    if (!file?.startsWith(folders[prefix]) || !existsSync(file) || !statSync(file).isFile()) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream" });
    createReadStream(file).pipe(response);
  });
  await new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  return { origin: `http://localhost:${server.address().port}`, close: () => server.close() };
}
