"""Photos and clips of people, and what a call makes of them: what networks are trained on and measured with."""
