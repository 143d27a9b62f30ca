"""What an attacker sends: generators of hostile input, and what must hold whatever comes.

Every generator is a function of a `random.Random`: hypothesis gives one that it can shrink, benchmarks one with a seed.
"""
