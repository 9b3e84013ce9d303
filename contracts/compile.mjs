#!/usr/bin/env node
// Compiles the Solidity sources with the pinned solc of package.json and writes one artifact per contract.
// With --check it writes nothing and fails unless the artifacts in the tree are these very bytes.
// --modules FOLDER: where node_modules is, if not in this tree.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const artifactsFolder = join(here, "artifacts");
const modulesAt = process.argv.indexOf("--modules");
const require = createRequire(join(modulesAt < 0 ? here : resolve(process.argv[modulesAt + 1] ?? ""), "anchor.js"));

// bytecodeHash none: the hash of the metadata would tie the bytes to names of files and to comments.
const settings = {
  optimizer: { enabled: true, runs: 1_000_000 },
  evmVersion: "cancun",
  viaIR: true,
  metadata: { bytecodeHash: "none" },
  outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.methodIdentifiers"] } },
};

// "Transient storage can break composability": said of every use; OpenZeppelin's guard clears its slot after each call.
const TRANSIENT_STORAGE_NOTE = "2394";

function load(name) {
  try {
    return require(name);
  } catch (error) {
    fail(`${name} isn't installed (${error.code}); run: npm ci`);
  }
}

function fail(line) {
  console.error(`contracts: ${line}`);
  process.exit(1);
}

function sources() {
  const found = {};
  for (const folder of ["src", "test"]) {
    for (const file of readdirSync(join(here, folder)).filter((name) => name.endsWith(".sol")).sort()) {
      found[`${folder}/${file}`] = { content: readFileSync(join(here, folder, file), "utf8") };
    }
  }
  return found;
}

function findImport(path) {
  try {
    return { contents: readFileSync(require.resolve(path), "utf8") };
  } catch (error) {
    return { error: `${path}: ${error.code}; run: npm ci` };
  }
}

function compile() {
  const solc = load("solc");
  const input = { language: "Solidity", sources: sources(), settings };
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: findImport }));
  const complaints = (output.errors ?? [])
    .filter((error) => error.errorCode !== TRANSIENT_STORAGE_NOTE)
    .map((error) => error.formattedMessage);
  if (complaints.length > 0) fail(`the compiler complains\n${complaints.join("\n")}`);
  return { compiler: solc.version(), contracts: output.contracts };
}

// One text per artifact, by its path below artifacts/; contracts of test/ are kept apart.
function artifacts({ compiler, contracts }) {
  const texts = new Map();
  for (const source of Object.keys(sources())) {
    for (const [name, contract] of Object.entries(contracts[source])) {
      const artifact = {
        contract: name,
        source,
        compiler,
        abi: contract.abi,
        methodIdentifiers: contract.evm.methodIdentifiers,
        bytecode: `0x${contract.evm.bytecode.object}`,
      };
      const path = source.startsWith("test/") ? join("test", `${name}.json`) : `${name}.json`;
      texts.set(path, `${JSON.stringify(artifact, null, 2)}\n`);
    }
  }
  return texts;
}

function check(texts) {
  const stale = [...texts].filter(([path, text]) => {
    const file = join(artifactsFolder, path);
    return !existsSync(file) || readFileSync(file, "utf8") !== text;
  });
  if (stale.length > 0) {
    fail(`not what the sources compile to: ${stale.map(([path]) => path).join(", ")}; run: node contracts/compile.mjs`);
  }
  console.log(`contracts: ${texts.size} artifacts are what the sources compile to`);
}

function write(texts) {
  for (const [path, text] of texts) {
    const file = join(artifactsFolder, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
    console.log(`wrote ${relative(process.cwd(), file)}`);
  }
}

const compiled = artifacts(compile());
if (process.argv.includes("--check")) check(compiled);
else write(compiled);
