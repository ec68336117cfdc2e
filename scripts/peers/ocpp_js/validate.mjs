// Holds a transcript of OCPP 2.1 against typed-ocpp's validator. Usage: node validate.mjs TRANSCRIPT; prints a JSON list of what is wrong.
// The transcript is a JSON list of [who, frame]; who is "us" or "charger".
import { readFileSync } from 'node:fs';
import { OCPP21 } from './node_modules/typed-ocpp/dist/ocpp21/index.js'; // the other versions take seconds to load

const transcript = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const wrong = [];
const calls = new Map();
let checked = 0;
for (const [who, frame] of transcript) {
  if (frame[0] === 2) calls.set(`${who}/${frame[1]}`, frame);
  if (who !== 'us') continue;
  checked += 1;
  if (!OCPP21.validate(frame)) {
    wrong.push({ frame, errors: OCPP21.validate.errors });
  } else if (frame[0] === 3) {
    const call = calls.get(`charger/${frame[1]}`);
    if (!OCPP21.checkCallResult(frame, call)) wrong.push({ frame, errors: OCPP21.checkCallResult.errors });
  }
}
console.log(JSON.stringify({ checked, wrong }));
