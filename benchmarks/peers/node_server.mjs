// @tus/server as its documentation shows it: node node_server.mjs PORT DIRECTORY
import http from "node:http";
import { FileStore } from "@tus/file-store";
import { Server } from "@tus/server";

const [port, directory] = process.argv.slice(2);
const tus = new Server({ path: "/files", datastore: new FileStore({ directory }) });
http.createServer((request, response) => tus.handle(request, response)).listen(+port, "127.0.0.1");
