"""OpenADR 3.0.1 and 3.1.0: one event model, two dialects, chosen per VTN.

```
 names guard literals findings        words, the JSON guard, instants and durations, what is wrong with an object
 wire reader dialect                  frozen values; JSON to values, tolerant of neighbours; where the dialects differ
 timing payloads quantities translate intervals in absolute time; payload types and units; an event as a `GridEvent`
 settings transport token client      what a VEN is told; one HTTP exchange; OAuth2; the REST client with pages and retries
 surroundings standing holdings       settings and ports; our ven and resources at the VTN; objects as last seen
 survey events companion ven          programs and targets; what changed; what else acts on events; the supervised loop
```

Polling is the truth: `Ven.wake` only makes the next poll happen now. A part that acts on events beside their translation (reports)
implements `companion.Companion`; it asks `timing.unroll` when intervals are and `client.VtnClient` to speak to the VTN.
"""
