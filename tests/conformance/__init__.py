"""WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep-03), from their texts, against the relay over a real socket.

Each test names its paragraph. Sections of WHIP stand as "WHIP 4.2", those of the WHEP draft as "WHEP 4.2.1". What is
asked of clients alone is in test_clients.py. Where the relay departs from a text, or two texts from each other, a test
says so: `grep -rn Departs tests/conformance`.
"""
