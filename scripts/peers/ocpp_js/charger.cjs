// A charger on ocpp-rpc in strict mode: every frame of both directions is held against the published schemas.
// Usage: node charger.cjs ADDRESS IDENTITY SUBPROTOCOL; one JSON object a line on stdout.
const { RPCClient } = require('ocpp-rpc');

const [endpoint, identity, protocol] = process.argv.slice(2);
const is16 = protocol === 'ocpp1.6';
const say = (event, content) => console.log(JSON.stringify({ event, content }));
const client = new RPCClient({ endpoint, identity, protocols: [protocol], strictMode: true, reconnect: false });
const now = () => new Date().toISOString();

client.on('strictValidationFailure', ({ error, outbound }) => say('broken', { text: String(error), outbound }));
client.handle('SetChargingProfile', ({ params }) => { say('profile', params); return { status: 'Accepted' }; });
client.handle('ClearChargingProfile', ({ params }) => { say('clear', params); return { status: 'Accepted' }; });
client.handle('GetConfiguration', ({ params }) => ({ configurationKey: [], unknownKey: params.key }));
client.handle('ChangeConfiguration', () => ({ status: 'Accepted' }));
client.handle('GetVariables', ({ params }) => ({
  getVariableResult: params.getVariableData.map(({ component, variable }) => ({ component, variable, attributeStatus: 'UnknownVariable' })),
}));
client.handle('SetVariables', ({ params }) => ({
  setVariableResult: params.setVariableData.map(({ component, variable }) => ({ component, variable, attributeStatus: 'Accepted' })),
}));
client.handle('GetCompositeSchedule', () => ({ status: 'Rejected' }));

async function run16() {
  await client.call('BootNotification', { chargePointVendor: 'Peer', chargePointModel: 'ocpp-rpc' });
  await client.call('StatusNotification', { connectorId: 1, errorCode: 'NoError', status: 'Preparing', timestamp: now() });
  const authorized = await client.call('Authorize', { idTag: 'TAG' });
  say('authorized', authorized);
  const { transactionId } = await client.call('StartTransaction', { connectorId: 1, idTag: 'TAG', meterStart: 1000, timestamp: now() });
  say('transaction', String(transactionId));
  await client.call('MeterValues', {
    connectorId: 1, transactionId,
    meterValue: [{ timestamp: now(), sampledValue: [{ value: '7000.0', measurand: 'Power.Active.Import', unit: 'W' }, { value: '1500', unit: 'Wh' }] }],
  });
  return () => client.call('StopTransaction', { transactionId, idTag: 'TAG', meterStop: 2000, timestamp: now() });
}

async function run2() {
  await client.call('BootNotification', { reason: 'PowerUp', chargingStation: { vendorName: 'Peer', model: 'ocpp-rpc' } });
  await client.call('StatusNotification', { timestamp: now(), connectorStatus: 'Occupied', evseId: 1, connectorId: 1 });
  const event = (eventType, seqNo, triggerReason) => client.call('TransactionEvent', {
    eventType, seqNo, triggerReason, timestamp: now(), transactionInfo: { transactionId: 'peer-1' }, evse: { id: 1, connectorId: 1 },
    idToken: { idToken: 'TAG', type: 'ISO14443' },
    meterValue: [{ timestamp: now(), sampledValue: [{ value: 7, measurand: 'Power.Active.Import', unitOfMeasure: { unit: 'kW' } }] }],
  });
  say('authorized', await event('Started', 0, 'CablePluggedIn'));
  say('transaction', 'peer-1');
  return () => event('Ended', 1, 'EVCommunicationLost');
}

(async () => {
  await client.connect();
  const stop = await (is16 ? run16() : run2());
  process.stdin.once('data', async () => {
    await stop();
    say('stopped', null);
    await client.close();
    process.exit(0);
  });
})().catch((error) => { say('broken', { text: String(error) }); process.exit(1); });
