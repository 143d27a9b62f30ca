"""A participant without a browser: publishes by WHIP and watches by WHEP, as any client of the relay does."""
