// Serves a folder:  node serve.js FOLDER PORT

import { serve } from "./server.js";

const [folder, port] = process.argv.slice(2);
await serve({ "/": `${folder}/` }, Number(port));
