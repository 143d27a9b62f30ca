"""`hime load`: many calls at once against a relay, and how many of them it holds.

Any relay that speaks WHIP and WHEP will do. The clip is encoded once, and its frames are replayed by every publisher;
watchers put packets together and decode hardly any: a call costs a few percent of a core.
"""
