"""OpenADR 3.0.1 and 3.1.0: one event model, two dialects, chosen per VTN.

```
 names guard literals findings        words, the JSON guard, instants and durations, what is wrong with an object
 wire parts reader writer dialect     frozen values; JSON to values, tolerant of neighbours, and back; where the dialects differ
 timing chance payloads translate     intervals in absolute time; randomised starts; types and units; an event as a `GridEvent`
 settings transport token client      what a VEN is told; one HTTP exchange; OAuth2; the REST client with its pages
 surroundings standing holdings       settings and ports; our ven and resources at the VTN; objects as last seen
 survey listing targeting             programs and targets; the events there are; which nodes they are for
 understanding events restoring       what an event means; what changed goes to the desk; repeating events after a restart
 ven companion                        the supervised loop; what else acts on events
 report_* subscriptions webhook mqtt_* notifications     reports; reasons to look now instead of at the next poll
 noted rereading                      the journal of exchanges; stored listings read again
```

Polling is the truth: `Ven.wake` only makes the next poll happen now. A part that acts on events beside their translation (reports)
implements `companion.Companion`; it asks `timing.unroll` when intervals are and `client.VtnClient` to speak to the VTN.
"""
