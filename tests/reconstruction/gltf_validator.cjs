// Prints what the Khronos validator says of some files, as JSON: file -> {numErrors, ..., messages}.
const fs = require("fs");
const validator = require(process.argv[2]);

(async () => {
  const reports = {};
  for (const file of process.argv.slice(3)) {
    const report = await validator.validateBytes(new Uint8Array(fs.readFileSync(file)));
    reports[file] = report.issues;
  }
  console.log(JSON.stringify(reports));
})();
