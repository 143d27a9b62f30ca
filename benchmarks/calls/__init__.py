"""What calls through the relay are like."""
